"""Simulated worlds: deterministic, consistent, with exactly the requested disturbances."""

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.simulator.scenario import Scenario
from benchmarks.simulator.world import SimulatedWorld, simulate
from reid_stream.records import Observation, TrackEnded, encode
from tests.benchmarks.simulator.people import calm, looks


def written(world: SimulatedWorld) -> list[tuple[float, list[bytes]]]:
    return [(now, [encode(record) for record in records]) for now, records in world.batches()]


def impure(world: SimulatedWorld) -> int:
    """Count tracks that hold two people."""
    pairs = np.unique(np.stack([world.rows.track, world.rows.person]), axis=1)
    return int((np.bincount(pairs[0]) > 1).sum())


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    scenario = Scenario(people=20, cameras=4, swaps_per_min=5, duplicates_per_min=2, overlaps=((0, 1),))
    first, again, other = (simulate(scenario, looks(20), seed) for seed in (3, 3, 4))
    assert written(first) == written(again)
    assert written(first) != written(other)


def test_every_record_comes_once_in_the_order_of_its_camera() -> None:
    world = simulate(Scenario(people=20, cameras=3, stalls_per_hour=40), looks(20), 1)
    sequences: dict[str, list[int]] = defaultdict(list)
    times: dict[str, list[float]] = defaultdict(list)
    published = -np.inf
    for now, records in world.batches():
        assert now > published
        published = now
        for record in records:
            sequences[record.camera].append(record.sequence)
            times[record.camera].append(record.seen_at)
    assert sum(map(len, sequences.values())) == len(world)
    assert all(found == list(range(len(found))) for found in sequences.values())
    assert all(found == sorted(found) for found in times.values())


def test_a_track_ends_once_after_its_last_observation() -> None:
    world = simulate(Scenario(people=20, cameras=3, swaps_per_min=20), looks(20), 2)
    last: dict[int, float] = {}
    ended: dict[int, float] = {}
    for _, records in world.batches():
        for record in records:
            assert record.track not in ended
            if isinstance(record, TrackEnded):
                ended[record.track] = record.seen_at
            else:
                last[record.track] = record.seen_at
    assert ended.keys() == last.keys()
    assert all(ended[track] > last[track] for track in last)


def test_no_person_is_twice_in_one_frame_but_for_second_boxes() -> None:
    world = simulate(Scenario(people=40, cameras=3, duplicates_per_min=3, overlaps=((0, 2),)), looks(40), 5)
    boxes = (world.ends == 0) & ~world.rows.duplicate
    key = np.stack([world.rows.camera, world.rows.frame, world.rows.person])[:, boxes]
    assert np.unique(key, axis=1).shape[1] == key.shape[1]
    assert world.rows.duplicate.any()


def test_boxes_of_one_frame_bear_one_time_and_frames_differ() -> None:
    world = simulate(calm(people=40, clock_jitter_s=0.05), looks(40), 1)
    seen = world.ends == 0
    frames: dict[tuple[int, int], set[float]] = defaultdict(set)
    for camera, frame, at in zip(
        world.rows.camera[seen], world.rows.frame[seen], world.seen_at[seen].tolist(), strict=True
    ):
        frames[camera, frame].add(at)
    assert all(len(times) == 1 for times in frames.values())
    assert len(set.union(*frames.values())) == len(frames)


def test_calm_worlds_have_one_track_a_visit_and_vectors_of_the_right_person_and_view() -> None:
    people = looks(12)
    world = simulate(calm(), people, 1)
    assert len(np.unique(world.rows.track)) == len(world.visits)
    assert impure(world) == 0
    rows = np.flatnonzero(world.vector >= 0)
    first = world.looks.first[world.rows.person[rows], world.rows.camera[rows]]
    count = world.looks.count[world.rows.person[rows], world.rows.camera[rows]]
    assert ((world.vector[rows] >= first) & (world.vector[rows] < first + count)).all()


def test_vectors_come_at_once_and_then_at_their_interval() -> None:
    world = simulate(calm(fps=5, vector_every_s=1, clock_jitter_s=0), looks(12), 1)
    for track in np.unique(world.rows.track):
        rows = np.flatnonzero((world.rows.track == track) & (world.ends == 0))
        frames = world.rows.frame[rows]
        due = frames[world.vector[rows] >= 0]
        assert due[0] == frames[0]
        assert set(np.diff(due).tolist()) <= {5}


@pytest.mark.parametrize(
    ("fault", "count"),
    [
        ({"swaps_per_min": 30.0}, impure),
        ({"duplicates_per_min": 5.0}, lambda world: world.rows.duplicate.sum()),
        ({"mixed_share": 0.3}, lambda world: (world.mixed_with >= 0).sum()),
        ({"occlusions_per_min": 20.0, "occlusion_s": 4.0}, lambda w: len(np.unique(w.rows.track)) - len(w.visits)),
    ],
)
def test_a_fault_is_there_when_asked_for_and_only_then(
    fault: dict[str, float], count: Callable[[SimulatedWorld], int]
) -> None:
    people = looks(30)
    assert count(simulate(calm(people=30, cameras=2), people, 1)) == 0
    assert count(simulate(calm(people=30, cameras=2, **fault), people, 1)) > 0


def test_a_camera_that_is_held_up_delivers_all_later_and_the_others_do_not_wait() -> None:
    people = looks(30)
    punctual, late = (simulate(calm(people=30, stalls_per_hour=rate, stall_s=30), people, 1) for rate in (0, 60))
    assert len(late) == len(punctual)
    waits = (late.tick / 5 - (late.seen_at - late.skew[late.rows.camera] - 1_767_225_600.0))[late.ends == 0]
    assert np.quantile(waits, 0.99) > 5
    assert np.median(waits) < 1


def test_people_are_on_both_of_two_overlapping_cameras_at_once() -> None:
    def together(world: SimulatedWorld) -> int:
        seen = [
            set(zip(world.rows.person[here].tolist(), world.rows.frame[here].tolist(), strict=True))
            for here in (np.flatnonzero((world.rows.camera == c) & (world.ends == 0)) for c in (0, 1))
        ]
        return len(seen[0] & seen[1])

    people = looks(30)
    assert together(simulate(calm(people=30), people, 1)) == 0
    assert together(simulate(calm(people=30, overlaps=[[0, 1]]), people, 1)) > 100


def test_people_come_back_after_return_after_s() -> None:
    world = simulate(calm(people=30, return_share=1.0, return_after_s=50_000), looks(30), 1)
    back = world.visits.enters_at > 40_000
    assert set(world.visits.person[back]) == set(world.visits.person[~back])


def test_more_people_come_in_the_rush() -> None:
    rush = [0.0] * 24
    rush[8] = rush[17] = 1.0
    world = simulate(calm(people=200, arrivals_per_hour=20, rush=rush, cameras_passed=1), looks(12), 1)
    hours = (world.visits.enters_at % 86_400 // 3600).astype(int)
    assert set(hours.tolist()) <= {8, 9, 17, 18}


def test_clocks_are_wrong_by_a_constant_per_camera() -> None:
    people = looks(12)
    right, wrong = (simulate(calm(clock_skew_s=skew, clock_jitter_s=0), people, 1) for skew in (0, 3))
    order = [np.lexsort((w.ends, w.rows.frame, w.rows.track)) for w in (right, wrong)]
    error = wrong.seen_at[order[1]] - right.seen_at[order[0]]
    for camera in range(3):
        assert np.ptp(error[right.rows.camera[order[0]] == camera]) < 1e-5
    assert np.abs(error).max() > 0.5


def test_an_observation_is_whole() -> None:
    world = simulate(calm(), looks(12), 1)
    record = next(r for _, records in world.batches() for r in records if isinstance(r, Observation) and r.vector)
    assert (record.model, record.clock, len(record.vector or b"")) == ("bundle-a", "rtcp", 64)
    assert 0 < record.quality <= 1
