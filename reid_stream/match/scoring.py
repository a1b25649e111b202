"""Score pairs of templates: log P(pair | same person) / P(pair | different persons) (pure).

    vectors of a track -> template; two templates -> log likelihood ratio

The *template* of a track is the quality-weighted mean of its centred unit vectors, scaled to unit length; that of an
identity is the weighted mean of those of its tracks, not scaled, so that the margin of two identities is the mean
margin of their tracks (average linkage).

The vectors of one track are correlated, since they share pose and light: with correlation rho, n vectors are worth n /
(1 + (n - 1) rho) independent ones (design effect: Kish, "Survey Sampling", 1965, section 5.4), which is the weight of a
track in its identity; rho is learned. Adding up log likelihood ratios over pairs would count the shared part n times.
Within a track the mean reduces noise, and unit length compensates for the shorter mean. Across tracks the length is
kept: centroids at unit length match strangers to people of diverse appearance (clustering by centroids: IDF1 lower by
0.03 than by averages). Best pair, whitening within tracks and cohort normalisation found fewer known people at the same
false-match rate.

With a calibration, the score is the calibrated log likelihood ratio of the verification head, and its threshold follows
from `match.false_match_rate` by the curve of the bundle (bundles/stranger_curve.py). Without one it is a cosine
relative to `match.similarity`, scaled to be comparable with log odds. The default calibration of a wrapped network is
on the scale of centred vectors (camera_bias.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from reid_stream.bundles.bundle import Calibration, Verifier
from reid_stream.bundles.calibration import log_odds, logit, margin_at
from reid_stream.bundles.stranger_curve import same_person_quantile, threshold_at_rate
from reid_stream.config.settings import Match as MatchSettings
from reid_stream.match.camera_bias import CameraBias
from reid_stream.records import Floats

Doubles = npt.NDArray[np.float64]

DEFAULT_SIMILARITY = 0.75
"""Cosine for a bundle without calibration: best mean IDF1 of OSNet x0.25 on simulated worlds and ADL."""
_STEEPNESS = 25.0
"""Score per unit of cosine without calibration; sets the weight of appearance against transit."""
_UNCALIBRATED_THRESHOLD = 5.0
"""Score at the threshold cosine without calibration; about that of a calibrated bundle at the default rate."""
_PRIOR_CORRELATION, _PRIOR_TRACKS = 0.6, 10.0
"""Initial correlation of the vectors of one track, and the number of tracks that it is worth."""
_MEMORY_TRACKS = 1000.0
"""Weight of the correlation at most, in tracks: older tracks fade."""
_PRIOR_CAP_SHARE = 0.5
"""Share of the pairs of one person that the prior may refuse at most, see `Scorer.prior_cap`."""


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """Appearance of a track or an identity, in the space of the verification head."""

    vector: Floats
    """(d,) for a track: a unit vector times the factors of the head; for an identity: the weighted mean of those."""
    square: float
    """Weighted mean squared length of the vectors of which `vector` is the mean."""


class Scorer:
    """Scores of templates by the verification head of a bundle, or by cosine where it has no calibration."""

    def __init__(self, settings: MatchSettings, verifier: Verifier | None, calibration: Calibration | None) -> None:
        self.calibration = calibration if verifier is not None and settings.similarity is None else None
        """Calibration in use; None scores by cosine."""
        self._is_of_centred = self.calibration is not None and self.calibration.is_default
        """Whether the calibration is of vectors whose mean is subtracted."""
        self.head = np.asarray(verifier.d, dtype=np.float32) if verifier is not None else None
        """(d,) factors of unit vectors, so that squared distances are those of the margin; None for cosines."""
        self._b = verifier.b if verifier is not None else 0.0
        if self.calibration is not None:
            self._even = float(logit(self.calibration.prior))
            """Log odds at the prior of the calibration, at which the likelihood ratio is 1."""
            self.threshold = threshold_at_rate(self.calibration, settings.false_match_rate)
            """Log likelihood ratio that strangers exceed with `match.false_match_rate`; a match needs more."""
            self.prior_cap = same_person_quantile(self.calibration, _PRIOR_CAP_SHARE) or self.threshold
            """Log likelihood ratio up to which the prior of a new identity may raise the threshold."""
        else:
            self._similarity = settings.similarity if settings.similarity is not None else DEFAULT_SIMILARITY
            self.threshold = self.prior_cap = _UNCALIBRATED_THRESHOLD
            self.head = None

    def fold(self, means: Floats) -> list[Template]:
        """Return the templates (n) of the means (n, d) of the centred vectors of tracks, none of length 0."""
        length = np.sqrt(np.einsum("nd,nd->n", means, means))
        folded = means / np.maximum(length, np.float32(1e-6))[:, None]
        if self.head is not None:
            folded *= self.head
        squares = np.einsum("nd,nd->n", folded, folded).tolist()
        return [Template(vector, square) for vector, square in zip(folded, squares, strict=True)]

    def squared(self, a: Floats, b: Floats) -> Floats:
        """Return the squared distances (n,) of the templates of means (n, d), row by row; none of length 0."""
        a, b = (m / np.maximum(np.linalg.norm(m, axis=1, keepdims=True), np.float32(1e-6)) for m in (a, b))
        apart = a - b if self.head is None else (a - b) * self.head
        return np.asarray(np.einsum("nd,nd->n", apart, apart), dtype=np.float32)

    def similarity(self, a: Template, b: Template) -> float:
        """Return the cosine of two templates."""
        left, right = (t.vector if self.head is None else t.vector / self.head for t in (a, b))
        return float(left @ right) / max(float(np.linalg.norm(left) * np.linalg.norm(right)), 1e-6)

    def llr(self, squared: Floats, floor: float) -> Doubles:
        """Return the log likelihood ratios of squared distances, in their shape.

        Args:
            squared: squared distances of templates.
            floor: what `floor` returns.
        """
        if self.calibration is None:
            cosine = (1 - squared.astype(np.float64) / 2) * (1 - floor) + floor
            return np.asarray(_STEEPNESS * (cosine - self._similarity) + self.threshold)
        margins = self._b - (1 - floor) * squared.astype(np.float64)
        return log_odds(self.calibration, margins) - self._even

    def floor(self, bias: CameraBias) -> float:
        """Return f such that (1 - f) times a squared distance of templates is on the scale of the calibration.

        That is the scale of raw vectors; for the default calibration, that of vectors without their mean.
        """
        if not self._is_of_centred:
            return bias.floor
        return 1 - (1 - bias.floor) / (1 - bias.common)

    def even_squared(self, floor: float) -> float:
        """Return the squared distance of templates at which the log likelihood ratio is 0; needs a calibration.

        Args:
            floor: what `floor` returns.
        """
        assert self.calibration is not None, "only a calibration has likelihood ratios"
        return (self._b - margin_at(self.calibration, self._even)) / (1 - floor)

    def cosine_at(self, llr: float) -> float:
        """Return the cosine of raw vectors with a log likelihood ratio, averaged over dimensions; may exceed 1.

        For the default calibration it is that of vectors whose mean is subtracted.
        """
        if self.calibration is None:
            return self._similarity + (llr - self.threshold) / _STEEPNESS
        assert self.head is not None, "a calibration is of a head"
        squared = self._b - margin_at(self.calibration, llr + self._even)
        return 1 - squared / (2 * float(np.mean(self.head**2)))

    @property
    def is_calibrated(self) -> bool:
        """Whether scores are likelihood ratios, so that there are probabilities."""
        return self.calibration is not None


def squared_distance(a: Template, b: Template) -> float:
    """Return the weighted mean squared distance over the pairs of two templates."""
    return max(0.0, a.square + b.square - 2 * float(a.vector @ b.vector))


def mean_of(templates: Sequence[Template], weights: Sequence[float]) -> Template:
    """Return the weighted mean of templates; its squared distance to another one is the mean of theirs."""
    if len(templates) == 1:
        return templates[0]
    shares = np.asarray(weights, dtype=np.float32)
    shares /= shares.sum()
    vector = shares @ np.stack([template.vector for template in templates])
    square = float(shares @ np.asarray([template.square for template in templates], dtype=np.float32))
    return Template(np.asarray(vector, dtype=np.float32), square)


class EvidenceDiscount(msgspec.Struct):
    """Correlation of the vectors of one track, from which their effective number follows."""

    correlation: float = _PRIOR_CORRELATION
    """Mean cosine of two centred vectors of one track."""
    tracks: float = _PRIOR_TRACKS
    """Number of tracks it was learned from, at most `_MEMORY_TRACKS`."""

    def learn(self, count: int, length: float) -> None:
        """Learn from a track: number of vectors and length of their mean, whose square is rho + (1 - rho) / n."""
        if count < 2:
            return
        found = min(1.0, max(0.0, (count * length**2 - 1) / (count - 1)))
        self.correlation += (found - self.correlation) / (self.tracks + 1)
        self.tracks = min(self.tracks + 1, _MEMORY_TRACKS)

    def independent(self, count: int) -> float:
        """Return the effective number of independent vectors of a track with `count` vectors."""
        return count / (1 + (count - 1) * self.correlation)
