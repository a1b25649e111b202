"""The matcher: one person, one global ID, over cameras and time, within fixed bounds."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_stream.bundles.bundle import Calibration, Verifier
from reid_stream.config.settings import Match
from reid_stream.match.matcher import Matcher
from reid_stream.records import (
    Box,
    CameraId,
    Confirmation,
    Decision,
    Floats,
    GlobalId,
    Merge,
    Observation,
    Perceived,
    Retirement,
    Sighting,
    Split,
    TrackEnded,
    TrackId,
    pack_vector,
)
from tests.worlds import FRAME, MODEL, RUN, World, unit

A = unit([1, 0, 0, 0] * 8)
B = unit([0, 1, 0, 0] * 8)
C = unit([0, 0, 1, 0] * 8)
LEFT, RIGHT = (10.0, 10.0, 70.0, 200.0), (400.0, 10.0, 460.0, 200.0)


def look(camera: str, track: int, at: float, vector: Floats | None = None, box: Box = LEFT) -> Observation:
    return Observation(
        run=RUN,
        camera=CameraId(camera),
        track=TrackId(track),
        sequence=0,
        seen_at=at,
        clock="file",
        box=box,
        frame_size=FRAME,
        score=0.9,
        quality=0.0 if vector is None else 0.8,
        vector=None if vector is None else pack_vector(vector),
        model=MODEL,
    )


def matcher(**options: object) -> Matcher:
    return Matcher(Match.model_validate(options), "site", MODEL)


def play(one: Matcher, records: Sequence[Perceived]) -> list[Decision]:
    out: list[Decision] = []
    for at, group in groupby(records, key=lambda record: record.seen_at):
        out.extend(one.update(list(group), at))
    return out


def names(decisions: Sequence[Decision]) -> dict[tuple[CameraId, TrackId], GlobalId]:
    """Return each track's person as a subscriber knows it in the end."""
    known: dict[tuple[CameraId, TrackId], GlobalId] = {}
    for decision in decisions:
        if isinstance(decision, Sighting):
            known[decision.observation.camera, decision.observation.track] = decision.person
        elif isinstance(decision, Merge):
            known = {track: decision.into if name == decision.gone else name for track, name in known.items()}
    return known


def test_a_person_keeps_the_global_id_on_another_camera() -> None:
    world = World(people=6, cameras=3, seed=1)
    known = names(play(matcher(), world.observations()))
    people = defaultdict(set)
    for track, name in known.items():
        people[world.owner[track]].add(name)
    assert all(len(ids) == 1 for ids in people.values())
    assert len(set.union(*people.values())) == 6


def test_a_track_gets_a_provisional_answer_within_a_second_of_its_first_vector() -> None:
    one = matcher()
    play(one, [look("a", 1, 0.0, A), look("a", 1, 1.0, A), look("a", 1, 2.0, A), look("a", 1, 3.0, A)])
    late = play(one, [look("b", 1, 5.0 + step / 10, B if step == 0 else None) for step in range(11)])
    sightings = [d for d in late if isinstance(d, Sighting)]
    assert [s.observation.seen_at for s in sightings] == pytest.approx([5.0 + step / 10 for step in range(11)])
    assert {s.state for s in sightings} == {"provisional"}


def test_enough_vectors_confirm_a_person_once() -> None:
    decisions = play(matcher(confirm_vectors=3), [look("a", 1, float(at), A) for at in range(6)])
    assert [d.at for d in decisions if isinstance(d, Confirmation)] == [2.0]


def test_two_who_look_alike_but_are_seen_at_once_are_two() -> None:
    records = [r for at in range(5) for r in (look("a", 1, float(at), A, LEFT), look("a", 2, float(at), A, RIGHT))]
    known = names(play(matcher(), records))
    assert known[CameraId("a"), TrackId(1)] != known[CameraId("a"), TrackId(2)]


def test_the_same_person_on_two_overlapping_cameras_is_one() -> None:
    records = [r for at in range(5) for r in (look("a", 1, float(at), A), look("b", 1, at + 0.5, A))]
    assert len(set(names(play(matcher(), records)).values())) == 1


def test_a_second_box_on_the_same_body_may_be_the_same_person() -> None:
    inner = (15.0, 10.0, 65.0, 120.0)
    records = [r for at in range(5) for r in (look("a", 1, float(at), A, LEFT), look("a", 2, float(at), A, inner))]
    assert len(set(names(play(matcher(), records)).values())) == 1


def test_a_hasty_new_person_is_merged_into_the_known_one() -> None:
    one = matcher(confirm_vectors=3, doubt_s=0)
    play(one, [look("a", 1, float(at), A) for at in range(4)])
    blurred = unit(A + np.float32(1.3) * B)
    decisions = play(
        one, [look("b", 1, 10.0, blurred), look("b", 1, 11.0), look("b", 1, 12.0, A), look("b", 1, 13.0, A)]
    )
    merges = [d for d in decisions if isinstance(d, Merge)]
    assert [(m.gone, m.into) for m in merges] == [("site-2", "site-1")]
    assert len(one) == 1


def test_two_tracks_of_one_person_that_appear_side_by_side_are_split() -> None:
    one = matcher()
    play(one, [look("a", 1, float(at), A, LEFT) for at in range(3)])
    play(one, [look("a", 2, at, A, RIGHT) for at in (3.0, 3.5)])
    decisions = play(one, [look("a", 1, 4.0, None, LEFT), look("a", 2, 4.0, None, RIGHT)])
    splits = [d for d in decisions if isinstance(d, Split)]
    assert [(s.person, s.into, s.tracks) for s in splits] == [("site-1", "site-2", (("a", RUN, 2),))]
    assert names(decisions) == {("a", 1): "site-1", ("a", 2): "site-2"}


def test_an_unseen_person_expires_and_the_number_is_not_used_again() -> None:
    one = matcher(retention_s=100)
    play(one, [look("a", 1, float(at), A) for at in range(3)])
    gone = [d for d in one.update([], 500.0) if isinstance(d, Retirement)]
    assert [(g.person, g.reason, g.last_seen_at) for g in gone] == [("site-1", "expired", 2.0)]
    assert set(names(play(one, [look("a", 2, float(at), A) for at in range(500, 503)])).values()) == {"site-2"}


def test_a_full_gallery_forgets_the_longest_unseen_and_no_person_in_view() -> None:
    one = matcher(max_identities=2)
    play(one, [look("a", 1, float(at), A) for at in range(3)])
    play(one, [look("b", 1, 100.0 + at, B) for at in range(3)])
    play(one, [look("a", 1, 200.0, A)])  # after silence: a new track of the same person
    decisions = play(one, [look("c", 1, 201.0 + at, C) for at in range(3)])
    assert [d.person for d in decisions if isinstance(d, Retirement)] == ["site-2"]
    assert len(one) == 2


@pytest.mark.parametrize(
    ("cause", "bad"),
    [
        ("vector of another model", {"model": "bundle-b"}),
        ("vector of another dimension", {"vector": pack_vector(unit([1, 2, 3, 4]))}),
        ("vector not finite", {"vector": np.full(32, np.nan, dtype="<f2").tobytes()}),
    ],
)
def test_a_vector_that_cannot_be_compared_is_refused_and_counted(cause: str, bad: dict[str, object]) -> None:
    one = matcher()
    play(one, [look("a", 1, 0.0, A)])
    decisions = play(one, [msgspec.structs.replace(look("a", 1, 1.0, A), **bad)])
    assert one.rejected == {cause: 1}
    assert [type(d) for d in decisions] == [Sighting]


def test_a_late_observation_still_gets_the_same_identity() -> None:
    one = matcher()
    play(one, [look("a", 1, float(at), A) for at in range(4)])
    late = one.update([look("a", 1, 1.5)], 4.0)
    assert [(d.person, d.observation.seen_at) for d in late if isinstance(d, Sighting)] == [("site-1", 1.5)]


def test_a_matcher_continues_from_its_state_as_if_nothing_had_happened() -> None:
    records = World(people=5, cameras=2, seed=3).observations()
    half = records[len(records) // 2].seen_at
    before, after = [r for r in records if r.seen_at < half], [r for r in records if r.seen_at >= half]
    one = matcher()
    play(one, before)
    written = msgspec.msgpack.encode(one.state())
    other = Matcher(Match(), "site", MODEL, state=msgspec.msgpack.decode(written, type=type(one.state())))
    assert names(play(one, after)) == names(play(other, after))


def test_a_state_of_another_model_gives_no_person_but_keeps_the_numbers_used() -> None:
    one = matcher()
    play(one, [look("a", 1, float(at), A) for at in range(3)])
    other = Matcher(Match(), "site", "bundle-b", state=one.state())
    assert len(other) == 0
    assert other.state().next_number == 2


def test_a_calibrated_bundle_answers_with_probabilities() -> None:
    verifier = Verifier(d=[2.0] * 32, b=4.0, train_prior=0.5)
    calibration = Calibration(kind="platt", parameters={"slope": 4.0, "intercept": 0.0})
    one = Matcher(Match(), "site", MODEL, verifier, calibration)
    play(one, [look("a", 1, float(at), A) for at in range(3)])
    seen = play(one, [look("b", 1, 10.0 + at, A) for at in range(2)])
    stranger = play(one, [look("b", 2, 20.0 + at, B) for at in range(2)])
    assert [(d.person, (d.probability or 0) > 0.99) for d in seen if isinstance(d, Sighting)] == [("site-1", True)] * 2
    assert {d.person for d in stranger if isinstance(d, Sighting)} == {"site-2"}


@given(seed=st.integers(0, 2**16), people=st.integers(1, 8), noise=st.floats(0.2, 2.0), room=st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_the_law_holds_in_any_world(seed: int, people: int, noise: float, room: int) -> None:
    one = matcher(max_identities=room)
    used: set[GlobalId] = set()
    gone: set[GlobalId] = set()
    records = World(people=people, cameras=2, seed=seed, noise=noise, dim=16, fps=2).observations()
    for at, group in groupby(records, key=lambda record: record.seen_at):
        now_seen: dict[CameraId, list[GlobalId]] = defaultdict(list)
        for decision in one.update(list(group), at):
            if isinstance(decision, Sighting):
                assert decision.person not in gone
                used.add(decision.person)
                if decision.observation.seen_at == at:
                    now_seen[decision.observation.camera].append(decision.person)
            elif isinstance(decision, Retirement):
                gone.add(decision.person)
            elif isinstance(decision, Merge):
                gone.add(decision.gone)
        assert len(one) <= room
        assert all(len(set(present)) == len(present) for present in now_seen.values())


@given(seed=st.integers(0, 2**16))
@settings(max_examples=10, deadline=None)
def test_the_same_observations_give_the_same_decisions(seed: int) -> None:
    records = World(people=4, cameras=2, seed=seed, dim=16, fps=2).observations()
    assert play(matcher(), records) == play(matcher(), records)


def test_a_poster_that_flickers_all_night_stays_one_identity_of_bounded_size() -> None:
    rng = np.random.default_rng(0)
    one = matcher()
    sizes = []
    for track in range(400):
        away = rng.normal(size=32) * (np.arange(32) > 0)
        vector = np.sqrt(0.9) * np.eye(32)[0] + np.sqrt(0.1) * away / np.linalg.norm(away)
        at = 3.0 * track
        one.update([look("a", track, at, vector.astype(np.float32))], at)
        ended = TrackEnded(run=RUN, camera=CameraId("a"), track=TrackId(track), sequence=0, seen_at=at + 2)
        one.update([ended], at + 2)
        if track % 100 == 99:
            sizes.append(len(msgspec.msgpack.encode(one.state())))
    assert len(one) == 1
    assert sizes[-1] <= 1.1 * sizes[1]
