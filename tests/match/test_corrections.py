"""Later corrections of early decisions, with events."""

from collections import defaultdict
from itertools import groupby

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_stream.bundles.bundle import Calibration, Verifier
from reid_stream.config.settings import Match, Publish, TopologySettings
from reid_stream.events import IdentityEntered, IdentityLeft, IdentitySeen
from reid_stream.match.matcher import Matcher
from reid_stream.match.presence import Presence
from reid_stream.records import (
    CameraId,
    Confirmation,
    Decision,
    Floats,
    GlobalId,
    Merge,
    Observation,
    Perceived,
    Sighting,
    Split,
    TrackEnded,
    TrackId,
)
from tests.match.test_matcher import A, B, C, look, play
from tests.worlds import MODEL, RUN, World, unit

VERIFIER = Verifier(d=[2.0] * 32, b=4.0, train_prior=0.5)
CALIBRATION = Calibration(
    kind="platt",
    parameters={"slope": 3.0, "intercept": 0.0},
    stranger_rates=[0.3, 0.003, 0.00003],
    stranger_log_odds=[-4.0, 4.0, 8.0],
)


def matcher(**topology: object) -> Matcher:
    stated = TopologySettings.model_validate(topology)
    return Matcher(Match(), "site", MODEL, VERIFIER, CALIBRATION, topology=stated)


def identities(decisions: list[Decision]) -> dict[tuple[CameraId, TrackId], GlobalId]:
    """Return each track's person as a subscriber who follows corrections knows it."""
    known: dict[tuple[CameraId, TrackId], GlobalId] = {}
    for decision in decisions:
        match decision:
            case Merge():
                known = {key: decision.into if name == decision.gone else name for key, name in known.items()}
            case Split():
                known.update({(camera, track): decision.into for camera, _, track in decision.tracks})
            case Sighting() | Confirmation():
                seen = decision.observation
                known[seen.camera, seen.track] = decision.person
    return known


def a_visit(camera: str, track: int, at: float, *vectors: Floats) -> list[Perceived]:
    """One look a second, then the end of the track."""
    records: list[Perceived] = [look(camera, track, at + number, vector) for number, vector in enumerate(vectors)]
    return [*records, TrackEnded(RUN, CameraId(camera), TrackId(track), 0, at + len(vectors) + 2)]


def test_one_person_seen_by_two_cameras_at_the_same_instant_is_one_new_person() -> None:
    one = matcher()
    decisions = play(one, [look("x", 1, 0.0, C), look("x", 1, 1.0, C)])  # else the first vector alone makes a person
    decisions = play(one, [look("a", 1, 5.0, A), look("b", 1, 5.0, A), look("a", 1, 6.0, A), look("b", 1, 6.0, A)])
    known = identities(decisions)
    assert known["a", 1] == known["b", 1]  # type: ignore[index]
    assert not [d for d in decisions if isinstance(d, Merge)]


def test_with_overlaps_stated_two_at_once_on_other_cameras_are_two() -> None:
    records = [look(camera, 1, at / 2, A) for at in range(8) for camera in ("a", "c")]
    known = identities(play(matcher(overlaps=[["a", "b"]]), records))
    assert len(set(known.values())) == 2
    assert len(set(identities(play(matcher(), records)).values())) == 1


def test_two_people_who_come_to_look_alike_are_merged_long_after_the_first_has_gone() -> None:
    one = matcher()
    half = unit(A + np.float32(1.8) * B)
    decisions = play(one, a_visit("a", 1, 0.0, A, A, A))
    decisions += play(one, a_visit("b", 1, 20.0, half, half))
    assert len(set(identities(decisions).values())) == 2
    later = [look("b", 1, 24.0 + number, A) for number in range(12)]
    decisions += play(one, [r for r in later if not isinstance(r, TrackEnded)])
    assert len(set(identities(decisions).values())) == 1
    assert [(d.gone, d.into) for d in decisions if isinstance(d, Merge)] == [("site-2", "site-1")]


def test_a_track_whose_later_vectors_speak_against_its_person_goes_to_whom_it_fits() -> None:
    one = matcher()
    decisions = play(one, a_visit("a", 1, 0.0, *[A] * 4) + a_visit("a", 2, 20.0, *[B] * 4))
    decisions += play(one, [look("b", 1, 40.0, A), look("b", 1, 41.0, A)])
    assert identities(decisions)["b", 1] == "site-1"  # type: ignore[index]
    decisions += play(one, [look("b", 1, 42.0 + number, B) for number in range(14)])
    splits = [d for d in decisions if isinstance(d, Split)]
    assert [(d.person, d.into, d.tracks) for d in splits] == [("site-1", "site-2", (("b", RUN, 1),))]
    assert identities(decisions)["b", 1] == "site-2"  # type: ignore[index]


def test_a_track_without_a_match_becomes_a_new_identity() -> None:
    one = matcher()
    decisions = play(one, a_visit("a", 1, 0.0, *[A] * 4))
    decisions += play(one, [look("b", 1, 40.0, A), look("b", 1, 41.0, A)])
    decisions += play(one, [look("b", 1, 42.0 + number, C) for number in range(14)])
    assert identities(decisions)["b", 1] == "site-2"  # type: ignore[index]
    assert len(one) == 2


def test_people_seen_side_by_side_never_merge_however_alike() -> None:
    one = matcher()
    left, right = (10.0, 10.0, 70.0, 200.0), (400.0, 10.0, 460.0, 200.0)
    records = [look("a", n, float(at), A, box) for at in range(12) for n, box in ((1, left), (2, right))]
    decisions = play(one, records)
    assert len(set(identities(decisions).values())) == 2
    assert not [d for d in decisions if isinstance(d, Merge)]


def test_a_match_is_published_with_its_probability_among_all_candidates() -> None:
    one = matcher()
    play(one, a_visit("a", 1, 0.0, *[A] * 3) + a_visit("a", 2, 20.0, *[unit(A + np.float32(0.35) * B)] * 3))
    decisions = play(one, [look("b", 1, 40.0 + number, A) for number in range(3)])
    found = {d.probability for d in decisions if hasattr(d, "probability") and d.probability is not None}
    assert found
    assert all(0.3 < probability < 1 for probability in found)


def test_who_goes_where_is_learned_and_survives_a_restart() -> None:
    one = matcher()
    rng = np.random.default_rng(5)
    for number in range(12):
        looks = unit(rng.normal(size=32))
        at = 100.0 * number
        play(one, a_visit("a", number, at, *[looks] * 3) + a_visit("b", number, at + 12, *[looks] * 3))
    one.update([], 1300.0)
    (passage,) = [p for p in one.topology.passages() if (p.a, p.b) == ("a", "b")]
    assert passage.matches >= 10
    assert 4 <= passage.times_s[1] <= 15
    other = Matcher(Match(), "site", MODEL, VERIFIER, CALIBRATION, state=one.state())
    assert other.topology.passages() == one.topology.passages()


@pytest.mark.parametrize(
    ("cause", "at", "now"),
    [("late by a minute or more", 100.0, 300.0), ("from the future", 100.0, 50.0), ("time went back", 10.0, 12.0)],
)
def test_odd_times_are_counted_and_the_observation_is_published_all_the_same(cause: str, at: float, now: float) -> None:
    one = matcher()
    one.update([look("a", 1, 90.0, A)], 90.0)
    decisions = one.update([look("a", 2, at, B)], now)
    assert one.odd == {cause: 1}
    decisions += one.update([look("a", 2, at + 1, B)], now + 1)
    assert identities(decisions)["a", 2] == "site-2"  # type: ignore[index]


def test_a_camera_that_is_not_in_the_settings_is_counted_and_served() -> None:
    one = Matcher(Match(), "site", MODEL, cameras=["door"])
    decisions = one.update([look("a", 1, 0.0, A)], 1.0)
    assert one.odd == {"camera not in the settings": 1}
    assert identities(decisions)


def test_what_never_gets_a_vector_is_counted_as_unnamed() -> None:
    one = matcher()
    play(one, [look("a", 1, float(at)) for at in range(3)])
    one.update([], 500.0)
    assert one.unnamed == 3


@given(
    seed=st.integers(0, 2**16),
    noise=st.floats(0.2, 1.5),
    behind=st.lists(st.floats(-400, 90_000), min_size=3, max_size=3),
    held_up=st.integers(0, 30),
)
@settings(max_examples=15, deadline=None)
def test_wrong_clocks_and_late_cameras_break_no_law(seed: int, noise: float, behind: list[float], held_up: int) -> None:
    """Each camera's clock is off by its own amount, and one camera's records come in lumps, late."""
    world = World(people=5, cameras=3, seed=seed, noise=noise, dim=16, fps=2)
    shift = {CameraId(f"cam{number}"): seconds for number, seconds in enumerate(behind)}
    batches = [(at, list(group)) for at, group in groupby(world.observations(), key=lambda record: record.seen_at)]
    one, presence = Matcher(Match(), "site", MODEL), Presence(Publish())
    waiting: list[Perceived] = []
    inside: set[tuple[str, str]] = set()
    identities = 0
    for number, (now, group) in enumerate(batches):
        moved = [msgspec.structs.replace(r, seen_at=r.seen_at - shift[r.camera]) for r in group]
        waiting += [record for record in moved if record.camera == "cam0"]
        records = [record for record in moved if record.camera != "cam0"]
        if held_up == 0 or number % held_up == 0 or number == len(batches) - 1:
            records, waiting = waiting + records, []
        decisions = one.update(records, now)
        at_once: dict[tuple[CameraId, float], list[GlobalId]] = defaultdict(list)
        for decision in decisions:
            if isinstance(decision, Sighting):
                identities += 1
                at_once[decision.observation.camera, decision.observation.seen_at].append(decision.person)
        for people in at_once.values():
            assert len(set(people)) == len(people)
        for event in presence.update(decisions, now):
            match event:
                case IdentityEntered():
                    assert (event.person, event.camera) not in inside
                    inside.add((event.person, event.camera))
                case IdentityLeft():
                    inside.remove((event.person, event.camera))
                case IdentitySeen():
                    assert (event.person, event.camera) in inside
    one.update([], batches[-1][0] + 1000)
    seen = sum(isinstance(record, Observation) for _, group in batches for record in group)
    assert identities + one.unnamed == seen
