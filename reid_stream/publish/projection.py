"""Events in, everything that follows from them out: who is known, called what, seen where, on which tracks (pure).

    site = Fold()
    for event in subscribe(url, site="shop", start="0", block_s=0):
        site.take(event.data)
    site.people["shop-7"].visits, site.here()

The daemon's own view is the same (tests/people/test_fold.py): a subscriber that reads from the beginning, or from a
place where nobody was known, misses nothing. Corrections reach back: a track that turned out to be somebody else's is
that person's from the start; one that was cut is its last person's.
"""

from collections.abc import Iterable

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
)
from reid_stream.publish.cloudevents import Unknown
from reid_stream.records import CameraId, GlobalId, IdentityState, TrackId, last_parts

Key = tuple[CameraId, str, TrackId]
"""(camera, run, track)."""
_MERGED = "merged into "
_GONE = 10_000
"""People who are no more, of whom it is remembered what became of them; the oldest go first."""


class Track(msgspec.Struct):
    """One track, as far as events tell of it: the first look, then one every `publish.seen_interval_s`."""

    camera: CameraId
    run: str
    track: TrackId
    first_at: float
    """UTC seconds."""
    last_at: float
    similarity: float | None
    probability: float | None
    """Behind giving it to its person, as told last."""

    @property
    def key(self) -> Key:
        """What names it for good."""
        return self.camera, self.run, self.track


class Stay(msgspec.Struct):
    """One visit to one camera."""

    camera: CameraId
    since: float
    last_at: float
    is_over: bool
    tracks: set[Key]


class Change(msgspec.Struct, frozen=True):
    """What happened to an identity, besides being seen."""

    at: float
    what: str
    """confirmed, merged, split or named."""
    text: str
    by: str | None
    """Who said so; none where the matcher did."""
    probability: float | None = None


class Known(msgspec.Struct):
    """One person."""

    person: GlobalId
    state: IdentityState = "provisional"
    revision: int = 1
    label: str = ""
    first_seen_at: float = float("inf")
    last_seen_at: float = float("-inf")
    tracks: dict[Key, Track] = {}
    visits: list[Stay] = []
    """In the order in which they were told."""
    history: list[Change] = []

    @property
    def probability(self) -> float | None:
        """The least probability behind any track's assignment: how sure all of this is; none for one track alone."""
        return min((track.probability for track in self.tracks.values() if track.probability is not None), default=None)


class Fold:
    """Everything that events tell of people."""

    def __init__(self, events: Iterable[Event | Unknown] = ()) -> None:
        self.people: dict[GlobalId, Known] = {}
        """Who can be recognised."""
        self.gone: dict[GlobalId, str] = {}
        """What became of others: `merged into ...`, `retired: ...` or `erased`."""
        self._owner: dict[Key, GlobalId] = {}
        self._here: dict[tuple[GlobalId, CameraId], Stay] = {}
        for event in events:
            self.take(event)

    def here(self) -> dict[CameraId, set[GlobalId]]:
        """Return who is in view of each camera that sees somebody."""
        found: dict[CameraId, set[GlobalId]] = {}
        for person, camera in self._here:
            found.setdefault(camera, set()).add(person)
        return found

    def owner(self, key: Key) -> GlobalId | None:
        """Return whose a track is."""
        return self._owner.get(key)

    def successor(self, person: GlobalId) -> GlobalId:
        """Return who somebody is now: the person merged into, and so on."""
        seen = {person}
        while (into := self.gone.get(person, "").removeprefix(_MERGED)) in self.people or into in self.gone:
            person = GlobalId(into)
            if person in seen:
                return person
            seen.add(person)
        return person

    def take(self, event: Event | Unknown) -> None:  # noqa: C901 (one case per kind of event)
        """Take in the next event."""
        match event:
            case IdentityEntered() | IdentitySeen():
                self._see(event)
            case IdentityLeft():
                self._leave(event)
            case IdentityConfirmed():
                known = self._of(event.person, event.revision)
                known.state = "confirmed"
                known.history.append(Change(event.at, "confirmed", f"on {event.camera}", None))
            case IdentityMerged():
                self._merge(event)
            case IdentitySplit():
                self._split(event)
            case IdentityNamed():
                known = self._of(event.person, event.revision)
                known.label = event.label
                known.history.append(Change(event.at, "named", event.label, event.by))
            case IdentityRetired():
                self._forget(event.person, f"retired: {event.reason}")
            case IdentityErased():
                self._forget(event.person, "erased")
            case DaemonStarted():
                self._end_visits(but={(person, camera) for camera, person in event.in_view})
            case DaemonStopped():
                self._end_visits(but=set())
            case _:
                pass

    def _end_visits(self, but: set[tuple[GlobalId, CameraId]]) -> None:
        """End the visits of which no `left` will be told."""
        for key in [key for key in self._here if key not in but]:
            self._here.pop(key).is_over = True

    def _of(self, person: GlobalId, revision: int) -> Known:
        known = self.people.get(person)
        if known is None:
            known = self.people[person] = Known(person)
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
        track = self._give(key, known) or Track(
            event.camera, event.run, event.track, event.seen_at, event.seen_at, None, None
        )
        track.first_at, track.last_at = min(track.first_at, event.seen_at), max(track.last_at, event.seen_at)
        track.similarity, track.probability = event.similarity, event.probability
        known.tracks[key] = track
        stay = self._here.get((event.person, event.camera))
        if stay is None:
            # A visit that goes on under another ID, as after a merge, begins when it began.
            stay = next((s for s in known.visits if (s.camera, s.since) == (event.camera, event.since)), None)
            if stay is None:
                stay = Stay(event.camera, event.since, event.seen_at, False, set())
                known.visits.append(stay)
            stay.is_over = False
            self._here[event.person, event.camera] = stay
        stay.last_at = max(stay.last_at, event.seen_at)
        stay.tracks.add(key)

    def _give(self, key: Key, known: Known) -> Track | None:
        """Make a track somebody's; returns what is known of it."""
        before = self.people.get(self._owner.get(key, known.person))
        self._owner[key] = known.person
        return before.tracks.pop(key, None) if before is not None else None

    def _leave(self, event: IdentityLeft) -> None:
        stay = self._here.pop((event.person, event.camera), None)
        known = self.people.get(event.person)
        if known is None or stay is None:
            return
        known.last_seen_at = max(known.last_seen_at, event.last_seen_at)
        stay.is_over, stay.last_at = True, event.last_seen_at

    def _merge(self, event: IdentityMerged) -> None:
        into = self._of(event.person, event.revision)
        into.history.append(
            Change(event.at, "merged", f"{event.previous} was {event.person}", event.by, event.probability)
        )
        gone = self.people.pop(event.previous, None)
        self.gone[event.previous] = f"{_MERGED}{event.person}"
        if gone is None:
            return
        for key in gone.tracks:
            self._owner[key] = event.person
        into.tracks |= gone.tracks
        into.visits = sorted([*into.visits, *gone.visits], key=lambda stay: stay.since)
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
        person.history.append(Change(event.at, "split", f"{count} went to {event.into}", event.by))
        into.history.append(Change(event.at, "split", f"{count} came from {event.person}", event.by))
        moved = set(last_parts(event.tracks, event.spans))
        for key in moved:
            track = self._give(key, into)
            if track is not None:
                into.tracks[key] = track
        for stay in list(person.visits):
            leaving = stay.tracks & moved
            if not leaving:
                continue
            if leaving == stay.tracks:
                person.visits.remove(stay)
                into.visits.append(stay)
            else:
                stay.tracks -= leaving
                spans = [into.tracks[key] for key in leaving if key in into.tracks]
                begin = min((track.first_at for track in spans), default=stay.since)
                end = max((track.last_at for track in spans), default=stay.last_at)
                into.visits.append(Stay(stay.camera, begin, end, True, leaving))
        into.first_seen_at = min([into.first_seen_at, *(stay.since for stay in into.visits)])
        into.last_seen_at = max([into.last_seen_at, *(stay.last_at for stay in into.visits)])

    def _forget(self, person: GlobalId, why: str) -> None:
        known = self.people.pop(person, None)
        self.gone[person] = why
        while len(self.gone) > _GONE:
            del self.gone[next(iter(self.gone))]
        for key in known.tracks if known is not None else ():
            self._owner.pop(key, None)
