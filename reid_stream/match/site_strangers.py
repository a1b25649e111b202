"""Learn how alike the strangers of a site look, from pairs of tracks that are certainly of two people (pure).

    pairs seen side by side -> histogram of their log likelihood ratios -> threshold of a false-match rate

The bundle's curve states which log likelihood ratio strangers exceed at which rate, on the people of its calibration.
Where people wear uniforms, ten times as many exceed it. Two tracks seen side by side, or at once on two cameras that do
not overlap, are such strangers of this very site, for free. The rate at a threshold t is estimated as

    (k(t) - m + PRIOR_PAIRS r(t)) / (n + PRIOR_PAIRS)

with k of n pairs above t, r the rate by the bundle's curve, and m the pairs that are one person after all, since a
tracker went over from one to another or a second box lay beside the first: one, plus `_ONE_PERSON` for each pair that
exceeds what strangers practically never do. Tracks that were cut, and tracks side by side for a moment only, are not
counted at all. The threshold is raised until the estimate meets the rate, at most to `Scorer.prior_cap`, which half of
the pairs of one person exceed, and never lowered: a site of people who differ more than those of the calibration gains
little, and one of few pairs could lose much.

A shift of all scores by the mean of strangers was tried before and lost (decision 8): the mean of strangers says little
of their tail, which is what a threshold acts on.
"""

from collections.abc import Callable, Iterable

import msgspec
import numpy as np
import numpy.typing as npt

from reid_stream.bundles.stranger_curve import rate_at, threshold_at_rate
from reid_stream.match.scoring import Scorer, Template, squared_distance
from reid_stream.match.tracklets import Stay, Tracklet

BINS, _WIDTH = 64, 0.25
"""Bins of the histogram, from a log likelihood ratio of 0, and their width; the last one is open."""
PRIOR_PAIRS = 300.0
"""Pairs that the bundle's curve is worth."""
_MEMORY_PAIRS = 5000.0
"""Pairs at most: older ones fade."""
_IMPOSSIBLE_RATE = 1e-4
"""Strangers exceed the threshold of this rate practically never."""
_ONE_PERSON = 1.5
"""Pairs of one person for each that exceeds that threshold."""
_LEAST_VECTORS = 3
"""Vectors of a track that is counted: the curve was measured on means, and fewer vectors are noisier."""
_EDGES: npt.NDArray[np.float64] = np.arange(BINS, dtype=np.float64) * _WIDTH
_BESIDE_S = 2.0
"""Time for which two tracks must have been there both, seconds."""


class SiteStrangers(msgspec.Struct):
    """Decayed histogram of certain strangers."""

    pairs: float = 0.0
    above: list[float] = []
    """(BINS,) pairs by bin; those below 0 are only in `pairs`. Empty before the first."""

    def learn(self, llrs: npt.ArrayLike) -> None:
        """Count pairs by their log likelihood ratios by appearance (n,)."""
        values = np.asarray(llrs, dtype=np.float64)
        if not len(values):
            return
        fade = max(0.0, 1 - len(values) / _MEMORY_PAIRS) if self.pairs >= _MEMORY_PAIRS else 1.0
        counts = np.asarray(self.above or [0.0] * BINS) * fade
        place = np.minimum(np.floor(values[values >= 0] / _WIDTH).astype(np.int64), BINS - 1)
        np.add.at(counts, place, 1.0)
        self.pairs = self.pairs * fade + len(values)
        self.above = counts.tolist()

    def rates(self, prior: npt.NDArray[np.float64], impossible: float) -> npt.NDArray[np.float64]:
        """Return the estimated rate (BINS,) at which strangers exceed each edge.

        Args:
            prior: (BINS,) the same by the bundle's curve.
            impossible: log likelihood ratio that strangers practically never exceed.
        """
        above = np.cumsum(np.asarray(self.above)[::-1])[::-1]
        one_person = 1 + _ONE_PERSON * float(np.interp(impossible, _EDGES, above))
        return np.asarray((np.maximum(above - one_person, 0) + PRIOR_PAIRS * prior) / (self.pairs + PRIOR_PAIRS))


class SiteThreshold:
    """Threshold of `match.false_match_rate` on one site: by the bundle's curve, raised by what its strangers show."""

    def __init__(self, scorer: Scorer, strangers: SiteStrangers, rate: float) -> None:
        self._scorer, self._strangers, self._rate = scorer, strangers, rate
        self._known: tuple[list[float], float] | None = None
        """The histogram, and the threshold that follows from it; `SiteStrangers.learn` makes a new histogram."""
        calibration = scorer.calibration
        if calibration is not None:
            self._prior = np.asarray([rate_at(calibration, float(edge)) for edge in _EDGES])
            self._impossible = threshold_at_rate(calibration, _IMPOSSIBLE_RATE)

    @property
    def threshold(self) -> float:
        """Log likelihood ratio that strangers of this site exceed with the rate asked for."""
        if self._known is None or self._known[0] is not self._strangers.above:
            self._known = self._strangers.above, self._threshold()
        return self._known[1]

    def _threshold(self) -> float:
        least, most = self._scorer.threshold, self._scorer.prior_cap
        if self._scorer.calibration is None or not self._strangers.pairs or least >= most:
            return least
        rates = self._strangers.rates(self._prior, self._impossible)
        good = np.flatnonzero((rates <= self._rate) & (least <= _EDGES))
        if rates[np.searchsorted(_EDGES, least)] <= self._rate:
            return least
        return min(most, float(_EDGES[good[0]]) if len(good) else most)

    def learn(
        self, track: Tracklet, others: Iterable[Tracklet], template: Callable[[Tracklet], Template], floor: float
    ) -> None:
        """Count pairs of a track with others that were seen side by side with it.

        Args:
            track: the track.
            others: open tracks.
            template: gives the template of a track.
            floor: what `Scorer.floor` returns.
        """
        if self._scorer.calibration is None or not _is_whole(track):
            return
        beside = [other for other in others if _is_whole(other) and _together_s(track.stay, other.stay) >= _BESIDE_S]
        if beside:
            own = template(track)
            squared = [squared_distance(own, template(other)) for other in beside]
            self._strangers.learn(self._scorer.llr(np.asarray(squared, dtype=np.float32), floor))


def _is_whole(track: Tracklet) -> bool:
    stay = track.stay
    return len(track.vectors) >= _LEAST_VECTORS and stay.since is None and stay.until is None


def _together_s(a: Stay, b: Stay) -> float:
    return min(a.last_at, b.last_at) - max(a.first_at, b.first_at)
