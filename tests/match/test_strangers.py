"""Every site measures how alike its strangers look, and the dial's promise holds there, too."""

import math

import numpy as np
import pytest

from reid_stream.bundle import Calibration, Verifier
from reid_stream.calibration import log_odds, margin_at
from reid_stream.config import Match
from reid_stream.match.matcher import Matcher
from reid_stream.match.strangers import Strangers
from reid_stream.records import Box, Decision, Floats, GlobalId, Sighting
from tests.match.test_matcher import look
from tests.worlds import MODEL

CURVE = Calibration(
    kind="platt",
    parameters={"slope": 1.0, "intercept": 0.0},
    stranger_rates=[0.1, 0.01, 0.001],
    stranger_log_odds=[-1.0, 2.0, 5.0],
)


def test_the_shift_is_the_mean_gap_of_three_quantiles_less_a_doubt() -> None:
    strangers = Strangers()
    for pair in range(11):
        strangers.learn(pair, 100, float(pair))
    # Quantiles 0.7, 0.8, 0.9 of 0..10 are 7, 8, 9; their standard deviation is sqrt(10).
    doubt = 1.25 * math.sqrt(10) / math.sqrt(11)
    assert strangers.shift([1.0, 2.0, 3.0]) == pytest.approx(6 - doubt)
    assert strangers.shift([8.0, 8.0, 8.0]) == 0.0
    assert strangers.shift([]) == 0.0
    assert Strangers().shift([1.0, 2.0, 3.0]) == 0.0


def test_a_pair_counts_once_by_its_latest_look_and_the_oldest_go() -> None:
    strangers = Strangers()
    strangers.learn(1, 2, 5.0)
    strangers.learn(2, 1, 7.0)
    assert list(strangers.pairs.values()) == [7.0]
    for pair in range(300):
        strangers.learn(pair, 1000, 0.0)
    assert len(strangers.pairs) == 256
    assert 7.0 not in strangers.pairs.values()


@pytest.mark.parametrize(
    "calibration",
    [
        CURVE,
        Calibration(kind="platt", parameters={"slope": 0.5, "intercept": -2.0}),
        Calibration(kind="none", parameters={}),
        Calibration(kind="isotonic", parameters={"margin": [-4.0, 0.0, 6.0], "probability": [0.01, 0.4, 0.99]}),
    ],
)
def test_a_margin_is_found_again_from_its_odds(calibration: Calibration) -> None:
    for margin in (-2.0, 0.5, 3.0):
        assert margin_at(calibration, float(log_odds(calibration, margin))) == pytest.approx(margin)


def on_circle(place: int) -> Floats:
    """Somebody on a site whose people differ in two dimensions only: eight places, neighbours at a cosine of 0.7."""
    angle = 2 * math.pi * place / 8
    return np.asarray([math.cos(angle), math.sin(angle), *[0.0] * 14], dtype=np.float32)


def box(place: int) -> Box:
    return (10.0 + 110 * place, 10.0, 80.0 + 110 * place, 200.0)


def see(one: Matcher, place: int, track: int, at: float) -> set[GlobalId]:
    """Let somebody walk by alone; return who that was."""
    told: list[Decision] = []
    for step in range(6):
        told += one.update([look("a", track, at + step, on_circle(place), box(place))], at + step)
    return {decision.person for decision in told if isinstance(decision, Sighting)}


def matcher_of_the_circle() -> Matcher:
    # Evidence 6 - 8 (1 - cosine): neighbours have 3.7, the dial asks for 3.2.
    verifier = Verifier(d=[2.0] * 16, b=6.0, train_prior=0.5)
    return Matcher(Match(settle_s=0.0), "site", MODEL, verifier, CURVE, 16)


def test_who_stood_side_by_side_teaches_that_neighbours_are_strangers_here() -> None:
    alone, crowd = matcher_of_the_circle(), matcher_of_the_circle()
    known = [see(alone, place, place, 100.0 * place) for place in range(7)]
    assert see(alone, 7, 7, 800.0) <= set.union(*known)  # taken for somebody known

    seen: list[Decision] = []
    for step in range(8):
        records = [look("a", place, step, on_circle(place), box(place)) for place in range(7)]
        seen += crowd.update(records, float(step))
    people = {decision.person for decision in seen if isinstance(decision, Sighting)}
    assert len(people) == 7
    state = crowd.state()
    newcomer = see(crowd, 7, 7, 800.0)
    assert len(newcomer) == 1
    assert not newcomer & people
    later = Matcher(
        Match(settle_s=0.0), "site", MODEL, Verifier(d=[2.0] * 16, b=6.0, train_prior=0.5), CURVE, 16, state
    )
    assert see(later, 7, 7, 800.0) == newcomer  # a restart forgets nothing of it


def test_a_bundle_without_a_curve_is_left_as_it_is() -> None:
    verifier = Verifier(d=[2.0] * 16, b=6.0, train_prior=0.5)
    calibration = Calibration(kind="platt", parameters={"slope": 1.0, "intercept": 0.0})
    one = Matcher(Match(), "site", MODEL, verifier, calibration, 16)
    for step in range(4):
        one.update([look("a", place, step, on_circle(place), box(place)) for place in range(4)], float(step))
    assert not one.state().strangers.pairs
