"""Project the event stream of a site onto its present state: identities, labels, tracks and visits (pure).

    site = SiteView()
    for event in subscribe(url, site="shop", start="0", block_s=0):
        site.apply(event.data)
    site.people["shop-7"].visits, site.here()

The daemon's own state is the same (tests/publish/test_projection.py): a subscriber that reads from the beginning, or
from a moment when no identity was known, misses nothing. Corrections reach back: a track that moves to another identity
belongs to it from its first frame; a track that is cut belongs to the identity of its last part.
"""

from collections.abc import Iterable, Mapping
from typing import assert_never

import msgspec

from reid_stream.events import (
    DaemonStarted,
    DaemonStopped,
    Event,
    IdentityConfirmed,
    IdentityEntered,
    IdentityErased,
    IdentityLeft,
    IdentityMerged,
    IdentityNamed,
    IdentityRetired,
    IdentitySeen,
    IdentitySplit,
    InstructionAnswered,
    NewsEvent,
)
from reid_stream.publish.cloudevents import UnknownEvent
from reid_stream.records import CameraId, GlobalId, IdentityState, TrackId, last_parts

Key = tuple[CameraId, str, TrackId]
"""(camera, run, track)."""
_MERGED = "merged into "
_GONE = 10_000
"""Most identities of the past whose fate is remembered; the oldest are forgotten first."""


class TrackView(msgspec.Struct):
    """One track as events show it: its first sighting, then one every `publish.seen_interval_s`."""

    camera: CameraId
    run: str
    track: TrackId
    first_at: float
    """UTC seconds."""
    last_at: float
    similarity: float | None
    probability: float | None
    """P(same) of its assignment to the identity, from its latest event."""

    @property
    def key(self) -> Key:
        """(camera, run, track), unique for good."""
        return self.camera, self.run, self.track


class Visit(msgspec.Struct):
    """One visit to one camera."""

    camera: CameraId
    since: float
    last_at: float
    is_over: bool
    tracks: set[Key]
    snapshot: str | None = None
    """Name of its best picture; none while it lasts, or where none is stored."""


class IdentityChange(msgspec.Struct, frozen=True):
    """One entry in the history of an identity."""

    at: float
    what: str
    """confirmed, merged, split or named."""
    text: str
    by: str | None
    """Operator; none for the matcher's own decision."""
    probability: float | None = None


class PersonView(msgspec.Struct):
    """One identity with its tracks, visits and history."""

    person: GlobalId
    state: IdentityState = "provisional"
    revision: int = 1
    label: str = ""
    first_seen_at: float = float("inf")
    last_seen_at: float = float("-inf")
    tracks: dict[Key, TrackView] = {}
    visits: list[Visit] = []
    """Visits in the order of their first event."""
    history: list[IdentityChange] = []

    @property
    def is_on_two(self) -> bool:
        """Whether it was seen on at least two cameras."""
        return len({visit.camera for visit in self.visits}) > 1

    @property
    def probability(self) -> float | None:
        """Lowest probability of any of its track assignments; none for an identity of one track."""
        return min((track.probability for track in self.tracks.values() if track.probability is not None), default=None)


class SiteView:
    """State of a site that follows from its events."""

    def __init__(
        self, events: Iterable[Event | UnknownEvent] = (), *, labels: Mapping[GlobalId, str] | None = None
    ) -> None:
        """Apply `events`; `labels` are those given before the first of them."""
        self.people: dict[GlobalId, PersonView] = {}
        """Identities that can be matched."""
        self.gone: dict[GlobalId, str] = {}
        """State of the other identities: `merged into ...`, `retired: ...` or `erased`."""
        self._owner: dict[Key, GlobalId] = {}
        self._here: dict[tuple[GlobalId, CameraId], Visit] = {}
        self._labels = dict(labels or {})
        self._past = self._past_on_two = 0
        for event in events:
            self.take(event)

    def here(self) -> dict[CameraId, set[GlobalId]]:
        """Return the identities in view, by camera."""
        found: dict[CameraId, set[GlobalId]] = {}
        for person, camera in self._here:
            found.setdefault(camera, set()).add(person)
        return found

    def visits_now(self) -> list[tuple[PersonView, Visit]]:
        """Return every open visit with its identity, ordered by global ID and camera."""
        return [(self.people[person], visit) for (person, _), visit in sorted(self._here.items(), key=lambda v: v[0])]

    def similarity(self, person: PersonView, visit: Visit) -> float | None:
        """Return the cosine similarity of the visit's latest track to its identity; none for a new identity."""
        tracks = [person.tracks[key] for key in visit.tracks if key in person.tracks]
        return max(tracks, key=lambda track: track.last_at).similarity if tracks else None

    @property
    def seen(self) -> int:
        """Number of identities ever seen; merged ones count once."""
        return self._past + len(self.people)

    @property
    def on_two(self) -> int:
        """Number of them that were seen on at least two cameras."""
        return self._past_on_two + sum(person.is_on_two for person in self.people.values())

    def owner(self, key: Key) -> GlobalId | None:
        """Return the identity that a track belongs to."""
        return self._owner.get(key)

    def successor(self, person: GlobalId) -> GlobalId:
        """Return the identity that `person` is known as now, following merges."""
        seen = {person}
        while (into := self.gone.get(person, "").removeprefix(_MERGED)) in self.people or into in self.gone:
            person = GlobalId(into)
            if person in seen:
                return person
            seen.add(person)
        return person

    def apply(self, event: Event | UnknownEvent) -> None:  # noqa: C901 (one case per kind of event)
        """Bring the projection up to date with the next event of the stream."""
        if isinstance(event, NewsEvent | UnknownEvent):
            return
        match event:
            case IdentityEntered() | IdentitySeen():
                self._see(event)
            case IdentityLeft():
                self._leave(event)
            case IdentityConfirmed():
                known = self._of(event.person, event.revision)
                known.state = "confirmed"
                known.history.append(IdentityChange(event.at, "confirmed", f"on {event.camera}", None))
            case IdentityMerged():
                self._merge(event)
            case IdentitySplit():
                self._split(event)
            case IdentityNamed():
                known = self._of(event.person, event.revision)
                known.label = event.label
                known.history.append(IdentityChange(event.at, "named", event.label, event.by))
            case IdentityRetired():
                self._forget(event.person, f"retired: {event.reason}")
            case IdentityErased():
                self._forget(event.person, "erased")
            case DaemonStarted():
                self._end_visits(except_for={(person, camera) for camera, person in event.in_view})
            case DaemonStopped():
                self._end_visits(except_for=set())
            case InstructionAnswered():
                pass
            case _:
                assert_never(event)

    def follow(self, events: Iterable[Event | UnknownEvent]) -> None:
        """Apply several events in their order."""
        for event in events:
            self.apply(event)

    take = apply
    """Former name of `apply`, kept for a release."""

    def _end_visits(self, except_for: set[tuple[GlobalId, CameraId]]) -> None:
        """End the visits for which no `identity.left` will follow."""
        for key in [key for key in self._here if key not in except_for]:
            self._here.pop(key).is_over = True

    def _of(self, person: GlobalId, revision: int) -> PersonView:
        known = self.people.get(person)
        if known is None:
            known = self.people[person] = PersonView(person, label=self._labels.pop(person, ""))
            self.gone.pop(person, None)
        known.revision = max(known.revision, revision)
        return known

    def _see(self, event: IdentityEntered | IdentitySeen) -> None:
        known = self._of(event.person, event.revision)
        if event.state == "confirmed":
            known.state = "confirmed"
        known.first_seen_at = min(known.first_seen_at, event.since)
        known.last_seen_at = max(known.last_seen_at, event.seen_at)
        key = (event.camera, event.run, event.track)
        track = self._give(key, known) or TrackView(
            event.camera, event.run, event.track, event.seen_at, event.seen_at, None, None
        )
        track.first_at, track.last_at = min(track.first_at, event.seen_at), max(track.last_at, event.seen_at)
        track.similarity, track.probability = event.similarity, event.probability
        known.tracks[key] = track
        visit = self._here.get((event.person, event.camera))
        if visit is None:
            # A visit that continues under another ID, as after a merge, keeps its beginning.
            visit = next((s for s in known.visits if (s.camera, s.since) == (event.camera, event.since)), None)
            if visit is None:
                visit = Visit(event.camera, event.since, event.seen_at, False, set())
                known.visits.append(visit)
            visit.is_over = False
            self._here[event.person, event.camera] = visit
        visit.last_at = max(visit.last_at, event.seen_at)
        visit.tracks.add(key)

    def _give(self, key: Key, known: PersonView) -> TrackView | None:
        """Assign a track to an identity and return its view, if it is known."""
        before = self.people.get(self._owner.get(key, known.person))
        self._owner[key] = known.person
        return before.tracks.pop(key, None) if before is not None else None

    def _leave(self, event: IdentityLeft) -> None:
        visit = self._here.pop((event.person, event.camera), None)
        known = self.people.get(event.person)
        if known is None or visit is None:
            return
        known.last_seen_at = max(known.last_seen_at, event.last_seen_at)
        visit.is_over, visit.last_at, visit.snapshot = True, event.last_seen_at, event.snapshot

    def _merge(self, event: IdentityMerged) -> None:
        into = self._of(event.person, event.revision)
        into.history.append(
            IdentityChange(event.at, "merged", f"{event.previous} was {event.person}", event.by, event.probability)
        )
        gone = self.people.pop(event.previous, None)
        self.gone[event.previous] = f"{_MERGED}{event.person}"
        if gone is None:
            return
        for camera in [camera for person, camera in self._here if person == event.previous]:
            self._here.setdefault((event.person, camera), self._here.pop((event.previous, camera)))
        for key in gone.tracks:
            self._owner[key] = event.person
        into.tracks |= gone.tracks
        into.visits = sorted([*into.visits, *gone.visits], key=lambda visit: visit.since)
        into.history = sorted([*into.history, *gone.history], key=lambda change: change.at)
        into.first_seen_at = min(into.first_seen_at, gone.first_seen_at)
        into.last_seen_at = max(into.last_seen_at, gone.last_seen_at)
        if gone.state == "confirmed":
            into.state = "confirmed"

    def _split(self, event: IdentitySplit) -> None:
        person = self._of(event.person, event.revision)
        into = self._of(event.into, event.into_revision)
        into.state = event.into_state
        count = "one track" if len(event.tracks) == 1 else f"{len(event.tracks)} tracks"
        person.history.append(IdentityChange(event.at, "split", f"{count} went to {event.into}", event.by))
        into.history.append(IdentityChange(event.at, "split", f"{count} came from {event.person}", event.by))
        moved = set(last_parts(event.tracks, event.spans))
        for key in moved:
            track = self._give(key, into)
            if track is not None:
                into.tracks[key] = track
        for visit in list(person.visits):
            leaving = visit.tracks & moved
            if not leaving:
                continue
            if leaving == visit.tracks:
                person.visits.remove(visit)
                into.visits.append(visit)
            else:
                visit.tracks -= leaving
                spans = [into.tracks[key] for key in leaving if key in into.tracks]
                begin = min((track.first_at for track in spans), default=visit.since)
                end = max((track.last_at for track in spans), default=visit.last_at)
                into.visits.append(Visit(visit.camera, begin, end, True, leaving))
        into.first_seen_at = min([into.first_seen_at, *(visit.since for visit in into.visits)])
        into.last_seen_at = max([into.last_seen_at, *(visit.last_at for visit in into.visits)])

    def _forget(self, person: GlobalId, why: str) -> None:
        known = self.people.pop(person, None)
        for camera in [camera for owner, camera in self._here if owner == person]:
            self._here.pop((person, camera)).is_over = True
        if known is not None and known.visits and why != "erased":
            self._past += 1
            self._past_on_two += known.is_on_two
        self.gone[person] = why
        while len(self.gone) > _GONE:
            del self.gone[next(iter(self.gone))]
        for key in known.tracks if known is not None else ():
            self._owner.pop(key, None)


Fold = SiteView
"""Former name of `SiteView`, kept for a release."""
