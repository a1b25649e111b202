"""How alike two templates must be to be one person (pure).

    vectors of a track -> template; two templates -> log P(pair | same person) / P(pair | different)

A track's *template* is the mean of its centred unit vectors, weighted by quality, at unit length; a person's is the
weighted mean of its tracks', so that the margin of two people is the mean margin of their tracks (average linkage).
This is how views are combined although they are not independent. The vectors of one track share what the camera made
of that person (pose, light): with correlation rho among them, n vectors are worth n / (1 + (n - 1) rho) independent
ones (the design effect: Kish, "Survey Sampling", 1965, section 5.4), and that is what a track weighs in its person;
rho is learned as tracks go by. To add up the evidence of pairs would count the shared part n times; within a track,
averaging takes away noise, and unit length undoes that margins of true pairs shrink with it. Between tracks the length
stays: what two views of a person have in common is what tells, and a centroid at unit length takes strangers for
people who look diverse (IDF1 of clustering by centroids is 0.03 lower than by averages). The best pair, whitening
within tracks, and scores set against a cohort of others found fewer known people at an equal rate of false alarms,
too.

Without a calibration the evidence is a cosine about `match.similarity`, scaled to be used like log odds. With one it is
the calibrated log likelihood ratio of the verification head, and what is needed follows from the dial
`match.false_match_rate` by the curve that the bundle carries: what pairs of strangers, persons not trained on, reach
with that rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from reid_stream.bundles.bundle import Calibration, Verifier
from reid_stream.bundles.calibration import log_odds, logit
from reid_stream.config.settings import Match as MatchSettings
from reid_stream.records import Floats

Doubles = npt.NDArray[np.float64]

DEFAULT_SIMILARITY = 0.75
"""For a bundle without calibration; best mean IDF1 with OSNet x0.25 over simulated worlds and the ADL overlap pair."""
_STEEPNESS = 25.0
"""Log odds per unit of cosine for a bundle without calibration, so that topology and priors have their say."""
_UNCALIBRATED_LEAST = 5.0
"""Evidence at the threshold cosine then: like a calibrated one's at the default rate."""
_PRIOR_CORRELATION, _PRIOR_TRACKS = 0.6, 10.0
"""Correlation of vectors within a track before any was seen, and how many tracks that guess is worth."""
_MEMORY_TRACKS = 1000.0
"""Older tracks fade from the correlation."""


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """What a track or a person looks like, in the space of the verification head."""

    vector: Floats
    """(d,) of a track: a unit vector times the head; of a person: the mean of those."""
    square: float
    """Mean squared length of what `vector` is the mean of."""


class Scorer:
    """Weigh templates by the bundle's verification head where it has one, else by cosine."""

    def __init__(self, settings: MatchSettings, verifier: Verifier | None, calibration: Calibration | None) -> None:
        self._calibration = calibration if verifier is not None and settings.similarity is None else None
        self.head = np.asarray(verifier.d, dtype=np.float32) if verifier is not None else None
        """(d,) by which unit vectors are multiplied, so that the squared distance of two is their margin's."""
        self._b = verifier.b if verifier is not None else 0.0
        if self._calibration is not None:
            self.threshold = threshold_at_rate(self._calibration, settings.false_match_rate)
            """Evidence that strangers exceed with the rate of the dial."""
        else:
            self._similarity = settings.similarity if settings.similarity is not None else DEFAULT_SIMILARITY
            self.threshold = _UNCALIBRATED_LEAST
            self.head = None

    def fold(self, means: Floats) -> list[Template]:
        """Return the templates of the means (n, d) of tracks' centred vectors, of any length but 0; row by row."""
        length = np.sqrt(np.einsum("nd,nd->n", means, means))
        folded = means / np.maximum(length, np.float32(1e-6))[:, None]
        if self.head is not None:
            folded *= self.head
        squares = np.einsum("nd,nd->n", folded, folded).tolist()
        return [Template(vector, square) for vector, square in zip(folded, squares, strict=True)]

    def squared(self, a: Floats, b: Floats) -> Floats:
        """Return the squared distances (n,) of the templates of means (n, d), of any length but 0, row by row."""
        a, b = (m / np.maximum(np.linalg.norm(m, axis=1, keepdims=True), np.float32(1e-6)) for m in (a, b))
        apart = a - b if self.head is None else (a - b) * self.head
        return np.asarray(np.einsum("nd,nd->n", apart, apart), dtype=np.float32)

    def similarity(self, a: Template, b: Template) -> float:
        """Return the cosine of two templates."""
        left, right = (t.vector if self.head is None else t.vector / self.head for t in (a, b))
        return float(left @ right) / max(float(np.linalg.norm(left) * np.linalg.norm(right)), 1e-6)

    def llr(self, squared: Floats, floor: float) -> Doubles:
        """Return log likelihood ratios of any shape.

        Args:
            squared: distances of templates, squared.
            floor: of the centring; unrelated raw vectors have this cosine, see cameras.py.
        """
        if self._calibration is None:
            cosine = (1 - squared.astype(np.float64) / 2) * (1 - floor) + floor
            return np.asarray(_STEEPNESS * (cosine - self._similarity) + self.threshold)
        margins = self._b - (1 - floor) * squared.astype(np.float64)
        return log_odds(self._calibration, margins) - float(logit(self._calibration.prior))

    @property
    def is_calibrated(self) -> bool:
        """Evidence is a likelihood ratio, so that there are probabilities."""
        return self._calibration is not None


def threshold_at_rate(calibration: Calibration, rate: float) -> float:
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


def squared_distance(a: Template, b: Template) -> float:
    """Return the mean squared distance of what two templates stand for."""
    return max(0.0, a.square + b.square - 2 * float(a.vector @ b.vector))


def mean_of(templates: Sequence[Template], weights: Sequence[float]) -> Template:
    """Return what stands for several: its margin to another is the mean of theirs."""
    shares = np.asarray(weights, dtype=np.float32)
    shares /= shares.sum()
    vector = shares @ np.stack([template.vector for template in templates])
    square = float(shares @ np.asarray([template.square for template in templates], dtype=np.float32))
    return Template(np.asarray(vector, dtype=np.float32), square)


class EvidenceDiscount(msgspec.Struct):
    """How much the vectors of one track repeat one another."""

    correlation: float = _PRIOR_CORRELATION
    """Mean cosine of two centred vectors of one track."""
    tracks: float = _PRIOR_TRACKS

    def learn(self, count: int, length: float) -> None:
        """Take in a track: how many vectors, and the length of their mean, whose square is rho + (1 - rho) / n."""
        if count < 2:
            return
        found = min(1.0, max(0.0, (count * length**2 - 1) / (count - 1)))
        self.correlation += (found - self.correlation) / (self.tracks + 1)
        self.tracks = min(self.tracks + 1, _MEMORY_TRACKS)

    def independent(self, count: int) -> float:
        """Return how many independent vectors `count` of a track are worth."""
        return count / (1 + (count - 1) * self.correlation)
