"""How alike two sets of vectors must be to be one person (pure).

    exemplars of a track, exemplars of a person -> Answer(similarity, probability, evidence); accepted at `least`

Without a calibration the evidence is a cosine and the threshold `match.similarity`. With one it is the calibrated
log likelihood ratio of the verification head, log P(pair | same) / P(pair | different), and the threshold follows from
the dial `match.false_match_rate` by the curve that the bundle carries: what pairs of strangers, persons not trained on,
reach with that rate. The vectors of a track are far from independent, so their evidence is averaged, never summed.
"""

from dataclasses import dataclass

import numpy as np

from reid_stream.bundle import Calibration, Verifier
from reid_stream.calibration import log_odds, logit, sigmoid
from reid_stream.config import Match as MatchSettings
from reid_stream.records import Floats

DEFAULT_SIMILARITY = 0.75
"""For a bundle without calibration; best mean IDF1 with OSNet x0.25 over simulated worlds and the ADL overlap pair."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How much speaks for "same person"."""

    similarity: float
    """Cosine to the nearest exemplar."""
    probability: float | None
    """P(same) at even odds; none without calibration."""
    evidence: float
    """What is compared with `Judge.least`."""


class Judge:
    """Weigh evidence by cosine, or by the bundle's verification head where it has one."""

    def __init__(
        self,
        settings: MatchSettings,
        verifier: Verifier | None,
        calibration: Calibration | None,
    ) -> None:
        self._calibration = calibration if verifier is not None and settings.similarity is None else None
        self._d = np.asarray(verifier.d, dtype=np.float32) if verifier is not None else None
        self._b = verifier.b if verifier is not None else 0.0
        if self._calibration is not None:
            self.least = threshold(self._calibration, settings.false_match_rate)
            self.clear = 2.0
            """How far above `least` a first vector alone decides."""
            self.candidates = 0.2
            """Least cosine worth a second look."""
        else:
            self.least = settings.similarity if settings.similarity is not None else DEFAULT_SIMILARITY
            self.clear = 0.08
            self.candidates = self.least

    def weigh(self, similarity: float, vectors: Floats, exemplars: Floats, spread: float = 1.0) -> Answer:
        """Judge a track's vectors (n, d) against a person's exemplars (m, d).

        Args:
            similarity: the cosine that the gallery found.
            vectors: of the track, centred or raw as the exemplars are.
            exemplars: of the person.
            spread: squared distances of raw vectors are those of the given ones times this.
        """
        if self._calibration is None or self._d is None:
            return Answer(similarity, None, similarity)
        gaps = (vectors[:, None, :] - exemplars[None, :, :]) * self._d
        margins = self._b - np.float32(spread) * np.einsum("nmd,nmd->nm", gaps, gaps)
        best = margins.max(axis=1)  # (n,) each vector against what the person looked most like
        odds = log_odds(self._calibration, best) - float(logit(self._calibration.prior))
        evidence = float(np.mean(odds))
        return Answer(similarity, float(sigmoid(evidence)), evidence)


def threshold(calibration: Calibration, rate: float) -> float:
    """Return the log likelihood ratio that pairs of strangers exceed with a rate.

    Between and beyond the measured rates it is straight in log rate. A bundle without the curve gets log 1/rate, which
    holds for any distribution (Markov's inequality, since a likelihood ratio has mean 1 over strangers) but is strict.
    """
    rates, odds = calibration.stranger_rates, calibration.stranger_log_odds
    if len(rates) < 2:
        return float(-np.log(rate))
    places = np.log(rates)
    at = float(np.log(rate))
    low, high = (0, 1) if at >= places[0] else (-2, -1)
    if places[-1] <= at <= places[0]:
        return float(np.interp(at, places[::-1], odds[::-1]))
    slope = (odds[high] - odds[low]) / (places[high] - places[low])
    return float(odds[high] + slope * (at - places[high]))
