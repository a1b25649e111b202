"""Baseline linkers, the oracle as their upper bound, and their scores."""

import io

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from benchmarks.accuracy import baselines
from benchmarks.accuracy.compare import ORACLE, OURS, compare, show
from benchmarks.accuracy.tracks import Links, TrackSet, tracks_of
from reid_stream.config.settings import Match
from reid_stream.evaluation.align import Boxes
from reid_stream.evaluation.recording import Recording, TrueBoxes
from reid_stream.evaluation.score import score
from reid_stream.records import Observation
from tests.evaluation.rows import box
from tests.evaluation.test_recording import recorded
from tests.worlds import World, unit

A, B = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
LIKE_A = (0.8, 0.0, 0.6)


def tracks(
    *rows: tuple[str, int, int, float, tuple[float, ...] | None], beside: tuple[int, int] | None = None
) -> TrackSet:
    """One row a track: camera, first frame, last frame, place, its one vector; in order of time."""
    of = [n for n, (_, first, last, _, _) in enumerate(rows) for _ in range(first, last + 1)]
    is_apart = np.zeros((len(rows), len(rows)), dtype=np.bool_)
    if beside is not None:
        is_apart[beside] = is_apart[beside[::-1]] = True
    with_vector = [n for n, row in enumerate(rows) if row[4] is not None]
    return TrackSet(
        cameras=tuple(row[0] for row in rows),
        of=np.asarray(of),
        frames=np.asarray([f for _, first, last, _, _ in rows for f in range(first, last + 1)]),
        boxes=np.asarray([box(rows[n][3]) for n in of], dtype=np.float32),
        scores=np.asarray([0.9 - 0.1 * n for n in of], dtype=np.float32),
        vectors=unit([rows[n][4] for n in with_vector]).reshape(-1, 3),
        vector_of=np.asarray(with_vector, dtype=np.int64),
        is_apart=is_apart,
    )


def partition(names: np.ndarray) -> list[int]:
    """Names as the number of the first track that has the same."""
    return [names.tolist().index(name) for name in names.tolist()]


TWO_CAMERAS = (("door", 1, 3, 0.0, A), ("door", 1, 3, 200.0, B), ("till", 5, 7, 0.0, LIKE_A), ("till", 8, 9, 0.0, None))


def test_unlinked_tracks_have_names_of_their_own() -> None:
    assert partition(baselines.unlinked(tracks(*TWO_CAMERAS))) == [0, 1, 2, 3]


@pytest.mark.parametrize(("threshold", "expected"), [(0.79, [0, 1, 0, 3]), (0.81, [0, 1, 2, 3])])
def test_both_rivals_link_above_their_threshold_only(threshold: float, expected: list[int]) -> None:
    found = tracks(*TWO_CAMERAS)
    assert partition(baselines.online(found, threshold)) == expected
    assert partition(baselines.offline(found).cut(threshold)) == expected


def test_tracks_seen_side_by_side_are_linked_only_by_those_who_do_not_look() -> None:
    found = tracks(("door", 1, 3, 0.0, A), ("door", 2, 4, 200.0, A), ("till", 5, 7, 0.0, A), beside=(0, 1))
    assert partition(baselines.online(found, 0.5)) == [0, 0, 0]
    assert partition(baselines.online(found, 0.5, apart=True)) == [0, 1, 0]
    assert partition(baselines.offline(found).cut(0.5)) == [0, 0, 0]
    apart = partition(baselines.offline(found, apart=True).cut(-1.0))
    assert apart[0] != apart[1]
    assert len(set(apart)) == 2


def test_offline_compares_the_means_of_clusters_pair_by_pair() -> None:
    found = tracks(("a", 1, 2, 0, A), ("b", 3, 4, 0, A), ("c", 5, 6, 0, LIKE_A), ("d", 7, 8, 0, B))
    tree = baselines.offline(found)
    assert tree.joins[:, 2] == pytest.approx([0.0, 0.2, 1.0], abs=1e-6)
    counts = [len(set(tree.cut(at).tolist())) for at in tree.thresholds()]
    assert set(counts) == {3, 2, 1}
    assert counts == sorted(counts, reverse=True)


def test_what_a_camera_adds_to_all_its_vectors_is_taken_off() -> None:
    tint = np.asarray([0.0, 0.0, 3.0])
    colours = [np.asarray(A), np.asarray(B), np.asarray(A) + tint, np.asarray(B) + tint]
    found = tracks(*(("door" if n < 2 else "till", 1, 3, 200.0 * n, tuple(each)) for n, each in enumerate(colours)))
    raw, centred = found.means() @ found.means().T, found.means(centred=True) @ found.means(centred=True).T
    assert raw[0, 2] < raw[2, 3]
    assert centred[0, 2] > 0.9 > centred[2, 3]


def test_the_oracle_names_a_track_by_the_person_it_is_on_most_often() -> None:
    found = tracks(("door", 1, 5, 0.0, A), ("till", 1, 3, 0.0, A), ("till", 7, 9, 500.0, A))
    truth = {
        "door": Boxes(np.arange(1, 6), (7, 7, 7, 8, 8), np.asarray([box(0.0)] * 5)),
        "till": Boxes(np.arange(1, 4), (7, 7, 7), np.asarray([box(0.0)] * 3)),
    }
    links = Links(found, truth)
    assert links.counts.tolist() == [[3, 2], [3, 0], [0, 0]]
    assert partition(baselines.oracle(found, links)) == [0, 0, 2]


def test_of_two_boxes_with_one_name_in_a_frame_the_surer_stays() -> None:
    found = tracks(("door", 1, 2, 0.0, A), ("door", 2, 3, 200.0, A))
    boxes = found.named_boxes(np.asarray([5, 5]))["door"]
    assert boxes.frames.tolist() == [1, 2, 3]
    assert boxes.boxes[:, 0].tolist() == [0.0, 0.0, 200.0]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), names=st.integers(1, 6))
def test_the_quick_idf1_is_the_one_of_score(seed: int, names: int) -> None:
    rng = np.random.default_rng(seed)

    def row(n: int) -> tuple[str, int, int, float, None]:
        first = int(rng.integers(1, 6))
        return ("door" if n % 2 else "till", first, first + int(rng.integers(0, 8)), float(rng.integers(0, 60)), None)

    found = tracks(*(row(n) for n in range(6)))
    people = tracks(*(row(n) for n in range(5)))
    truth = people.named_boxes(np.arange(len(people)))
    chosen = rng.integers(0, names, len(found))
    assert Links(found, truth).idf1(chosen) == pytest.approx(score(truth, found.named_boxes(chosen)).idf1)


def with_truth(world: World) -> Recording:
    made = recorded(world)
    truth = {camera: TrueBoxes([], [], []) for camera in made.cameras}
    for batch in made.batches:
        for seen in batch.records:
            if isinstance(seen, Observation):
                true = truth[seen.camera]
                true.frames.append(made.cameras[seen.camera].frame(seen.seen_at))
                true.people.append(world.owner[seen.camera, seen.track])
                true.boxes.append(seen.box)
    return msgspec.structs.replace(made, truth=truth)


def test_a_recording_becomes_its_tracks() -> None:
    world = World(people=3, cameras=2, seed=1)
    found = tracks_of(recorded(world))
    assert len(found) == len(world.visits)
    assert len(np.unique(found.vector_of)) == len(world.visits)
    assert found.is_apart.any()
    assert not (found.is_apart & (np.asarray(found.cameras)[:, None] != np.asarray(found.cameras))).any()


def test_nothing_beats_the_oracle_and_links_beat_none() -> None:
    compared = compare(with_truth(World(people=5, cameras=3, seed=2, noise=0.9)), Match(similarity=0.5))
    idf1 = {row.way: row.score.idf1 for row in compared.rows}
    assert idf1[ORACLE] == pytest.approx(1)
    assert max(idf1.values()) == idf1[ORACLE]
    assert all(value > idf1["(a) unlinked tracks"] for way, value in idf1.items() if not way.startswith("(a)"))
    assert compared.share_of_oracle == pytest.approx(idf1[OURS])
    out = io.StringIO()
    show([compared], Console(file=out, width=160))
    assert all(row.way in out.getvalue() for row in compared.rows)


def test_a_recording_without_truth_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="has none"):
        compare(recorded(World(people=1, cameras=1)))
