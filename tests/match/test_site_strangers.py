"""A site's threshold is raised by certain strangers who look alike, hardly by chance, tracking errors or few pairs."""

import math

import numpy as np
import pytest

from reid_stream.bundles.bundle import Calibration, Verifier
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.bundles.stranger_curve import rate_at, threshold_at_rate
from reid_stream.config.settings import Match
from reid_stream.match.factory import matcher_for
from reid_stream.match.matcher import Matcher
from reid_stream.match.scoring import Scorer
from reid_stream.match.site_strangers import PRIOR_PAIRS, SiteStrangers, SiteThreshold
from reid_stream.match.thresholds import describe_site, match_threshold
from reid_stream.records import Perceived
from tests.match.test_matcher import look
from tests.worlds import unit

DIM = 32
HEAD = Verifier(d=[1.0] * DIM, b=2.0, train_prior=0.5)
CURVE = Calibration(
    kind="platt",
    parameters={"slope": 8.0, "intercept": -6.0},
    stranger_rates=[0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001],
    stranger_log_odds=[-3.5, -1.2, 1.0, 3.0, 5.0, 7.0, 9.0, 10.0],
)
RATE = 0.004
BOXES = ((0.0, 10.0, 80.0, 200.0), (300.0, 10.0, 380.0, 200.0))


def strangers(count: int, seed: int = 0) -> list[float]:
    """Draw log likelihood ratios from the curve."""
    chances = np.random.default_rng(seed).random(count)
    return [threshold_at_rate(CURVE, max(chance, 1e-6)) for chance in chances.tolist()]


def threshold(*llrs: list[float]) -> float:
    seen = SiteStrangers()
    for some in llrs:
        seen.learn(some)
    return SiteThreshold(Scorer(Match(false_match_rate=RATE), HEAD, CURVE), seen, RATE).threshold


@pytest.fixture
def least() -> float:
    return threshold_at_rate(CURVE, RATE)


def test_the_rate_inverts_the_threshold() -> None:
    for rate in (0.5, 0.2, 0.01, 0.004, 0.0002, 0.00001):
        assert rate_at(CURVE, threshold_at_rate(CURVE, rate)) == pytest.approx(rate)
    assert rate_at(Calibration(kind="none", parameters={}), 3.0) == pytest.approx(math.exp(-3))
    assert rate_at(CURVE, -50.0) == 1.0


def test_a_site_like_that_of_the_calibration_keeps_its_threshold(least: float) -> None:
    assert threshold() == least
    for seed in range(5):
        assert threshold(strangers(2000, seed)) <= least + 0.5


def test_a_site_of_people_in_uniform_gets_the_rate_asked_for(least: float) -> None:
    alike = [llr + 3.0 for llr in strangers(3000)]
    found = threshold(alike)
    assert found > least + 1.5
    others = np.asarray([llr + 3.0 for llr in strangers(20_000, 1)])
    assert (others > least).mean() > 3 * RATE
    assert RATE / 2 <= (others > found).mean() <= RATE * 2


def test_few_pairs_change_little(least: float) -> None:
    assert PRIOR_PAIRS >= 100
    assert threshold([6.0]) == least
    assert threshold([9.0, *[-4.0] * 40]) == least


def test_tracks_of_one_person_among_the_pairs_do_not_raise_the_threshold(least: float) -> None:
    one_person = np.random.default_rng(3).normal(13.0, 1.5, 60).tolist()
    assert threshold(strangers(2000), one_person) <= least + 1.0


def test_the_threshold_never_exceeds_what_half_of_the_pairs_of_one_person_reach() -> None:
    scorer = Scorer(Match(false_match_rate=RATE), HEAD, CURVE)
    assert threshold([scorer.prior_cap - 0.3] * 4000) <= scorer.prior_cap


def test_old_pairs_fade(least: float) -> None:
    seen = SiteStrangers()
    seen.learn([llr + 3.0 for llr in strangers(5000)])
    site = SiteThreshold(Scorer(Match(false_match_rate=RATE), HEAD, CURVE), seen, RATE)
    before = site.threshold
    for seed in range(20):
        seen.learn(strangers(1000, seed))
    assert site.threshold < before - 1.0
    assert seen.pairs <= 6000


def test_a_cosine_threshold_is_left_alone() -> None:
    scorer = Scorer(Match(similarity=0.7), HEAD, CURVE)
    seen = SiteStrangers()
    seen.learn([12.0] * 1000)
    assert SiteThreshold(scorer, seen, RATE).threshold == scorer.threshold


def pass_side_by_side(one: Matcher, visit: int, cosine: float) -> None:
    """Let two people, whose vectors have a cosine, be side by side for four seconds; one stays for three more."""
    first, second = np.zeros(DIM), np.zeros(DIM)
    first[2 * (visit % 8)] = 1.0
    second[2 * (visit % 8)], second[2 * (visit % 8) + 1] = cosine, math.sqrt(1 - cosine**2)
    for step in range(14):
        at = 100.0 * visit + step / 2
        records: list[Perceived] = [
            look("cam", 10 * visit + number, at, unit(vector.astype(np.float32)), box=BOXES[number])
            for number, vector in enumerate((first, second))
            if number == 1 or step < 8
        ]
        one.update(records, at)
    one.update([], 100.0 * visit + 65)  # the first is closed while the second is not
    one.update([], 100.0 * visit + 90)


@pytest.fixture
def site() -> Matcher:
    return matcher_for(Match(false_match_rate=RATE), EmbedderInfo("bundle-a", HEAD, CURVE, DIM), "site")


def test_tracks_seen_side_by_side_are_counted_and_survive_a_restart(site: Matcher) -> None:
    for visit in range(5):
        pass_side_by_side(site, visit, 0.5)
    state = site.state()
    assert state.strangers.pairs == 5
    again = matcher_for(Match(false_match_rate=RATE), EmbedderInfo("bundle-a", HEAD, CURVE, DIM), "site", state=state)
    assert again.state().strangers == state.strangers


def test_pairs_of_another_model_are_dropped(site: Matcher) -> None:
    pass_side_by_side(site, 0, 0.5)
    again = matcher_for(Match(), EmbedderInfo("bundle-b", HEAD, CURVE, DIM), "site", state=site.state())
    assert again.state().strangers.pairs == 0


def test_a_track_that_was_cut_is_not_counted(site: Matcher) -> None:
    one, other, beside = (np.eye(DIM, dtype=np.float32)[number] for number in range(3))
    for step in range(18):
        vectors = (one if step < 6 else other, beside)
        records: list[Perceived] = [
            look("cam", number, step / 2, vector, box=BOXES[number])
            for number, vector in enumerate(vectors)
            if number == 1 or step < 12
        ]
        site.update(records, step / 2)
    site.update([], 67.0)
    site.update([], 90.0)
    assert any(stay.since is not None for person in site.state().people for stay in person.stays)
    assert site.state().strangers.pairs == 0


def test_the_threshold_of_a_site_in_uniform_is_described_with_what_raised_it() -> None:
    info, settings = EmbedderInfo("bundle-a", HEAD, CURVE, DIM), Match(false_match_rate=RATE)
    one = matcher_for(settings, info, "site")
    state = one.state()
    plain = describe_site(settings, info, state)
    assert plain.startswith("on this site, with 0 known people, a match needs cosine")
    assert "0 pairs seen side by side do not raise it" in plain
    state.strangers.learn([llr + 3.0 for llr in strangers(3000)])
    raised = describe_site(settings, info, state)
    low, high = (match_threshold(settings, info, 0, strangers=seen) for seen in (None, state.strangers))
    assert high.rule == "people seen side by side"
    assert high.cosine > low.cosine + 0.1
    assert f"cosine {high.cosine:.2f}, P {high.probability:.3f}" in raised
    assert "3,000 pairs seen side by side look more alike" in raised
    assert f"it would be cosine {low.cosine:.2f}" in raised
