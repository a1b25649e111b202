"""Describe the thresholds of a match as log likelihood ratio, cosine and probability (pure)."""

from dataclasses import dataclass
from typing import Literal

from reid_stream.bundles.calibration import sigmoid
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.settings import Match
from reid_stream.match.candidates import NewIdentityPrior
from reid_stream.match.scoring import Scorer

Rule = Literal["match.similarity", "match.false_match_rate", "share of new people"]


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


def match_threshold(settings: Match, embedder: EmbedderInfo, people: int, share: float = 0.5) -> MatchThreshold:
    """Return the threshold that binds.

    Args:
        settings: section `match` of cams.yaml.
        embedder: of the bundle.
        people: number of known identities.
        share: of tracks that start a new identity; 0.5 is that of a site without history.
    """
    scorer = Scorer(settings, embedder.verifier, embedder.calibration)
    if not scorer.is_calibrated:
        return MatchThreshold("match.similarity", scorer.threshold, scorer.cosine_at(scorer.threshold), None)
    prior = min(NewIdentityPrior(share, 1 - share).log_odds(people), scorer.prior_cap)
    llr = max(scorer.threshold, prior)
    rule: Rule = "match.false_match_rate" if scorer.threshold >= prior else "share of new people"
    return MatchThreshold(rule, llr, scorer.cosine_at(llr), float(sigmoid(llr)))


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
