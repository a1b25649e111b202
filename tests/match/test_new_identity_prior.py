"""The prior of new identities: it may raise the threshold, and can neither lock itself nor refuse everyone."""

import math

import numpy as np
import pytest

from reid_stream.bundles.bundle import Calibration, Verifier
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.bundles.stranger_curve import same_person_quantile
from reid_stream.config.settings import Match
from reid_stream.match.candidates import NewIdentityPrior
from reid_stream.match.factory import matcher_for
from reid_stream.match.matcher import Matcher
from reid_stream.match.scoring import Scorer
from reid_stream.match.thresholds import describe_thresholds, match_threshold
from reid_stream.records import Floats, Perceived, Sighting
from tests.match.test_matcher import look
from tests.worlds import unit

PEOPLE, DIM = 30, 64
HEAD = Verifier(d=[1.0] * DIM, b=2.0, train_prior=0.5)
FLAT = Calibration(
    kind="platt",
    parameters={"slope": 6.0, "intercept": -6.0},
    stranger_rates=[0.1, 0.01, 0.001, 0.0001],
    stranger_log_odds=[-3.0, 0.0, 2.5, 4.0],
)
"""Equal vectors give 6, the margin 2 less 1 times 6; 30 people and the greatest share ask for 6.3."""


def view(person: int, cosine: float, extra: int) -> Floats:
    """Return a vector of a person: its own direction by a cosine, the rest one that no other person has."""
    vector = np.zeros(DIM, dtype=np.float32)
    vector[person], vector[PEOPLE + extra] = cosine, math.sqrt(1 - cosine**2)
    return unit(vector)


def visit(one: Matcher, person: int, camera: str, at: float, cosine: float, extra: int) -> set[str]:
    """Let a person pass a camera for a second; return the identities under which they were seen."""
    vector = view(person, cosine, extra)
    records: list[Perceived] = [look(camera, 1000 * extra + person, at + step / 4, vector) for step in range(5)]
    decisions = one.update(records, at + 1)
    one.update([], at + 70)  # the track is closed
    return {decision.person for decision in decisions if isinstance(decision, Sighting)}


def rush(one: Matcher) -> list[set[str]]:
    """Let everyone pass once."""
    return [visit(one, person, "in", 100.0 * person, 1.0, 0) for person in range(PEOPLE)]


@pytest.fixture
def one() -> Matcher:
    return matcher_for(Match(), EmbedderInfo("bundle-a", HEAD, FLAT, DIM), "site")


def test_people_are_known_again_after_a_rush_of_new_ones_though_the_calibration_is_flat(one: Matcher) -> None:
    first = rush(one)
    assert one.state().newcomers.share > 0.9
    again = [visit(one, person, "out", 10_000 + 100.0 * person, 0.9, 1) for person in range(PEOPLE)]
    assert sum(a == b for a, b in zip(first, again, strict=True)) >= 0.9 * PEOPLE


def test_a_refused_match_does_not_raise_the_share(one: Matcher) -> None:
    rush(one)
    before = one.state().newcomers.share
    likely = Scorer(Match(), HEAD, FLAT)
    cosine = 0.62  # above the site threshold, below what the prior may need
    assert likely.threshold < 12 * cosine - 6 < likely.prior_cap
    for person in range(PEOPLE):
        visit(one, person, "out", 10_000 + 100.0 * person, cosine, 1)
    assert one.state().newcomers.share < before - 0.2


def test_the_prior_never_needs_more_than_half_of_the_pairs_of_one_person_reach() -> None:
    scorer = Scorer(Match(), HEAD, FLAT)
    assert scorer.prior_cap == same_person_quantile(FLAT, 0.5)
    assert scorer.threshold < scorer.prior_cap < NewIdentityPrior(0.95, 0.05).log_odds(PEOPLE)
    quantiles = [same_person_quantile(FLAT, share) for share in (0.1, 0.5, 0.9)]
    assert quantiles == sorted(quantiles, key=lambda value: value or 0)


def test_a_gaussian_curve_gives_back_its_same_person_quantile() -> None:
    # Log likelihood ratios of two Gaussians d apart are Gaussian, too: mean -d^2/2 for strangers, d^2/2 for one person.
    d = 2.5
    rates = [float(rate) for rate in np.geomspace(0.4, 1e-7, 60)]
    odds = [-(d**2) / 2 + d * _upper(rate) for rate in rates]
    curve = Calibration(kind="none", parameters={}, stranger_rates=rates, stranger_log_odds=odds)
    assert same_person_quantile(curve, 0.5) == pytest.approx(d**2 / 2, abs=0.15)


def _upper(rate: float) -> float:
    from scipy.stats import norm

    return float(norm.isf(rate))


def test_the_binding_threshold_is_given_as_cosine_and_probability() -> None:
    info = EmbedderInfo("bundle-a", HEAD, FLAT, DIM)
    few, many = (match_threshold(Match(), info, people) for people in (1, 1000))
    assert (few.rule, many.rule) == ("match.false_match_rate", "share of new people")
    assert few.llr == pytest.approx(12 * few.cosine - 6)
    assert few.probability == pytest.approx(1 / (1 + math.exp(-few.llr)))
    assert many.cosine > few.cosine
    text = describe_thresholds(Match(), info)
    assert text.startswith(f"a match needs cosine {few.cosine:.2f}, P {few.probability:.3f} at even odds")
    assert f"with 1,000 known people cosine {many.cosine:.2f}" in text


def test_without_a_calibration_the_cosine_alone_decides() -> None:
    found = match_threshold(Match(similarity=0.7), EmbedderInfo("bundle-a", None, None, DIM), 10_000, share=0.95)
    assert (found.rule, found.probability) == ("match.similarity", None)
    assert found.cosine == pytest.approx(0.7)


def test_a_threshold_that_no_pair_reaches_is_called_so() -> None:
    info = EmbedderInfo("bundle-a", HEAD, FLAT, DIM)
    assert "no match by appearance alone" in describe_thresholds(Match(false_match_rate=1e-8), info)
