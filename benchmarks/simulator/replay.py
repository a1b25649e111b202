"""Run a simulated world through the real matcher: identities as first published and in the end.

    SimulatedWorld, MatcherSpec -> ReplayResult: an identity per row, and whether each new track's was right

An identity belongs to the person for whom it was made. A track whose first answer is an identity that belongs to
another person was matched falsely; one of a person who has an identity already and gets a new one is a missed link.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from benchmarks.simulator.journeys import Bools, Doubles
from benchmarks.simulator.world import SimulatedWorld
from reid_stream.bundles.bundle import Calibration, Verifier
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.settings import Match, Publish, TopologySettings
from reid_stream.match.factory import matcher_for
from reid_stream.match.matcher import Matcher
from reid_stream.match.presence import Presence
from reid_stream.records import Confirmation, Decision, GlobalId, Ints, Merge, Retirement, Sighting, Split

SITE = "world"


@dataclass(frozen=True, slots=True)
class MatcherSpec:
    """Settings of a matcher."""

    settings: Match = field(default_factory=Match)
    verifier: Verifier | None = None
    calibration: Calibration | None = None
    topology: TopologySettings = field(default_factory=TopologySettings)

    def matcher(self, model: str, dim: int) -> Matcher:
        """Make one for the vectors of a bundle."""
        embedder = EmbedderInfo(model, self.verifier, self.calibration, dim)
        return matcher_for(self.settings, embedder, SITE, topology=self.topology)


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """The first answer to each track; letters: t tracks in the order of their first answers."""

    row: Ints
    """(t,) of the world: the first observation that was answered."""
    person: Ints
    """(t,) true person."""
    first_id: Ints
    """(t,) the identity first published."""
    is_first: Bools
    """(t,) the person's first track."""
    is_bound: Bools
    """(t,) the answer was an existing identity."""
    is_wrong: Bools
    """(t,) ... and it belonged to another person."""
    strangers: Ints
    """(t,) identities that belonged to another person, each a possible false match."""


@dataclass(frozen=True, slots=True, eq=False)
class ReplayResult:
    """Outcome of a world; letters: n rows of the world."""

    at_once: Ints
    """(n,) number of the identity first published; -1 for none."""
    in_the_end: Ints
    """(n,) the same after all merges and splits."""
    owner: dict[int, int]
    """Identity -> the person for whom it was made."""
    arrivals: Arrivals
    update_s: Doubles
    """Seconds of each update of the matcher."""
    fresh: Ints
    """Number of vectors of each update."""
    events: int
    rejected: dict[str, int]
    merges: int
    splits: int
    seconds: float
    """Duration, including the construction of records."""


def replay(
    world: SimulatedWorld, matcher_spec: MatcherSpec, each: Callable[[float, Matcher], None] | None = None
) -> ReplayResult:
    """Drive matcher and presence through a world; `each` is called after every update."""
    matcher = matcher_spec.matcher(world.looks.model, world.looks.vectors.shape[1])
    presence, ledger = Presence(Publish()), _Ledger(world)
    update_s, fresh, events = [], [], 0
    began = time.perf_counter()
    for now, records in world.batches():
        before = time.perf_counter()
        decisions = matcher.update(records, now)
        update_s.append(time.perf_counter() - before)
        fresh.append(sum(getattr(record, "vector", None) is not None for record in records))
        for decision in decisions:
            ledger.write(decision)
        events += len(presence.update(decisions, now))
        if each is not None:
            each(now, matcher)
    return ReplayResult(
        at_once=ledger.first_id,
        in_the_end=ledger.corrected(),
        owner=ledger.owner,
        arrivals=ledger.arrivals(),
        update_s=np.asarray(update_s),
        fresh=np.asarray(fresh, dtype=np.int64),
        events=events + len(presence.close()),
        rejected=dict(matcher.rejected),
        merges=ledger.merges,
        splits=ledger.splits,
        seconds=time.perf_counter() - began,
    )


class _Ledger:
    """Published identities and their corrections, in order."""

    def __init__(self, world: SimulatedWorld) -> None:
        self._world = world
        self._person = world.rows.person.tolist()
        self._track = world.rows.track.tolist()
        self._holds = dict(zip(self._track, self._person, strict=True))
        """Last true person of each track."""
        camera = world.rows.camera
        self._row = {name: np.flatnonzero(camera == number).tolist() for number, name in enumerate(world.names)}
        self._rows: defaultdict[int, list[int]] = defaultdict(list)
        """Rows of each track."""
        for row, track in enumerate(self._track):
            self._rows[track].append(row)
        self.first_id: Ints = np.full(len(world), -1, dtype=np.int64)
        self.owner: dict[int, int] = {}
        self.merges = self.splits = 0
        self._alive: set[int] = set()
        self._owns: Counter[int] = Counter()
        """Active identities by the person they belong to."""
        self._answered: set[int] = set()
        self._met: set[int] = set()
        self._first: list[tuple[int, int, int, bool, bool, bool, int]] = []
        # A stretch is what one track has under one identity; corrections rename stretches, in their order.
        self._now: list[int] = []
        self._latest: dict[tuple[int, int], int] = {}
        self._of: defaultdict[int, set[int]] = defaultdict(set)
        self._whose: list[int] = []
        """The track of each stretch."""
        self._stretch: list[int] = [-1] * len(world)

    def write(self, decision: Decision) -> None:
        match decision:
            case Sighting():
                self._see(decision)
            case Merge():
                self.merges += 1
                gone, into = _number(decision.gone), _number(decision.into)
                self._rename(set(self._of[gone]), into)
                self._bury(gone)
            case Split():
                self.splits += 1
                into, tracks = _number(decision.into), [int(track) for _, _, track in decision.tracks]
                for track, span in zip(tracks, decision.spans or ((None, None),) * len(tracks), strict=True):
                    held = self._of[_number(decision.person)]
                    moved = {stretch for stretch in held if self._whose[stretch] == track}
                    self._rename(moved if span == (None, None) else {self._part(moved, track, *span)}, into)
                self._name(into, self._holds[min(tracks)])
            case Retirement():
                self._bury(_number(decision.person))
            case Confirmation():
                pass

    def _see(self, sighting: Sighting) -> None:
        number = _number(sighting.person)
        row = self._row[sighting.observation.camera][sighting.observation.sequence]
        person, track = self._person[row], self._track[row]
        if self.first_id[row] < 0:
            self.first_id[row] = number
        self._stretch[row] = self._stretch_of(track, number)
        if track not in self._answered:
            self._answered.add(track)
            if not self._world.rows.duplicate[row]:
                own, bound = self._owns[person], number in self.owner
                wrong = bound and self.owner[number] != person
                self._first.append((row, person, number, person not in self._met, bound, wrong, len(self._alive) - own))
                self._met.add(person)
        self._name(number, person)

    def _name(self, number: int, person: int) -> None:
        if number not in self.owner:
            self.owner[number] = person
            self._alive.add(number)
            self._owns[person] += 1

    def _bury(self, number: int) -> None:
        if number in self._alive:
            self._alive.discard(number)
            self._owns[self.owner[number]] -= 1

    def _stretch_of(self, track: int, number: int) -> int:
        stretch = self._latest.get((track, number))
        if stretch is None or self._now[stretch] != number:
            stretch = len(self._now)
            self._latest[track, number] = stretch
            self._now.append(number)
            self._whose.append(track)
            self._of[number].add(stretch)
        return stretch

    def _rename(self, stretches: set[int], into: int) -> None:
        for stretch in stretches:
            self._of[self._now[stretch]].discard(stretch)
            self._now[stretch] = into
        self._of[into] |= stretches

    def _part(self, stretches: set[int], track: int, since: float | None, until: float | None) -> int:
        """Make the rows of a track within [since, until) that are in some stretches one of their own."""
        low, high = -np.inf if since is None else since, np.inf if until is None else until
        part = len(self._now)
        self._now.append(self._now[min(stretches)] if stretches else -1)
        self._whose.append(track)
        for row in self._rows[track]:
            if self._stretch[row] in stretches and low <= self._world.seen_at[row] < high:
                self._stretch[row] = part
        return part

    def corrected(self) -> Ints:
        return np.asarray([self._now[stretch] if stretch >= 0 else -1 for stretch in self._stretch], dtype=np.int64)

    def arrivals(self) -> Arrivals:
        columns = tuple(zip(*self._first, strict=True)) or ((),) * 7
        row, person, first_id, is_first, bound, wrong, strangers = columns
        return Arrivals(
            row=np.asarray(row, dtype=np.int64),
            person=np.asarray(person, dtype=np.int64),
            first_id=np.asarray(first_id, dtype=np.int64),
            is_first=np.asarray(is_first, dtype=bool),
            is_bound=np.asarray(bound, dtype=bool),
            is_wrong=np.asarray(wrong, dtype=bool),
            strangers=np.asarray(strangers, dtype=np.int64),
        )


def _number(person: GlobalId) -> int:
    return int(person.rsplit("-", 1)[-1])
