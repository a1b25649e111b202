"""Who is known: identities with their exemplars, bounded in number and age (pure).

A person leaves when unseen for `retention_s`, or as the longest unseen when somebody new needs the place; never while
in view of a camera. The longest unseen is found by a heap that is put right lazily: a full gallery costs no scan.
"""

import heapq
from typing import Literal

import msgspec
import numpy as np

from reid_stream.config import Match as MatchSettings
from reid_stream.match.gallery import Exemplar, Gallery
from reid_stream.match.tracklet import Tracklet
from reid_stream.records import CameraId, Floats, IdentityState


class Person(msgspec.Struct):
    """One identity."""

    number: int
    revision: int
    state: IdentityState
    created_at: float
    last_at: float
    num_vectors: int = 0
    tracks: set[int] = set()
    """Serials of its open tracks."""
    in_view: set[int] = set()
    """Those of them that have not ended."""
    apart: set[int] = set()
    """People seen beside it at the same instant."""


class People:
    """All identities that can be matched."""

    def __init__(self, settings: MatchSettings, first_number: int = 1) -> None:
        self._settings = settings
        self.gallery = Gallery(settings.exemplars, settings.max_identities)
        self._people: dict[int, Person] = {}
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

    def new(self, born_at: float, last_at: float) -> Person:
        """Make somebody new, provisional, with a number never used before."""
        person = Person(self.next_number, 1, "provisional", born_at, last_at)
        self.next_number += 1
        self.put(person, [])
        return person

    def put(self, person: Person, exemplars: list[Exemplar]) -> None:
        """Take in a person as known from elsewhere."""
        self._people[person.number] = person
        heapq.heappush(self._oldest, (person.last_at, person.number))
        for exemplar in exemplars:
            vector = np.frombuffer(exemplar.vector, dtype=np.float16).astype(np.float32)
            self.gallery.add(
                person.number,
                vector,
                exemplar.quality,
                CameraId(exemplar.camera),
                exemplar.source,
            )

    def teach(self, number: int, tracklet: Tracklet, vector: Floats, quality: float) -> None:
        """Offer a vector (d,) of a person."""
        self._people[number].num_vectors += 1
        self.gallery.add(number, vector, quality, tracklet.camera, tracklet.serial)

    def part(self, a: int, b: int) -> None:
        """Note that two people were seen at once."""
        if a != b and a in self._people and b in self._people:
            self._people[a].apart.add(b)
            self._people[b].apart.add(a)

    def merge(self, gone: Person, into: Person) -> None:
        """Make `gone` a part of `into`."""
        into.revision += 1
        into.num_vectors += gone.num_vectors
        into.last_at = max(into.last_at, gone.last_at)
        into.created_at = min(into.created_at, gone.created_at)
        into.tracks |= gone.tracks
        into.in_view |= gone.in_view
        self.gallery.merge(gone.number, into.number)
        for number in gone.apart:
            self.part(number, into.number)
        self._remove(gone)

    def expired(self, now: float) -> list[Person]:
        """Remove and return the people unseen for too long."""
        gone = []
        limit = now - self._settings.retention_s
        while self._oldest and self._oldest[0][0] < limit:
            person = self._people.get(heapq.heappop(self._oldest)[1])
            if person is None:
                continue
            if person.last_at < limit and not person.in_view:
                self._remove(person)
                gone.append(person)
            else:
                heapq.heappush(self._oldest, (max(person.last_at, limit), person.number))
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
            elif person.last_at > queued_at:
                heapq.heappush(self._oldest, (person.last_at, number))
            else:
                victim = person
        for person in kept:
            heapq.heappush(self._oldest, (person.last_at, person.number))
        if victim is not None:
            self._remove(victim)
        return victim is not None, victim

    def _remove(self, person: Person) -> None:
        self.gallery.remove(person.number)
        del self._people[person.number]
        for number in person.apart:
            if number in self._people:
                self._people[number].apart.discard(person.number)


RetirementReason = Literal["expired", "gallery full"]
