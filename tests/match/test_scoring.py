"""Similarity of templates, and the value of several views."""

import msgspec
import numpy as np
import pytest

from reid_stream.bundles.bundle import Calibration, Verifier
from reid_stream.bundles.default_calibration import TYPICAL_SQUARE, UNIFORM_WEIGHT, default_calibration
from reid_stream.bundles.stranger_curve import threshold_at_rate
from reid_stream.config.settings import Match
from reid_stream.match.camera_bias import CameraBias, CameraShifts
from reid_stream.match.candidates import NewIdentityPrior
from reid_stream.match.scoring import EvidenceDiscount, Scorer, mean_of, squared_distance
from reid_stream.records import CameraId
from tests.worlds import unit

RNG = np.random.default_rng(3)
CURVE = Calibration(
    kind="platt",
    parameters={"slope": 1.0, "intercept": 0.0},
    stranger_rates=[0.1, 0.01, 0.001],
    stranger_log_odds=[-1.0, 2.0, 5.0],
)


def scorer(**options: object) -> Scorer:
    verifier = Verifier(d=RNG.uniform(1, 3, 16).tolist(), b=6.0, train_prior=0.5)
    return Scorer(Match.model_validate(options), verifier, CURVE)


def test_the_margin_of_two_people_is_the_mean_margin_of_their_tracks() -> None:
    one = scorer()
    left, right = ([*one.fold(unit(RNG.normal(size=(n, 16))))] for n in (2, 3))
    shares_left, shares_right = [0.25, 0.75], [0.2, 0.3, 0.5]
    pairs = [
        p * q * squared_distance(a, b)
        for p, a in zip(shares_left, left, strict=True)
        for q, b in zip(shares_right, right, strict=True)
    ]
    whole = squared_distance(mean_of(left, [1, 3]), mean_of(right, [2, 3, 5]))
    assert whole == pytest.approx(sum(pairs), rel=1e-4)


def test_the_heads_margin_is_what_is_calibrated() -> None:
    one = scorer()
    a, b = unit(RNG.normal(size=(2, 16)))
    assert one.head is not None
    margin = 6.0 - float(np.sum((one.head * (a - b)) ** 2))
    found = float(one.llr(np.asarray(squared_distance(*one.fold(np.stack([a, b])))), floor=0.0))
    assert found == pytest.approx(max(-16.0, margin), rel=1e-4)


def test_the_dial_is_read_off_the_curve_of_strangers() -> None:
    assert [threshold_at_rate(CURVE, rate) for rate in (0.1, 0.01, 0.001)] == pytest.approx([-1, 2, 5])
    assert threshold_at_rate(CURVE, 0.03) == pytest.approx(0.57, abs=0.01)
    assert threshold_at_rate(CURVE, 1e-4) > threshold_at_rate(CURVE, 1e-3)
    assert scorer(false_match_rate=0.001).threshold == pytest.approx(5)


def test_a_cosine_asked_for_by_name_is_the_threshold() -> None:
    one = scorer(similarity=0.6)
    alike = unit([1, 0] * 8)
    other = unit(0.6 * alike + 0.8 * unit([0, 1] * 8))
    squared = np.asarray(squared_distance(*one.fold(np.stack([alike, other]))))
    assert float(one.llr(squared, floor=0.0)) == pytest.approx(one.threshold, abs=1e-3)
    assert not one.is_calibrated


def test_the_published_similarity_is_the_cosine_of_mean_vectors_and_not_of_the_best_view() -> None:
    one = scorer()
    views, other = unit(RNG.normal(size=(3, 16))), unit(RNG.normal(size=16))
    weights = [1.0, 2.0, 3.0]
    mean = (views * np.asarray(weights)[:, None]).sum(axis=0) / 6
    found = one.similarity(mean_of(one.fold(views), weights), one.fold(other[None])[0])
    assert found == pytest.approx(float(mean @ other) / float(np.linalg.norm(mean)), abs=1e-5)
    assert found < float((views @ other).max())


def test_vectors_that_repeat_one_another_are_worth_little_more_than_one() -> None:
    assert EvidenceDiscount(correlation=1.0).independent(16) == 1
    assert EvidenceDiscount(correlation=0.0).independent(16) == 16
    assert 1 < EvidenceDiscount(correlation=0.6).independent(16) < 1 / 0.6


def test_the_correlation_within_tracks_is_learned_from_the_length_of_their_means() -> None:
    one, rho = EvidenceDiscount(), 0.3
    for count in (2, 5, 9, 16) * 100:
        common, own = np.sqrt(rho) * unit(RNG.normal(size=64)), unit(RNG.normal(size=(count, 64)))
        one.learn(count, float(np.linalg.norm((common + np.sqrt(1 - rho) * own).mean(axis=0))))
    assert one.correlation == pytest.approx(rho, abs=0.05)


def test_the_more_are_known_and_the_more_new_ones_come_the_more_is_asked_for() -> None:
    few, many = NewIdentityPrior(), NewIdentityPrior()
    for number in range(100):
        few.learn(is_new=number % 10 == 0)
        many.learn(is_new=number % 2 == 0)
    assert few.log_odds(100) < many.log_odds(100) < many.log_odds(1000)


def test_a_new_identity_stays_possible_where_none_ever_came() -> None:
    one = NewIdentityPrior()
    for _ in range(10_000):
        one.learn(is_new=False)
    assert one.share == pytest.approx(0.05)


@pytest.mark.parametrize("square", [0.05, 0.3, 0.6])
def test_the_default_curve_asks_the_same_of_networks_whose_cosines_differ_by_their_mean(square: float) -> None:
    """A pair whose centred cosine is 0.45 scores the same whatever is known of the mean, and whatever its length."""
    calibration = default_calibration()
    verifier = Verifier(d=[UNIFORM_WEIGHT**0.5] * 8, b=UNIFORM_WEIGHT, train_prior=0.5)
    scorer = Scorer(Match(), verifier, calibration)
    wanted = 0.9084 * 10 * (2 * 0.45 - 1) + 6.0618
    for share in (0.0, 0.5, 1.0):  # of the mean that is subtracted: floor = m (2a - a^2), as CameraShifts has it
        floor = square * (2 * share - share**2)
        raw = 0.45 * (1 - square) + square
        cosine = (raw - floor) / (1 - floor)
        squared = np.array([UNIFORM_WEIGHT * 2 * (1 - cosine)], np.float32)
        found = scorer.llr(squared, scorer.floor(CameraBias({}, floor, common=square)))
        assert found == pytest.approx([wanted], abs=1e-3)
    assert scorer.cosine_at(wanted) == pytest.approx(0.45)
    own = Scorer(Match(), verifier, msgspec.structs.replace(calibration, kind="platt"))
    assert own.floor(CameraBias({}, 0.2, common=0.5)) == 0.2  # a network's own calibration is on the raw scale


def test_the_square_of_the_mean_is_learned_from_the_site() -> None:
    draw = np.random.default_rng(3)
    shifts, common = CameraShifts(), np.eye(64, dtype=np.float32)[0]
    assert shifts.bias().common == TYPICAL_SQUARE
    for _ in range(400):
        noise = draw.normal(size=64).astype(np.float32)
        noise[0] = 0
        vector = 0.15**0.5 * common + 0.85**0.5 * noise / np.linalg.norm(noise)
        shifts.learn(CameraId("a"), vector.astype(np.float32))
    assert shifts.bias().common == pytest.approx(0.15 + 0.35 * 30 / 430, abs=0.02)
