"""Who is known: identities with their views and stays, bounded in number and age (pure).

A person leaves when unseen for `retention_s`, or as the longest unseen when somebody new needs the place; never while
in view of a camera. The longest unseen is found by a heap that is put right lazily: a full gallery costs no scan.

Who was seen beside whom is kept by track, so that a track given to another person takes that knowledge along; only
when a stay is so old that it is dropped does it become a fact about persons.
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
"""Stays remembered of a person; the oldest go first."""


class Person(msgspec.Struct):
    """One identity."""

    number: int
    revision: int
    state: IdentityState
    created_at: float
    last_at: float
    """By the clocks of cameras."""
    num_vectors: int = 0
    tracks: set[int] = set()
    """Serials of its open tracks."""
    in_view: set[int] = set()
    """Those of them that have not ended."""
    apart: set[int] = set()
    """People seen beside it, as far as `stays` no longer tells."""
    stays: list[Stay] = []
    """Its tracks, oldest first, over or not."""
    heard_at: float = 0.0
    """`now` of the update that last brought something of it; clocks of cameras play no part. 0: as `last_at`."""
    barred: set[int] = set()
    """People whom a person said it is not."""
    label: str = ""
    """What people call it."""

    def before(self, stay: Stay) -> Stay | None:
        """Return its latest stay that began earlier than another."""
        return next((kept for kept in reversed(self.stays) if kept.first_at < stay.first_at), None)


class Identities:
    """All identities that can be matched."""

    def __init__(self, settings: MatchSettings, gallery: Gallery, first_number: int = 1) -> None:
        self._settings = settings
        self.gallery = gallery
        self._people: dict[int, Person] = {}
        self._owner: dict[int, int] = {}
        """Whose a stay is, by serial."""
        self._recent: dict[int, None] = {}
        """Everybody, the latest seen last."""
        self._oldest: list[tuple[float, int]] = []
        """Heap of (when last seen, at least, number), one entry a person."""
        self.next_number = first_number

    def __len__(self) -> int:
        return len(self._people)

    def __contains__(self, number: int | None) -> bool:
        return number in self._people

    def __getitem__(self, number: int) -> Person:
        return self._people[number]

    def all(self) -> list[Person]:
        """Return everybody, oldest number first."""
        return list(self._people.values())

    def recent(self) -> Iterator[Person]:
        """Return everybody, the latest seen first."""
        return (self._people[number] for number in reversed(self._recent))

    def new(self, born_at: float, last_at: float, now: float) -> Person:
        """Make somebody new, provisional, with a number never used before."""
        person = Person(self.next_number, 1, "provisional", born_at, last_at, heard_at=now)
        self.next_number += 1
        self.put(person, [])
        return person

    def put(self, person: Person, exemplars: list[Exemplar]) -> None:
        """Take in a person as known from elsewhere."""
        person.heard_at = person.heard_at or person.last_at
        self._people[person.number] = person
        self._recent[person.number] = None
        self._owner.update((stay.serial, person.number) for stay in person.stays)
        heapq.heappush(self._oldest, (person.heard_at, person.number))
        self.gallery.load(person.number, exemplars)

    def see(self, number: int, at: float, now: float) -> None:
        """Note that a person is seen."""
        person = self._people[number]
        person.last_at = max(person.last_at, at)
        person.heard_at = max(person.heard_at, now)
        self._recent.pop(number, None)
        self._recent[number] = None

    def give(self, stay: Stay, number: int) -> None:
        """Make a stay a person's."""
        person = self._people[number]
        self._owner[stay.serial] = number
        person.stays.append(stay)
        person.stays.sort(key=by_time)
        if len(person.stays) > _STAYS:
            self._drop(person, min(person.stays, key=lambda old: (old.serial in person.tracks, old.last_at)))

    def seen_order(self) -> list[int]:
        """Return everybody's number, the latest seen last."""
        return list(self._recent)

    def order(self, numbers: Iterable[int]) -> None:
        """Make these, the latest seen last, the order in which people were seen; who is not named was seen before."""
        for number in numbers:
            if number in self._people:
                self._recent.pop(number)
                self._recent[number] = None

    def take(self, stay: Stay, number: int) -> None:
        """Take a stay from a person, with its view."""
        person = self._people[number]
        person.stays = [kept for kept in person.stays if kept.serial != stay.serial]
        person.tracks.discard(stay.serial)
        person.in_view.discard(stay.serial)
        self._owner.pop(stay.serial, None)

    @property
    def bound(self) -> int:
        """How many there may be."""
        return self._settings.max_identities

    def owner(self, serial: int) -> int | None:
        """Return whose a stay is."""
        return self._owner.get(serial)

    def stay(self, serial: int) -> Stay | None:
        """Return somebody's stay."""
        number = self._owner.get(serial)
        if number is None:
            return None
        return next((stay for stay in self._people[number].stays if stay.serial == serial), None)

    def beside(self, stay: Stay) -> set[int]:
        """Return the people that a stay cannot be of: seen beside it, or said not to be."""
        owners = self._owners(stay.apart)
        return owners | self._owners(stay.barred) if stay.barred else owners

    def _owners(self, serials: Iterable[int]) -> set[int]:
        return {number for serial in serials if (number := self._owner.get(serial)) is not None}

    def apart(self, person: Person) -> set[int]:
        """Return the people that a person cannot be."""
        found = person.apart | person.barred
        for stay in person.stays:
            found |= self.beside(stay)
        return found

    def merge(self, gone: Person, into: Person) -> None:
        """Make `gone` a part of `into`."""
        into.revision += 1
        into.num_vectors += gone.num_vectors
        into.last_at = max(into.last_at, gone.last_at)
        into.heard_at = max(into.heard_at, gone.heard_at)
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
        """Remove and return the people unseen for too long."""
        gone = []
        limit = now - self._settings.retention_s
        while self._oldest and self._oldest[0][0] < limit:
            person = self._people.get(heapq.heappop(self._oldest)[1])
            if person is None:
                continue
            if person.heard_at < limit and not person.in_view:
                self.remove(person)
                gone.append(person)
            else:
                heapq.heappush(self._oldest, (max(person.heard_at, limit), person.number))
        return gone

    def make_room(self) -> tuple[bool, Person | None]:
        """Remove the longest unseen person if there is no room: (is there room now, who was removed)."""
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
            elif person.heard_at > queued_at:
                heapq.heappush(self._oldest, (person.heard_at, number))
            else:
                victim = person
        for person in kept:
            heapq.heappush(self._oldest, (person.heard_at, person.number))
        if victim is not None:
            self.remove(victim)
        return victim is not None, victim

    def remove(self, person: Person, *, keeps_stays: bool = False) -> None:
        """Forget a person; `keeps_stays`: they are somebody else's already."""
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

    def latest(self, count: int) -> list[Person]:
        """Return the `count` people seen last."""
        return list(islice(self.recent(), count))

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
        """Keep two people from ever being one, whatever they look like."""
        if a != b and a in self._people and b in self._people:
            self._people[a].barred.add(b)
            self._people[b].barred.add(a)

    def reconcile(self, a: Person, b: Person) -> None:
        """Let two people be one again, whatever was said or seen of them before."""
        for one, other in ((a, b), (b, a)):
            one.barred.discard(other.number)
            one.apart.discard(other.number)
            serials = {stay.serial for stay in other.stays}
            for stay in one.stays:
                stay.barred -= serials
