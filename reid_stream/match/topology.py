"""Learn transitions between cameras from confident matches, and score pairs of stays by them (pure).

    two stays -> log P(cameras and time between | one person) / P(the same | two people)

For each ordered pair of cameras (from, to) there are two histograms over the time between the end of the earlier stay
and the start of the later one (negative: on both at once): `same` counts confident matches, `other` the same moments
against other people. Their ratio needs no map, no clock model and no parametric transit time, and covers overlapping
cameras, used paths and their durations alike (transit densities from matches: Javed, Shafique & Shah, "Appearance
modeling for tracking in multiple non-overlapping cameras", CVPR 2005; from correlation alone: Makris, Ellis & Black,
"Bridging the gaps between cameras", CVPR 2004).

With few counts the ratio is near 1: a pair is shrunk towards all pairs of its kind (same camera, two cameras) by
`PAIR_PRIOR` pseudo-matches, and all pairs towards a log ratio of 0 by `POOL_PRIOR`. A path never taken is therefore
unlikely, not impossible; the log ratio stays within [MIN_LLR, MAX_LLR]. Counts decay with a half-life, so that changes
of the site are learned. Transit times stated by the user enter as initial counts.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

from reid_stream.config.settings import TopologySettings
from reid_stream.match import reentry
from reid_stream.match.tracklets import Stay, by_time
from reid_stream.records import CameraId

Doubles = npt.NDArray[np.float64]

EDGES = (-1.0, 0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 14400.0)
"""Bin edges in seconds: a clear overlap, a slight one, then gaps that about double, up to hours."""
BINS = len(EDGES) + 1
AT_ONCE = -1.0
"""Gap in seconds below which two stays overlap; a smaller overlap may be a clock error."""
POOL_PRIOR = 8.0
"""Pseudo-matches with a log ratio of 0, added to all matches."""
PAIR_PRIOR = 12.0
"""Pseudo-matches distributed as in all pairs of the kind, added to those of one pair."""
STATED = 50.0
"""Matches that a stated transit time is worth; observed matches can outweigh it."""
MIN_LLR, MAX_LLR = -4.0, 3.0
"""Bounds of the log ratio: time alone neither excludes (1 to 55) nor proves (20 to 1) a match."""
NEVER = -30.0
"""Log ratio of a stated impossibility; no appearance outweighs it."""
_CHAIN = 8
"""Latest stays of an identity that are considered."""
HALF_LIFE_S = 7 * 86_400.0
"""Time in which the weight of a match halves: a week."""


class Transition(msgspec.Struct):
    """Histograms of one ordered pair of cameras, serialised."""

    same: list[float]
    """(BINS,) matches by time between."""
    other: list[float]
    """(BINS,) pairs of different people by time between."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Summary of the transitions from one camera to another, for display."""

    a: CameraId
    b: CameraId
    matches: float
    """Decayed count of confident matches."""
    share: float
    """Share of all matches that leave `a`."""
    at_once: float
    """Share of these matches with the person on both cameras at once."""
    times_s: tuple[float, float, float]
    """10th, 50th and 90th percentile of the time between, of the others; 0 without any."""


class TopologyState(msgspec.Struct):
    """State of a `Topology`, serialised."""

    at: float
    """UTC seconds up to which the counts have decayed."""
    links: dict[str, Transition]
    """Transitions by `from->to`."""
    edges: tuple[float, ...] = EDGES
    away: dict[str, tuple[float, float]] = {}
    """(`same`, `other`) by the camera of the earlier stay: sums over the links, kept with their rounding."""
    pool: tuple[list[list[float]], list[list[float]]] | None = None
    """(`same`, `other`), each (2, BINS): sums over all links, kept with their rounding."""


class _Counts:
    """Two histograms."""

    __slots__ = ("other", "same")

    def __init__(self, shape: tuple[int, ...] = (BINS,)) -> None:
        self.same: Doubles = np.zeros(shape)
        self.other: Doubles = np.zeros(shape)

    def fade(self, factor: float) -> None:
        self.same *= factor
        self.other *= factor


class Topology:
    """Stated and learned transitions between cameras."""

    def __init__(self, settings: TopologySettings) -> None:
        self._settings = settings
        self._links: dict[tuple[CameraId, CameraId], _Counts] = {}
        self._away: dict[CameraId, _Counts] = {}
        """Sums over the links of the camera of the earlier stay."""
        self._pool = _Counts((2, BINS))
        """Sums over all links, by whether both cameras are the same."""
        self._at = 0.0
        self.version = 0
        """Increased by every `learn`."""
        self._overlaps = None if settings.overlaps is None else {frozenset(pair) for pair in settings.overlaps}
        self._never = {frozenset(pair) for pair in settings.never}
        self._stated = {pair: STATED * _triangle(*times) for pair, times in settings.transits().items()}
        self._ratios: dict[tuple[CameraId, CameraId], list[float]] = {}
        self._shares: tuple[Doubles, Doubles, float] | None = None
        """What `_pooled` returns; None after a count has changed."""
        self._is_silent = not (settings.learn or self._stated or self._never)

    @property
    def rules_out(self) -> bool:
        """Whether `excludes` can be true for any pair."""
        return bool(self._never) or self._overlaps is not None

    def excludes(self, a: Stay, b: Stay) -> bool:
        """Return whether two stays cannot be one person: at once on two cameras stated not to overlap."""
        if a.camera == b.camera or min(a.last_at, b.last_at) - max(a.first_at, b.first_at) <= -AT_ONCE:
            return False
        if not self.rules_out:
            return False
        pair = frozenset((a.camera, b.camera))
        return pair in self._never or (self._overlaps is not None and pair not in self._overlaps)

    def log_ratio(self, a: Stay, b: Stay) -> float:
        """Return log P(these stays | one person, with nothing between) / P(the same | two people)."""
        if (b.first_at, b.serial) < (a.first_at, a.serial):
            a, b = b, a
        return self._transition_llr(a, b)

    def _chain_llr(self, stays: Sequence[Stay]) -> float:
        """Return the sum of the log ratios of successive stays, given in order of time."""
        total = 0.0
        for a, b in pairwise(stays):
            total += self._transition_llr(a, b)
        return total

    def transit_llr(self, a: Sequence[Stay], b: Sequence[Stay]) -> float:
        """Return the log ratio of the stays of two tracks or identities being one person's, each in order of time."""
        if not a or not b or self._is_silent:
            return 0.0
        a, b = (stays if len(stays) <= _CHAIN else stays[-_CHAIN:] for stays in (a, b))
        if len(a) == 1 or len(b) == 1:
            return min(MAX_LLR, max(NEVER, self._insertion_llr(*((a[0], b) if len(a) == 1 else (b[0], a)))))
        both = sorted([*a, *b], key=by_time)
        return min(MAX_LLR, max(NEVER, self._chain_llr(both) - self._chain_llr(a) - self._chain_llr(b)))

    def _insertion_llr(self, stay: Stay, stays: Sequence[Stay]) -> float:
        """Return `transit_llr` of one stay and others: only its neighbours in time matter."""
        key = by_time(stay)
        # Most often a new track is compared with what was seen before it.
        place = len(stays) if key >= by_time(stays[-1]) else bisect_right(stays, key, key=by_time)
        before, after = stays[place - 1] if place else None, stays[place] if place < len(stays) else None
        found = 0.0
        if before is not None:
            found += self._transition_llr(before, stay)
        if after is not None:
            found += self._transition_llr(stay, after)
        if before is not None and after is not None:
            found -= self._transition_llr(before, after)
        return found

    def _transition_llr(self, a: Stay, b: Stay) -> float:
        """Return the log ratio of `b` after `a`."""
        ratios = self._ratios.get((a.camera, b.camera))
        if ratios is None:
            ratios = self._ratios_of(a.camera, b.camera)
        gap_s = b.first_at - a.last_at
        found = ratios[bisect_right(EDGES, gap_s)]
        if a.camera != b.camera or a.left is None or b.came is None or a.area != b.area or gap_s < AT_ONCE:
            return found
        return min(MAX_LLR, max(MIN_LLR, found + reentry.log_ratio(a.left, b.came, gap_s, b.area)))

    def _ratios_of(self, a: CameraId, b: CameraId) -> list[float]:
        """Compute and cache the log ratios (BINS,) of one pair, including stated impossibilities."""
        is_never = a != b and frozenset((a, b)) in self._never
        self._ratios[a, b] = [NEVER] * BINS if is_never else self._log_ratios(a, b)
        return self._ratios[a, b]

    def learn(self, before: Stay | None, after: Stay, others: Iterable[Stay], now: float) -> None:
        """Count a confident match.

        Args:
            before: previous stay of the person; None without one.
            after: the matched stay.
            others: stays of other people before it, one per person.
            now: UTC seconds.
        """
        if not self._settings.learn:
            return
        self._fade(now)
        self.version += 1
        if before is not None:
            a, b = (before, after) if before.first_at <= after.first_at else (after, before)
            self._count(a.camera, b.camera, bin_of(b.first_at - a.last_at), is_same=True)
        for other in others:
            a, b = (other, after) if other.first_at <= after.first_at else (after, other)
            self._count(a.camera, b.camera, bin_of(b.first_at - a.last_at), is_same=False)
        self._ratios = {}

    def cameras(self) -> list[CameraId]:
        """Return all cameras with counts or statements, sorted."""
        named = {camera for pair in (*self._links, *self._stated) for camera in pair}
        named |= {CameraId(c) for pair in (*self._never, *(self._overlaps or ())) for c in pair}
        return sorted(CameraId(name) for name in named)

    def counts(self, a: CameraId, b: CameraId) -> tuple[Doubles, Doubles]:
        """Return the histograms `same` and `other`, each (BINS,), from `a` to `b`."""
        link = self._links.get((a, b)) or _Counts()
        return link.same.copy(), link.other.copy()

    def ratios(self, a: CameraId, b: CameraId) -> Doubles:
        """Return the log ratio (BINS,) by the time between."""
        return np.asarray(self._log_ratios(a, b))

    def passages(self) -> list[Passage]:
        """Return all transitions with matches, the most frequent first."""
        found = []
        for (a, b), link in self._links.items():
            matches = float(link.same.sum())
            if matches < 0.5:
                continue
            overlapping = float(link.same[0])
            found.append(
                Passage(
                    a,
                    b,
                    matches,
                    matches / max(float(self._away[a].same), matches),
                    overlapping / matches,
                    _quantiles(link.same),
                )
            )
        return sorted(found, key=lambda passage: (-passage.matches, passage.a, passage.b))

    def state(self) -> TopologyState:
        """Return everything learned."""
        return TopologyState(
            self._at,
            {f"{a}->{b}": Transition(c.same.tolist(), c.other.tolist()) for (a, b), c in self._links.items()},
            away={str(a): (float(c.same), float(c.other)) for a, c in self._away.items()},
            pool=(self._pool.same.tolist(), self._pool.other.tolist()),
        )

    def restore(self, state: TopologyState) -> None:
        """Restore an earlier `state`; one with other bins is ignored."""
        if tuple(state.edges) != EDGES:
            return
        self._at = state.at
        self._links, self._away, self._pool, self._ratios = {}, {}, _Counts((2, BINS)), {}
        for name, link in state.links.items():
            a, b = (CameraId(part) for part in name.split("->"))
            for place, (same, other) in enumerate(zip(link.same, link.other, strict=True)):
                self._count(a, b, place, same, is_same=True)
                self._count(a, b, place, other, is_same=False)
        for name, (same, other) in state.away.items():
            away = self._away.setdefault(CameraId(name), _Counts(()))
            away.same, away.other = np.asarray(same), np.asarray(other)
        if state.pool is not None:
            self._pool.same, self._pool.other = (np.asarray(counts) for counts in state.pool)
        self._shares = None

    def _count(self, a: CameraId, b: CameraId, place: int, weight: float = 1.0, *, is_same: bool) -> None:
        link = self._links.setdefault((a, b), _Counts())
        away = self._away.setdefault(a, _Counts(()))
        self._away.setdefault(b, _Counts(()))
        for counts, index in ((link, (place,)), (away, ()), (self._pool, (int(a == b), place))):
            (counts.same if is_same else counts.other)[index] += weight
        self._shares = None

    def _fade(self, now: float) -> None:
        if self._at == 0.0:
            self._at = now
        # Not at every match: a factor this close to 1 would be lost in rounding.
        if now - self._at < HALF_LIFE_S / 1000:
            return
        factor = 0.5 ** ((now - self._at) / HALF_LIFE_S)
        for counts in (*self._links.values(), *self._away.values(), self._pool):
            counts.fade(factor)
        self._shares = None
        self._at = now

    def _pooled(self) -> tuple[Doubles, Doubles, float]:
        """Return the shares of all pairs, of different people and of matches, each (2, BINS), and the matches."""
        if self._shares is None:
            likely = self._pool.other + POOL_PRIOR / (2 * BINS)  # (same camera or not, bin)
            likely /= likely.sum()
            matches = self._pool.same.sum()
            self._shares = likely, (self._pool.same + POOL_PRIOR * likely) / (matches + POOL_PRIOR), float(matches)
        return self._shares

    def _log_ratios(self, a: CameraId, b: CameraId) -> list[float]:
        """Compute the log ratios (BINS,) of one pair from counts and statements."""
        likely, all_expected, pooled = self._pooled()
        base, expected = likely[int(a == b)], all_expected[int(a == b)]
        # From `a` a person may go to any camera: compare the share of each destination and time.
        away = self._away.get(a) or _Counts(())
        same_away, other_away = float(away.same), float(away.other)
        own = self._links.get((a, b)) or _Counts()
        fan = 1 if a == b else max(1, len(self._away) - 1)
        background = (own.other + PAIR_PRIOR * base / fan) / (other_away + PAIR_PRIOR)
        same = own.same + PAIR_PRIOR * background * expected / base
        stated = self._stated.get((a, b))
        if stated is not None:
            same, same_away = same + stated, same_away + STATED
        log = np.log(np.maximum(same / (same_away + PAIR_PRIOR), 1e-12)) - np.log(background)
        matches = pooled + (STATED if stated is not None else 0.0)
        log *= matches / (matches + POOL_PRIOR)
        ratios: list[float] = np.minimum(np.maximum(log, MIN_LLR), MAX_LLR).tolist()
        return ratios


def bin_of(gap_s: float) -> int:
    """Return the bin of the time between two stays in seconds."""
    return bisect_right(EDGES, gap_s)


def _quantiles(counts: Doubles) -> tuple[float, float, float]:
    """Return the 10th, 50th and 90th percentile of the time between, linear within a bin; overlaps left out."""
    later = counts[1:]
    if later.sum() <= 0:
        return 0.0, 0.0, 0.0
    bounds = np.asarray([*EDGES, 2 * EDGES[-1]])
    reached = np.concatenate([[0.0], np.cumsum(later)]) / later.sum()
    low, middle, high = (float(np.interp(share, reached, bounds)) for share in (0.1, 0.5, 0.9))
    return low, middle, high


def _triangle(least: float, typical: float, most: float) -> Doubles:
    """Return the share of each bin (BINS,) of a triangular distribution."""
    from scipy.stats import triang

    width = max(most - least, 1e-6)
    cumulative = triang(c=(typical - least) / width, loc=least, scale=width).cdf(EDGES)
    return np.diff(np.concatenate([[0.0], cumulative, [1.0]]))
