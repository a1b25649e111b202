"""How people get from camera to camera, learned from those who were surely recognised (pure).

    two stays of perhaps one person -> log likelihood ratio: is that how one person moves, or how any two people fall?

For each ordered pair of cameras (from, to) there are two histograms over the time between the end of the earlier stay
and the start of the later one (negative: on both at once): `same`, of confident matches, and `other`, of the same
moments against everybody else. Their ratio needs no map, no clock model and no shape of the transit times, and knows at
once which cameras overlap, which paths are used, and how long they take (Javed et al., "Appearance modeling for
tracking in multiple non-overlapping cameras", CVPR 2005, learn transit densities so; Makris, Ellis & Black, "Bridging
the gaps between cameras", CVPR 2004, from correlation alone).

With little data it says little: a pair is drawn to all pairs of its kind (same camera, two cameras) by `PAIR_PRIOR`
pseudo-matches, and all pairs to "tells nothing" by `POOL_PRIOR`. A path that was never taken is therefore unlikely, not
impossible; the ratio never leaves [FLOOR, CEILING]. Counts fade with a half-life, so that a moved camera is learned
anew. What the user states enters as counts that are there from the start.
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
"""Seconds between two bins: surely on both at once, hardly so, then gaps about doubling up to hours."""
BINS = len(EDGES) + 1
AT_ONCE = -1.0
"""Stays that overlap by more are truly at once; less may be a clock's error."""
POOL_PRIOR = 8.0
"""Pseudo-matches that say nothing, against all matches there are."""
PAIR_PRIOR = 12.0
"""Pseudo-matches as in all pairs of the kind, against those of one pair."""
STATED = 50.0
"""Matches that a statement of the user is worth; the cameras may correct him in the end."""
FLOOR, CEILING = -4.0, 3.0
"""Bounds of the log ratio: time alone neither rules out (1 in 55) nor proves (20 to 1)."""
NEVER = -30.0
"""Log ratio of what the user rules out; no appearance outweighs it."""
_CHAIN = 8
"""Stays of a person, the latest, that are looked at."""
HALF_LIFE_S = 7 * 86_400.0
"""A match a week ago counts half."""


class Transition(msgspec.Struct):
    """What is known of one ordered pair of cameras."""

    same: list[float]
    """(BINS,) matches by time between."""
    other: list[float]
    """(BINS,) the same of two different people."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What is known of going from one camera to another, for people to read."""

    a: CameraId
    b: CameraId
    matches: float
    """Faded count of people who were surely recognised."""
    share: float
    """Of all matches that leave `a`."""
    at_once: float
    """Share of these matches that were on both cameras at once."""
    times_s: tuple[float, float, float]
    """A tenth, half, nine tenths of those that were not took at most so long; 0 where there were none."""


class TopologyState(msgspec.Struct):
    """Everything a `Topology` has learned."""

    at: float
    """UTC seconds to which the counts have faded."""
    links: dict[str, Transition]
    """By `from->to`."""
    edges: tuple[float, ...] = EDGES
    away: dict[str, tuple[float, float]] = {}
    """Matches and others, by the camera of the earlier stay: the sums of the links, as they were rounded."""
    pool: tuple[list[list[float]], list[list[float]]] | None = None
    """Matches and others (2, BINS) of all links together, the same."""


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
    """Learn transitions, and say how well they fit."""

    def __init__(self, settings: TopologySettings) -> None:
        self._settings = settings
        self._links: dict[tuple[CameraId, CameraId], _Counts] = {}
        self._away: dict[CameraId, _Counts] = {}
        """By the camera of the earlier stay: all that its links hold."""
        self._pool = _Counts((2, BINS))
        """Of all links, by whether both cameras are the same."""
        self._at = 0.0
        self.version = 0
        """Rises when something is learned."""
        self._overlaps = None if settings.overlaps is None else {frozenset(pair) for pair in settings.overlaps}
        self._never = {frozenset(pair) for pair in settings.never}
        self._stated = {pair: STATED * _triangle(*times) for pair, times in settings.transits().items()}
        self._ratios: dict[tuple[CameraId, CameraId], list[float]] = {}
        self._is_silent = not (settings.learn or self._stated or self._never)

    @property
    def rules_out(self) -> bool:
        """Something is stated that `excludes` may find."""
        return bool(self._never) or self._overlaps is not None

    def excludes(self, a: Stay, b: Stay) -> bool:
        """Say whether one person cannot have made both stays: at once on two cameras that do not overlap, as stated."""
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
        """Return the log ratio of one person making all these stays, in order of time, one after the other."""
        total = 0.0
        for a, b in pairwise(stays):
            total += self._transition_llr(a, b)
        return total

    def transit_llr(self, a: Sequence[Stay], b: Sequence[Stay]) -> float:
        """Return the log ratio of two people's stays being one person's; each in order of time."""
        if not a or not b or self._is_silent:
            return 0.0
        a, b = a[-_CHAIN:], b[-_CHAIN:]
        if len(a) == 1 or len(b) == 1:
            return min(CEILING, max(NEVER, self._insertion_llr(*((a[0], b) if len(a) == 1 else (b[0], a)))))
        both = sorted([*a, *b], key=by_time)
        return min(CEILING, max(NEVER, self._chain_llr(both) - self._chain_llr(a) - self._chain_llr(b)))

    def _insertion_llr(self, stay: Stay, stays: Sequence[Stay]) -> float:
        """Return what `transit_llr` says of one stay and others: only its neighbours in time matter."""
        place = bisect_right(stays, by_time(stay), key=by_time)
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
        return min(CEILING, max(FLOOR, found + reentry.log_ratio(a.left, b.came, gap_s, b.area)))

    def _ratios_of(self, a: CameraId, b: CameraId) -> list[float]:
        """Compute and keep the log ratios (BINS,) of one pair, stated impossibilities included."""
        is_never = a != b and frozenset((a, b)) in self._never
        self._ratios[a, b] = [NEVER] * BINS if is_never else self._log_ratios(a, b)
        return self._ratios[a, b]

    def learn(self, before: Stay | None, after: Stay, others: Iterable[Stay], now: float) -> None:
        """Take in that `after` surely followed `before`, and that none of `others` is that person."""
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
        """Return all cameras that were heard of."""
        named = {camera for pair in (*self._links, *self._stated) for camera in pair}
        named |= {CameraId(c) for pair in (*self._never, *(self._overlaps or ())) for c in pair}
        return sorted(CameraId(name) for name in named)

    def counts(self, a: CameraId, b: CameraId) -> tuple[Doubles, Doubles]:
        """Return the histograms (BINS,) of matches and of others from `a` to `b`."""
        link = self._links.get((a, b)) or _Counts()
        return link.same.copy(), link.other.copy()

    def ratios(self, a: CameraId, b: CameraId) -> Doubles:
        """Return the log ratio (BINS,) by the time between."""
        return np.asarray(self._log_ratios(a, b))

    def passages(self) -> list[Passage]:
        """Return the passages that were taken, the most frequent first."""
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
        """Go on from an earlier `state`; one with other bins is begun anew."""
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

    def _count(self, a: CameraId, b: CameraId, place: int, weight: float = 1.0, *, is_same: bool) -> None:
        link = self._links.setdefault((a, b), _Counts())
        away = self._away.setdefault(a, _Counts(()))
        self._away.setdefault(b, _Counts(()))
        for counts, index in ((link, (place,)), (away, ()), (self._pool, (int(a == b), place))):
            (counts.same if is_same else counts.other)[index] += weight

    def _fade(self, now: float) -> None:
        if self._at == 0.0:
            self._at = now
        # Not at every match: a factor this near to 1 is lost in rounding.
        if now - self._at < HALF_LIFE_S / 1000:
            return
        factor = 0.5 ** ((now - self._at) / HALF_LIFE_S)
        for counts in (*self._links.values(), *self._away.values(), self._pool):
            counts.fade(factor)
        self._at = now

    def _log_ratios(self, a: CameraId, b: CameraId) -> list[float]:
        """Compute and keep the log ratios (BINS,) of one pair."""
        likely = self._pool.other + POOL_PRIOR / (2 * BINS)  # (same camera or not, bin)
        likely /= likely.sum()
        expected = (self._pool.same + POOL_PRIOR * likely) / (self._pool.same.sum() + POOL_PRIOR)
        base, expected = likely[int(a == b)], expected[int(a == b)]
        # From `a` a person may go anywhere: what is compared is the share of each way out, and of each time.
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
        matches = float(self._pool.same.sum()) + (STATED if stated is not None else 0.0)
        log *= matches / (matches + POOL_PRIOR)
        ratios: list[float] = np.minimum(np.maximum(log, FLOOR), CEILING).tolist()
        return ratios


def bin_of(gap_s: float) -> int:
    """Return the bin of a time between two stays."""
    return bisect_right(EDGES, gap_s)


def _quantiles(counts: Doubles) -> tuple[float, float, float]:
    """Return a tenth, half and nine tenths of the times between, straight within a bin."""
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
