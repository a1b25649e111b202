"""Known identities with their views and stays, bounded in number and age (pure).

An identity is retired when unseen for `retention_s`, or evicted as the longest unseen when the gallery is full; never
while in view of a camera. The longest unseen is found by a lazily updated heap, without a scan.

Which tracks were seen side by side is stored per track, so that a track takes the fact along to another identity; only
when an old stay is dropped does it become a fact about identities.
"""

import heapq
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal

import msgspec

from reid_stream.config.settings import Match as MatchSettings
from reid_stream.match.gallery import Exemplar, Gallery
from reid_stream.match.tracklets import Stay, by_time
from reid_stream.records import IdentityState

RetirementReason = Literal["expired", "gallery full"]
_STAYS = 32
"""Stays kept of an identity; the oldest are dropped first."""


class Person(msgspec.Struct):
    """One identity."""

    number: int
    revision: int
    state: IdentityState
    created_at: float
    last_at: float
    """Capture time of the latest observation, by the cameras' clocks."""
    num_vectors: int = 0
    tracks: set[int] = set()
    """Serials of its open tracks."""
    in_view: set[int] = set()
    """Serials of its open tracks that have not ended."""
    apart: set[int] = set()
    """Identities seen side by side with it, as far as `stays` no longer record it."""
    stays: list[Stay] = []
    """Tracks of the identity, open or ended, oldest first."""
    updated_at: float = msgspec.field(default=0.0, name="heard_at")
    """`now` of the latest update with an observation of it, independent of cameras' clocks. 0: same as `last_at`."""
    barred: set[int] = set()
    """Identities that an operator declared to be other people."""
    label: str = ""
    """Name given by an operator."""

    def before(self, stay: Stay) -> Stay | None:
        """Return its latest stay that started before a given one; None without one."""
        return next((kept for kept in reversed(self.stays) if kept.first_at < stay.first_at), None)


class Identities:
    """All identities that can be matched, with indexes by stay and by time last seen."""

    def __init__(self, settings: MatchSettings, gallery: Gallery, first_number: int = 1) -> None:
        self._settings = settings
        self.gallery = gallery
        self._people: dict[int, Person] = {}
        self._owner: dict[int, int] = {}
        """Identity by serial of a stay."""
        self._recent: dict[int, None] = {}
        """All identities, the latest seen last."""
        self._oldest: list[tuple[float, int]] = []
        """Heap of (lower bound of the time last seen, number), one entry per identity."""
        self.next_number = first_number

    def __len__(self) -> int:
        return len(self._people)

    def __contains__(self, number: int | None) -> bool:
        return number in self._people

    def __getitem__(self, number: int) -> Person:
        return self._people[number]

    def all(self) -> list[Person]:
        """Return all identities in insertion order."""
        return list(self._people.values())

    def recent(self) -> Iterator[Person]:
        """Yield all identities, the latest seen first."""
        return (self._people[number] for number in reversed(self._recent))

    def new(self, born_at: float, last_at: float, now: float) -> Person:
        """Create a provisional identity with a number never used before."""
        person = Person(self.next_number, 1, "provisional", born_at, last_at, updated_at=now)
        self.next_number += 1
        self.put(person, [])
        return person

    def put(self, person: Person, exemplars: list[Exemplar]) -> None:
        """Add an existing identity with its views."""
        person.updated_at = person.updated_at or person.last_at
        self._people[person.number] = person
        self._recent[person.number] = None
        self._owner.update((stay.serial, person.number) for stay in person.stays)
        heapq.heappush(self._oldest, (person.updated_at, person.number))
        self.gallery.load(person.number, exemplars)

    def see(self, number: int, at: float, now: float) -> None:
        """Record an observation of an identity at time `at`, received at `now`."""
        person = self._people[number]
        person.last_at = max(person.last_at, at)
        person.updated_at = max(person.updated_at, now)
        self._recent.pop(number, None)
        self._recent[number] = None

    def give(self, stay: Stay, number: int) -> None:
        """Assign a stay to an identity."""
        person = self._people[number]
        self._owner[stay.serial] = number
        person.stays.append(stay)
        person.stays.sort(key=by_time)
        if len(person.stays) > _STAYS:
            self._drop(person, min(person.stays, key=lambda old: (old.serial in person.tracks, old.last_at)))

    def seen_order(self) -> list[int]:
        """Return the numbers of all identities, the latest seen last."""
        return list(self._recent)

    def order(self, numbers: Iterable[int]) -> None:
        """Set the order in which identities were last seen, the latest last; those not listed come before."""
        for number in numbers:
            if number in self._people:
                self._recent.pop(number)
                self._recent[number] = None

    def take(self, stay: Stay, number: int) -> None:
        """Remove a stay from an identity; its view in the gallery stays."""
        person = self._people[number]
        person.stays = [kept for kept in person.stays if kept.serial != stay.serial]
        person.tracks.discard(stay.serial)
        person.in_view.discard(stay.serial)
        self._owner.pop(stay.serial, None)

    @property
    def bound(self) -> int:
        """Largest number of identities."""
        return self._settings.max_identities

    def owner(self, serial: int) -> int | None:
        """Return the identity of a stay; None if it has none."""
        return self._owner.get(serial)

    def stay(self, serial: int) -> Stay | None:
        """Return the stay of a serial; None if no identity has it."""
        number = self._owner.get(serial)
        if number is None:
            return None
        return next((stay for stay in self._people[number].stays if stay.serial == serial), None)

    def beside(self, stay: Stay) -> set[int]:
        """Return the identities that a stay cannot belong to: seen side by side, or barred by an operator."""
        owners = self._owners(stay.apart)
        return owners | self._owners(stay.barred) if stay.barred else owners

    def _owners(self, serials: Iterable[int]) -> set[int]:
        return {number for serial in serials if (number := self._owner.get(serial)) is not None}

    def apart(self, person: Person) -> set[int]:
        """Return the identities that an identity cannot be merged with."""
        found = person.apart | person.barred
        for stay in person.stays:
            found |= self.beside(stay)
        return found

    def merge(self, gone: Person, into: Person) -> None:
        """Merge `gone` into `into`."""
        into.revision += 1
        into.num_vectors += gone.num_vectors
        into.last_at = max(into.last_at, gone.last_at)
        into.updated_at = max(into.updated_at, gone.updated_at)
        into.created_at = min(into.created_at, gone.created_at)
        into.tracks |= gone.tracks
        into.in_view |= gone.in_view
        into.stays = sorted([*into.stays, *gone.stays], key=by_time)
        self._owner.update((stay.serial, into.number) for stay in gone.stays)
        self.gallery.merge(gone.number, into.number)
        for number in gone.apart:
            self._part(number, into.number)
        for number in gone.barred:
            self.bar(number, into.number)
        into.label = into.label or gone.label
        if gone.state == "confirmed":
            into.state = "confirmed"
        while len(into.stays) > _STAYS:
            self._drop(into, min(into.stays, key=lambda old: (old.serial in into.tracks, old.last_at)))
        self.remove(gone, keeps_stays=True)

    def expired(self, now: float) -> list[Person]:
        """Remove and return the identities unseen for `retention_s`."""
        gone = []
        limit = now - self._settings.retention_s
        while self._oldest and self._oldest[0][0] < limit:
            person = self._people.get(heapq.heappop(self._oldest)[1])
            if person is None:
                continue
            if person.updated_at < limit and not person.in_view:
                self.remove(person)
                gone.append(person)
            else:
                heapq.heappush(self._oldest, (max(person.updated_at, limit), person.number))
        return gone

    def make_room(self) -> tuple[bool, Person | None]:
        """Evict the longest unseen identity if the gallery is full; return (has room now, evicted identity)."""
        if len(self._people) < self._settings.max_identities:
            return True, None
        kept: list[Person] = []
        victim: Person | None = None
        while self._oldest and victim is None:
            queued_at, number = heapq.heappop(self._oldest)
            person = self._people.get(number)
            if person is None:
                continue
            if person.in_view:
                kept.append(person)
            elif person.updated_at > queued_at:
                heapq.heappush(self._oldest, (person.updated_at, number))
            else:
                victim = person
        for person in kept:
            heapq.heappush(self._oldest, (person.updated_at, person.number))
        if victim is not None:
            self.remove(victim)
        return victim is not None, victim

    def remove(self, person: Person, *, keeps_stays: bool = False) -> None:
        """Remove an identity; `keeps_stays`: its stays belong to another identity already."""
        self.gallery.remove(person.number)
        del self._people[person.number]
        self._recent.pop(person.number, None)
        for number in person.apart | person.barred:
            if number in self._people:
                self._people[number].apart.discard(person.number)
                self._people[number].barred.discard(person.number)
        if not keeps_stays:
            for stay in person.stays:
                self._owner.pop(stay.serial, None)

    def others_before(self, person: Person, stay: Stay, count: int) -> list[Stay]:
        """Return the latest stay before `stay` of each of the `count` identities seen last, other than `person`."""
        others = (other.before(stay) for other in islice(self.recent(), count) if other is not person)
        return [before for before in others if before is not None]

    def _drop(self, person: Person, stay: Stay) -> None:
        for number in self._owners(stay.apart):
            self._part(person.number, number)
        person.stays = [kept for kept in person.stays if kept.serial != stay.serial]
        self._owner.pop(stay.serial, None)

    def _part(self, a: int, b: int) -> None:
        if a != b and a in self._people and b in self._people:
            self._people[a].apart.add(b)
            self._people[b].apart.add(a)

    def bar(self, a: int, b: int) -> None:
        """Forbid two identities ever to be merged."""
        if a != b and a in self._people and b in self._people:
            self._people[a].barred.add(b)
            self._people[b].barred.add(a)

    def reconcile(self, a: Person, b: Person) -> None:
        """Lift all bars between two identities: side-by-side sightings and operators' splits."""
        for one, other in ((a, b), (b, a)):
            one.barred.discard(other.number)
            one.apart.discard(other.number)
            serials = {stay.serial for stay in other.stays}
            for stay in one.stays:
                stay.barred -= serials
