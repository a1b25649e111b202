"""Describe the thresholds of a match as log likelihood ratio, cosine and probability (pure)."""

from dataclasses import dataclass
from typing import Literal

from reid_stream.bundles.calibration import sigmoid
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.settings import Match
from reid_stream.match.candidates import NewIdentityPrior
from reid_stream.match.scoring import Scorer
from reid_stream.match.site_strangers import SiteStrangers, SiteThreshold
from reid_stream.match.snapshot import MatcherState

Rule = Literal["match.similarity", "match.false_match_rate", "people seen side by side", "share of new people"]


@dataclass(frozen=True, slots=True)
class MatchThreshold:
    """Least similarity of a match by appearance alone, at some number of known people."""

    rule: Rule
    """Rule that sets it."""
    llr: float
    """Log likelihood ratio; a score without calibration."""
    cosine: float
    """Cosine of raw mean vectors; for a verification head whose factors differ, on average over dimensions."""
    probability: float | None
    """P(same person) at even prior odds; None without calibration."""


def match_threshold(
    settings: Match, embedder: EmbedderInfo, people: int, share: float = 0.5, strangers: SiteStrangers | None = None
) -> MatchThreshold:
    """Return the threshold that binds.

    Args:
        settings: section `match` of cams.yaml.
        embedder: of the bundle.
        people: number of known identities.
        share: of tracks that start a new identity; 0.5 is that of a site without history.
        strangers: what a site has learned of tracks seen side by side; None: nothing.
    """
    scorer = Scorer(settings, embedder.verifier, embedder.calibration)
    if not scorer.is_calibrated:
        return MatchThreshold("match.similarity", scorer.threshold, scorer.cosine_at(scorer.threshold), None)
    prior = min(NewIdentityPrior(share, 1 - share).log_odds(people), scorer.prior_cap)
    site = SiteThreshold(scorer, strangers or SiteStrangers(), settings.false_match_rate).threshold
    llr = max(site, prior)
    rule: Rule = "match.false_match_rate"
    if site < prior:
        rule = "share of new people"
    elif site > scorer.threshold:
        rule = "people seen side by side"
    return MatchThreshold(rule, llr, scorer.cosine_at(llr), float(sigmoid(llr)))


def describe_site(settings: Match, embedder: EmbedderInfo, state: MatcherState) -> str:
    """Return one line: the threshold that a site's matcher has now, and what raised it."""
    people, pairs = len(state.people), round(state.strangers.pairs)
    here = match_threshold(settings, embedder, people, state.newcomers.share, state.strangers)
    text = f"on this site, with {people:,} known people, a match needs {_named(here, settings)}"
    if here.rule == "people seen side by side":
        text += f"; {pairs:,} pairs seen side by side look more alike than the strangers of the calibration, by which "
        text += f"it would be {_named(match_threshold(settings, embedder, people, state.newcomers.share), settings)}"
    elif here.rule == "share of new people":
        text += f"; {state.newcomers.share:.0%} of the tracks are of new people"
    elif here.rule == "match.false_match_rate":
        text += f"; {pairs:,} pairs seen side by side do not raise it"
    return text


def describe_thresholds(settings: Match, embedder: EmbedderInfo, people: int = 1000) -> str:
    """Return one line: the threshold of an empty site, and that with `people` known ones where another rule binds."""
    first, later = match_threshold(settings, embedder, 1), match_threshold(settings, embedder, people)
    text = f"a match needs {_named(first, settings)}"
    if later.rule != first.rule:
        text += f"; with {people:,} known people {_named(later, settings)}"
    if first.probability is not None and embedder.calibration is not None and embedder.calibration.is_default:
        text += (
            "; cosines are those of vectors without their mean, by the default curve, which is not of this network: "
            "`reid-train calibrate` measures its own"
        )
    return text


def _named(threshold: MatchThreshold, settings: Match) -> str:
    rule: str = threshold.rule
    if rule == "match.false_match_rate":
        rule = f"{rule} {settings.false_match_rate:g}"
    if threshold.cosine > 1:
        return f"more than equal vectors give ({rule}): no match by appearance alone"
    probability = "" if threshold.probability is None else f", P {threshold.probability:.3f} at even odds"
    return f"cosine {threshold.cosine:.2f}{probability} ({rule})"
