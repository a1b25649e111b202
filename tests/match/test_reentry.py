"""The place where a person reappears on a camera is evidence for being the one lost there."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_stream.config.settings import Match
from reid_stream.config.settings import TopologySettings as Settings
from reid_stream.match import reentry
from reid_stream.match.matcher import Matcher
from reid_stream.match.topology import MAX_LLR, Topology
from reid_stream.match.tracklets import Stay
from reid_stream.records import CameraId, Observation, TrackId

AREA = 768.0 * 576.0
LEFT = (300.0, 400.0, 80.0)
spots = st.tuples(st.floats(0, 768), st.floats(20, 576), st.floats(20, 300))


def at(dx: float, gap_s: float, dy: float = 0.0, height: float = 80.0) -> float:
    return reentry.log_ratio(LEFT, (LEFT[0] + dx, LEFT[1] + dy, height), gap_s, AREA)


def test_the_value_is_the_one_worked_out_by_hand() -> None:
    """One second later, one body height further: variance 0.25 + 0.64, 69.12 heights squared of picture."""
    near = 69.12 / (2 * math.pi * 0.89) * math.exp(-1 / (2 * 0.89))
    still = 0.95 * math.exp(-1 / 5)
    assert at(80, 1) == pytest.approx(math.log(still * near + 1 - still))


def test_near_by_and_soon_speaks_for_far_away_and_soon_against() -> None:
    assert at(0, 0.5) > 2 > at(120, 1.5) > 0 > at(-290, 0.5)
    assert at(300, 0.2) == pytest.approx(math.log(1 - 0.95 * math.exp(-0.04)), abs=0.01)


def test_after_a_while_place_adds_nothing() -> None:
    assert all(abs(at(dx, 60)) < 0.01 for dx in (0, 100, 400))


def test_nearness_is_measured_in_body_heights() -> None:
    far, close = (reentry.log_ratio((0, 100, tall), (tall, 100, tall), 1, AREA * tall**2) for tall in (20.0, 200.0))
    assert far == pytest.approx(close)


@given(left=spots, came=spots, gap_s=st.floats(-100, 1e6))
def test_it_is_always_a_number_and_the_same_both_ways(left: reentry.Spot, came: reentry.Spot, gap_s: float) -> None:
    found = reentry.log_ratio(left, came, gap_s, AREA)
    assert math.log(0.05) - 0.5 < found < 10
    assert found == reentry.log_ratio(came, left, gap_s, AREA)


def test_images_and_people_without_size_add_nothing() -> None:
    assert reentry.log_ratio((0, 0, 0), LEFT, 1, AREA) == reentry.log_ratio(LEFT, LEFT, 1, 0) == 0


def stay(serial: int, begin: float, end: float, came: float, left: float, camera: str = "a") -> Stay:
    spot = [(x, 400.0, 80.0) for x in (came, left)]
    return Stay(serial, "run", CameraId(camera), TrackId(serial), begin, end, came=spot[0], left=spot[1], area=AREA)


def test_it_adds_to_what_is_known_of_the_way_and_stays_within_its_bounds() -> None:
    topology, earlier = Topology(Settings()), stay(1, 0, 10, 100, 300)
    here, there = stay(2, 11, 20, 310, 500), stay(2, 11, 20, 700, 500)
    assert 2 < topology.transit_llr([earlier], [here]) <= MAX_LLR
    assert topology.transit_llr([earlier], [there]) < -1
    assert topology.transit_llr([earlier], [stay(2, 11, 20, 310, 500, camera="b")]) == pytest.approx(0)
    beside = stay(3, 2, 4, 700, 700)  # a second box of who is still there: where `earlier` ends is no evidence
    assert topology.transit_llr([earlier], [beside]) == pytest.approx(0)
    silent = Topology(Settings(learn=False))
    assert silent.transit_llr([earlier], [there]) == 0


def seen(track: int, at_s: float, x: float) -> Observation:
    return Observation(
        run="run", camera=CameraId("a"), track=TrackId(track), sequence=int(at_s * 10), seen_at=at_s, clock="file",
        box=(x - 20, 320.0, x + 20, 400.0), frame_size=(768, 576), score=0.9, quality=0.8, vector=None, model="m" * 64,
    )  # fmt: skip


def test_the_matcher_notes_where_a_track_came_and_where_it_left() -> None:
    matcher = Matcher(Match(), "site", "m" * 64)
    for at_s, x in ((1.0, 100.0), (1.2, 130.0), (1.1, 115.0)):  # the last is late
        matcher.update([seen(1, at_s, x)], at_s)
    (tracklet,) = matcher.state().tracks
    made = tracklet.stay
    matcher.update([seen(1, 0.9, 85.0)], 1.2)  # later still, and the first of all
    assert matcher.state().tracks[0].stay.came == (85, 400, 80)
    assert [made.came, made.left, made.area] == [(100, 400, 80), (130, 400, 80), AREA]
