"""How alike two sets of vectors must be to be one person (pure).

    exemplars of a track, exemplars of a person -> Answer(similarity, probability, evidence); accepted at `least`

Without a calibration the evidence is a cosine and the threshold `match.similarity`. With one it is the calibrated
log likelihood ratio of the verification head, log P(pair | same) / P(pair | different), and the threshold follows from
the dial `match.false_match_rate`: a stranger's likelihood ratio exceeds 1/r with probability at most r, whatever the
distributions are (Markov's inequality, since a likelihood ratio has mean 1 over strangers). The vectors of a track are
far from independent, so their evidence is averaged, never summed.
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
            self.least = float(-np.log(settings.false_match_rate))
            self.clear = 2.0
            """How far above `least` a first vector alone decides."""
            self.candidates = 0.2
            """Least cosine worth a second look."""
        else:
            self.least = settings.similarity if settings.similarity is not None else DEFAULT_SIMILARITY
            self.clear = 0.08
            self.candidates = self.least

    def weigh(self, similarity: float, vectors: Floats, exemplars: Floats) -> Answer:
        """Judge a track's vectors (n, d) against a person's exemplars (m, d), given the cosine found by the gallery."""
        if self._calibration is None or self._d is None:
            return Answer(similarity, None, similarity)
        gaps = (vectors[:, None, :] - exemplars[None, :, :]) * self._d
        margins = self._b - np.einsum("nmd,nmd->nm", gaps, gaps)
        best = margins.max(axis=1)  # (n,) each vector against what the person looked most like
        odds = log_odds(self._calibration, best) - float(logit(self._calibration.prior))
        evidence = float(np.mean(odds))
        return Answer(similarity, float(sigmoid(evidence)), evidence)
