"""Baselines that link the same tracks and vectors, each at its best threshold (pure).

Names (n,) of a set's tracks result from each: `unlinked`, `online`, `offline`, and the `oracle`, which no linking of
whole tracks can beat. A track without a vector keeps its own name, except under the oracle.

The threshold of a rival is chosen on the very set it is scored on, by IDF1; ours has one configuration for all sets.
The comparison thus favours the rivals as far as possible.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from benchmarks.accuracy.tracks import Links, TrackSet
from reid_stream.records import Floats, Ints

THRESHOLDS = np.round(np.arange(0.1, 0.981, 0.01), 2)
"""Least cosines that the online rival is tried with."""
_NEVER = 1e9
"""Distance of tracks that must not be linked: a mean over pairs with one of them stays above every threshold."""
_FARTHEST = 2.0
"""Largest cosine distance."""


@dataclass(frozen=True, slots=True, eq=False)
class Linking:
    """A rival at its best threshold."""

    threshold: float
    """Least cosine to link."""
    names: Ints
    """(n,)."""
    idf1: float


def unlinked(tracks: TrackSet) -> Ints:
    """Give every track a name of its own."""
    return np.arange(len(tracks), dtype=np.int64)


def oracle(tracks: TrackSet, links: Links) -> Ints:
    """Give every track the person that it covers most often; its own name where it covers none."""
    names = links.counts.argmax(axis=1) if links.counts.size else unlinked(tracks)
    is_unmatched = links.counts.sum(axis=1) == 0
    names[is_unmatched] = links.counts.shape[1] + np.flatnonzero(is_unmatched)
    return np.asarray(names, dtype=np.int64)


def online(tracks: TrackSet, threshold: float, *, apart: bool = False) -> Ints:
    """Name a track at its first vector, by the nearest mean vector so far; never correct it.

    Args:
        tracks: in order of time.
        threshold: least cosine to a known person; below, a new one.
        apart: leave out people of whom a track was ever seen beside this one (uses the future, in the rival's favour).
    """
    names = np.full(len(tracks), -1, dtype=np.int64)
    sums: list[Floats] = []
    means = np.empty_like(tracks.vectors[: len(tracks)])
    for track, vector in zip(tracks.vector_of.tolist(), tracks.vectors, strict=True):
        if names[track] < 0:
            cosines = means[: len(sums)] @ vector
            if apart:
                beside = names[tracks.is_apart[track]]
                cosines[beside[beside >= 0]] = -1
            if sums and cosines.max() >= threshold:
                names[track] = cosines.argmax()
            else:
                names[track] = len(sums)
                sums.append(np.zeros_like(vector))
        name = names[track]
        sums[name] = sums[name] + vector
        means[name] = sums[name] / max(float(np.linalg.norm(sums[name])), 1e-9)
    return _alone(names)


def offline(tracks: TrackSet, *, apart: bool = False, centred: bool = False) -> "ClusterTree":
    """Cluster all tracks at once by average linkage over the cosine distance of their mean vectors.

    Average linkage is UPGMA (Sokal and Michener, 1958), as by `scipy`; with `apart`, clusters that hold two tracks
    seen side by side are never joined.

    Args:
        tracks: of the whole set.
        apart: never link tracks that were seen side by side.
        centred: take each camera's mean off its vectors first.
    """
    means = tracks.means(centred=centred)
    rows = np.flatnonzero(np.linalg.norm(means, axis=1) > 0)
    far = np.clip(1.0 - means[rows].astype(np.float64) @ means[rows].T.astype(np.float64), 0, _FARTHEST)
    if apart:
        far[tracks.is_apart[np.ix_(rows, rows)]] = _NEVER
    np.fill_diagonal(far, 0)
    joins = linkage(squareform(far, checks=False), "average") if len(rows) > 1 else np.empty((0, 4))
    return ClusterTree(len(tracks), rows, joins)


@dataclass(frozen=True, slots=True, eq=False)
class ClusterTree:
    """Which tracks are linked from which distance on."""

    tracks: int
    rows: Ints
    """(m,) the tracks that have a vector."""
    joins: npt.NDArray[np.float64]
    """(m - 1, 4) as `scipy.cluster.hierarchy.linkage` gives."""

    def cut(self, threshold: float) -> Ints:
        """Return the names (n,) when clusters with a mean cosine of at least `threshold` are one person."""
        names = np.full(self.tracks, -1, dtype=np.int64)
        if len(self.rows):
            most = min(1.0 - threshold, _FARTHEST)
            names[self.rows] = fcluster(self.joins, most, "distance") if len(self.joins) else 0
        return _alone(names)

    def thresholds(self) -> list[float]:
        """Return one threshold between any two joins: all the ways in which it can be cut."""
        heights = np.unique(self.joins[:, 2])
        heights = np.concatenate([[0.0], heights[heights <= _FARTHEST], [_FARTHEST]])
        return [float(1.0 - middle) for middle in (heights[1:] + heights[:-1]) / 2]


def best(links: Links, name: Callable[[float], Ints], thresholds: Iterable[float]) -> Linking:
    """Return the names with the highest IDF1; of equals, the first."""
    found: Linking | None = None
    for threshold in thresholds:
        names = name(threshold)
        idf1 = links.idf1(names)
        if found is None or idf1 > found.idf1:
            found = Linking(float(threshold), names, idf1)
    assert found is not None, "there is a threshold to try"
    return found


def _alone(names: Ints) -> Ints:
    """Give the tracks without a name (-1) one of their own."""
    without = np.flatnonzero(names < 0)
    names[without] = names.max(initial=0) + 1 + np.arange(len(without))
    return names
