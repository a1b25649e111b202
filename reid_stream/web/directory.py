"""Directory of people: those of the projection, and earlier ones of whom the store still has tracks."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import nlargest

from reid_stream.publish.projection import PersonView, Visit
from reid_stream.records import CameraId, GlobalId, TrackId
from reid_stream.store.labels import Key
from reid_stream.web.feed import Feed
from reid_stream.web.journey import (
    TRACKS,
    VISITS,
    Window,
    best_picture,
    snapshot_url,
    stored_visit_record,
    stored_visits,
    track_record,
    visit_record,
)
from reid_stream.web.schemas import Change, Person, PersonSummary, TrackRecord
from reid_stream.web.track_index import IndexedTrack, TrackIndex

_SHARE = 10.0
"""The owners of stored tracks are recomputed after this multiple of the time it takes: some ms with 10^4 tracks."""


@dataclass(frozen=True, slots=True)
class PeopleFilter:
    """Which people a list shows; all of them unless more is given."""

    here: bool | None = None
    """Only those in view, or only others."""
    camera: str | None = None
    """Only those who were on this camera."""
    since: float | None = None
    """Seen at or after, UTC seconds."""
    until: float | None = None
    """Seen at or before, UTC seconds."""
    text: str = ""
    """Part of the label or the global ID."""


@dataclass(frozen=True, slots=True)
class PeoplePage:
    """A part of the list of people."""

    people: list[PersonSummary]
    total: int
    """Number of people whom the filter leaves."""
    in_view: int
    """Number of them in view."""


class Directory:
    """People with their visits, tracks and pictures; thread-safe."""

    def __init__(self, feed: Feed, index: TrackIndex) -> None:
        self._feed, self._index = feed, index
        self._owned: dict[GlobalId, list[IndexedTrack]] = {}
        self._owned_of = (-1, -1)
        self._owned_at = float("-inf")
        self._owned_s = 0.0

    def owned(self) -> dict[GlobalId, list[IndexedTrack]]:
        """Return the stored tracks of each person, by today's identities, oldest first."""
        tracks = self._index.tracks()
        with self._feed.lock:
            now = (self._feed.version, self._index.version)
            began = time.monotonic()
            if now != self._owned_of and began - self._owned_at > _SHARE * self._owned_s:
                found: dict[GlobalId, list[IndexedTrack]] = defaultdict(list)
                for key, track in tracks.items():
                    person = self.owner(key, track)
                    if person is not None:
                        found[person].append(track)
                for of_person in found.values():
                    of_person.sort(key=lambda track: track.times[0])
                self._owned, self._owned_of, self._owned_at = dict(found), now, time.monotonic()
                self._owned_s = self._owned_at - began
            return self._owned

    def stored(self, person: GlobalId) -> list[IndexedTrack]:
        """Return the stored tracks of a person, oldest first; none of an erased person."""
        owned = self.owned().get(person, [])
        with self._feed.lock:
            return [] if self._feed.view.gone.get(person) == "erased" else owned

    def owner(self, key: Key, track: IndexedTrack) -> GlobalId | None:
        """Return the person of a stored track by the events, else by its own file; None if it has none."""
        view = self._feed.view
        known = view.owner(key)
        if known is not None:
            return known
        if track.global_id is None:
            return None
        person = view.successor(track.global_id)
        return None if view.gone.get(person) == "erased" else person

    def is_erased(self, track: IndexedTrack) -> bool:
        """Whether a stored track is of an erased person, so that it will be deleted soon."""
        with self._feed.lock:
            return track.global_id is not None and self.owner(track.key, track) is None

    def page(self, wanted: PeopleFilter, offset: int, limit: int) -> PeoplePage:
        """Return people whom a filter leaves, those in view first, then those seen last.

        Only those of the page are summarised: a summary costs some ten times what its place in the list does.
        """
        owned = self.owned()
        with self._feed.lock:
            here = self._here()
            found = list(self._places(wanted, owned, here))
            people = [
                self._known(known, owned.get(person, []), here.get(person, ()))
                if (known := self._feed.view.people.get(person)) is not None
                else _stored(person, owned[person])
                for _, _, person in sorted(found, reverse=True)[offset : offset + limit]
            ]
        return PeoplePage(people, len(found), sum(is_here for is_here, _, _ in found))

    def latest(self, count: int) -> list[tuple[GlobalId, str]]:
        """Return global ID and label of people, those in view first, then those seen last."""
        owned = self.owned()
        with self._feed.lock:
            found = nlargest(count, self._places(PeopleFilter(), owned, self._here()))
            people = self._feed.view.people
            return [(person, people[person].label if person in people else "") for _, _, person in found]

    def _places(
        self, wanted: PeopleFilter, owned: dict[GlobalId, list[IndexedTrack]], here: dict[GlobalId, list[str]]
    ) -> Iterator[tuple[bool, float, GlobalId]]:
        """Yield whether a person is in view, when last seen, and the global ID, of all whom a filter leaves."""
        text = wanted.text.strip().casefold()
        for person, known in self._feed.view.people.items():
            is_here, last_at = person in here, _finite(known.last_seen_at)
            if (
                (wanted.here is None or is_here == wanted.here)
                and (wanted.since is None or last_at >= wanted.since)
                and (wanted.until is None or _finite(known.first_seen_at) <= wanted.until)
                and (wanted.camera is None or any(visit.camera == wanted.camera for visit in known.visits))
                and (not text or text in known.label.casefold() or text in person)
            ):
                yield is_here, last_at, person
        for person, tracks in owned.items():
            if (
                self._is_earlier(person)
                and not wanted.here
                and (wanted.since is None or _last_at(tracks) >= wanted.since)
                and (wanted.until is None or tracks[0].times[0] <= wanted.until)
                and (wanted.camera is None or any(track.key[0] == wanted.camera for track in tracks))
                and (not text or text in person)
            ):
                yield False, _last_at(tracks), person

    def summary(self, person: GlobalId) -> PersonSummary | None:
        """Return one person in short; None if there is none."""
        owned = self.stored(person)
        with self._feed.lock:
            known = self._feed.view.people.get(person)
            if known is not None:
                return self._known(known, owned, self._here().get(person, ()))
        return _stored(person, owned) if owned else None

    def today(self, asked: str) -> GlobalId:
        """Return the ID by which a person is known today: that of the person whom `asked` was merged into."""
        with self._feed.lock:
            return self._feed.view.successor(GlobalId(asked))

    def person(
        self, asked: str, visits: Window = Window(VISITS), tracks_shown: Window = Window(TRACKS)
    ) -> Person | None:
        """Return one person, under the ID of today; None if there is none.

        Args:
            asked: global ID.
            visits: which visits; its limit holds for the history, too.
            tracks_shown: which tracks of each visit.
        """
        with self._feed.lock:
            person = self._feed.view.successor(GlobalId(asked))
            known = self._feed.view.people.get(person)
            tracks = self.stored(person)
            if known is None and not tracks:
                return None
            if known is None:
                short, history = _stored(person, tracks), []
                journey = [stored_visit_record(visit, tracks_shown) for visit in visits.of(stored_visits(tracks))]
            else:
                stored = {track.key: track for track in tracks}
                short = self._known(known, tracks, self._here().get(person, ()))
                shown = visits.of(sorted(known.visits, key=lambda visit: visit.since))
                journey = [visit_record(visit, known, stored, self._snapshot(visit), tracks_shown) for visit in shown]
                history = [
                    Change(
                        at=change.at, what=change.what, text=change.text, by=change.by, probability=change.probability
                    )
                    for change in known.history[-visits.limit :]
                ]
        return Person(
            **{name: getattr(short, name) for name in PersonSummary.model_fields},
            asked=asked,
            journey=journey,
            history=history,
        )

    def _known(self, known: PersonView, tracks: list[IndexedTrack], here: Iterable[str]) -> PersonSummary:
        return PersonSummary(
            person=known.person,
            label=known.label,
            state=known.state,
            revision=known.revision,
            here=list(here),
            cameras=list(dict.fromkeys(visit.camera for visit in known.visits)),
            first_seen_at=_finite(known.first_seen_at),
            last_seen_at=_finite(known.last_seen_at),
            visits=len(known.visits),
            tracks=len(known.tracks),
            probability=known.probability,
            picture=best_picture(tracks) or self._picture_now(known, here),
        )

    def _picture_now(self, known: PersonView, here: Iterable[str]) -> str | None:
        """Return the path of a picture of a person in view of whom no track is stored yet."""
        for key in reversed(known.tracks) if here else ():
            if self._index.now(key) is not None:
                return snapshot_url("/".join(map(str, key)))
        return None

    def _snapshot(self, visit: Visit) -> str | None:
        """Return the path of a visit's best picture; None where it is not kept (any more)."""
        if visit.snapshot is None:
            return None
        camera, run, track, _ = visit.snapshot.split("/")
        key = (CameraId(camera), run, TrackId(int(track)))
        is_kept = self._index.get(key) is not None or self._index.now(key) is not None
        return snapshot_url(visit.snapshot) if is_kept else None

    def _is_earlier(self, person: GlobalId) -> bool:
        view = self._feed.view
        return person not in view.people and view.gone.get(person) != "erased"

    def fate(self, person: str) -> str:
        """Return the fate of an ID that is no current person's: `erased`, `retired: ...`, or empty."""
        with self._feed.lock:
            return self._feed.view.gone.get(GlobalId(person), "")

    def track(self, track: IndexedTrack) -> TrackRecord:
        """Return a stored track for itself."""
        with self._feed.lock:
            owner = self._feed.view.people.get(self._feed.view.owner(track.key) or GlobalId(""))
            return track_record(track.key, owner.tracks.get(track.key) if owner is not None else None, track)

    def name_of(self, key: Key) -> str:
        """Return what a track's person is called, else the global ID; empty if not identified yet."""
        with self._feed.lock:
            person = self._feed.view.owner(key)
            known = self._feed.view.people.get(person) if person is not None else None
            return (known.label if known is not None else "") or person or ""

    def _here(self) -> dict[GlobalId, list[str]]:
        here: dict[GlobalId, list[str]] = defaultdict(list)
        for camera, people in sorted(self._feed.view.here().items()):
            for person in people:
                here[person].append(camera)
        return here


def _stored(person: GlobalId, tracks: list[IndexedTrack]) -> PersonSummary:
    return PersonSummary(
        person=person,
        label="",
        state=None,
        revision=0,
        here=[],
        cameras=list(dict.fromkeys(track.key[0] for track in tracks)),
        first_seen_at=min(track.times[0] for track in tracks),
        last_seen_at=_last_at(tracks),
        visits=len(stored_visits(tracks)),
        tracks=len(tracks),
        probability=None,
        picture=best_picture(tracks),
    )


def _last_at(tracks: list[IndexedTrack]) -> float:
    return max(track.times[-1] for track in tracks)


def _finite(at: float) -> float:
    return at if abs(at) != float("inf") else 0.0
