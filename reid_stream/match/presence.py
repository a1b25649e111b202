"""Turn decisions into identity events and keep track of who is in view (pure).

A visit is one identity on one camera without a gap of `left_after_s`. Invariant: every `entered` is followed by exactly
one `left`, with only `seen` of the same visit in between. This holds through merges and splits: the visit of an ID that
is no longer used ends before its correction is published.
"""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from reid_stream.config.presence_settings import CameraPlaces, PresenceSettings
from reid_stream.config.settings import Publish as PublishSettings
from reid_stream.events import (
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
)
from reid_stream.match.zone_stays import PlaceState, leave, move, see, stays
from reid_stream.match.zone_stays import entered as place_entered
from reid_stream.records import (
    Answer,
    CameraId,
    Confirmation,
    Decision,
    Erasing,
    Erasure,
    GlobalId,
    Merge,
    Naming,
    Observation,
    Retirement,
    Sighting,
    Split,
    TrackId,
)

_TRACK_S = 60.0
"""Time without observations after which a visit drops a track."""


class BestCrop(msgspec.Struct, frozen=True, array_like=True):
    """The crop of a visit that shows the person best."""

    run: str
    track: TrackId
    at: float
    """UTC seconds."""
    quality: float
    """[0, 1]."""


class _Visit(msgspec.Struct):
    """One identity on one camera."""

    sighting: Sighting
    """Latest sighting."""
    since: float
    last_at: float
    told_at: float
    """Time of the latest `entered` or `seen`."""
    tracks: dict[tuple[str, TrackId], float]
    """(run, track) -> last seen at."""
    best: "BestCrop | None" = None
    places: PlaceState = msgspec.field(default_factory=PlaceState)


class VisitState(msgspec.Struct, frozen=True):
    """A visit, serialised."""

    sighting: Sighting
    since: float
    last_at: float
    told_at: float
    tracks: list[tuple[str, TrackId, float]]
    """(run, track, last seen at)."""
    best: BestCrop | None = None
    places: PlaceState | None = None
    """Zones and lines; None where the camera has none."""


class Presence:
    """Visits of one site; not thread-safe."""

    def __init__(self, settings: PublishSettings, state: Sequence[VisitState] = ()) -> None:
        """Start without visits, or with those of an earlier `state`."""
        self.settings = settings
        """In use."""
        self._places = _places(settings)
        self._visits: dict[tuple[GlobalId, CameraId], _Visit] = {
            (kept.sighting.person, kept.sighting.observation.camera): _Visit(
                kept.sighting,
                kept.since,
                kept.last_at,
                kept.told_at,
                {(run, track): at for run, track, at in kept.tracks},
                kept.best,
                kept.places or PlaceState(),
            )
            for kept in state
        }

    def state(self) -> list[VisitState]:
        """Return the current visits, in the order in which they were first published."""
        return [
            VisitState(
                visit.sighting,
                visit.since,
                visit.last_at,
                visit.told_at,
                [(run, track, at) for (run, track), at in visit.tracks.items()],
                visit.best,
                visit.places if visit.places.zones or visit.places.lines else None,
            )
            for visit in self._visits.values()
        ]

    def change_settings(self, settings: PublishSettings) -> list[Event]:
        """Use other settings from now on; return the ends of stays in zones that no longer exist."""
        before, after = self._places, _places(settings)
        self.settings, self._places = settings, after
        none = CameraPlaces()
        return [
            event
            for (_, camera), visit in self._visits.items()
            for event in move(visit.places, before.get(camera, none), after.get(camera, none), visit.sighting)
        ]

    @property
    def people(self) -> int:
        """Number of identities in view."""
        return len({person for person, _ in self._visits})

    def present(self) -> dict[CameraId, set[GlobalId]]:
        """Return the identities in view by camera; cameras without any are left out."""
        cameras: dict[CameraId, set[GlobalId]] = {}
        for person, camera in self._visits:
            cameras.setdefault(camera, set()).add(person)
        return cameras

    def update(self, decisions: Sequence[Decision], now: float) -> list[Event]:
        """Return the events of decisions, in their order, then a `left` for each visit over by `now` (UTC seconds)."""
        events: list[Event] = []
        for decision in decisions:
            match decision:
                case Sighting():
                    events += self._see(decision)
                case Confirmation():
                    events.append(_confirmed(decision))
                case Merge():
                    events += self._merge(decision)
                case Split():
                    events += self._split(decision)
                case Retirement():
                    events += self._leave_all(decision.person)
                    events.append(_retired(decision))
                case Erasing():
                    events += self._leave_all(decision.person)
                case Naming() | Erasure() | Answer():
                    events.append(_answered(decision))
        return events + self.tick(now)

    def tick(self, now: float) -> list[Event]:
        """Return a `left` for each visit over by `now` (UTC seconds), after those of its zones."""
        over = [key for key, visit in self._visits.items() if now - visit.last_at >= self.settings.left_after_s]
        return [event for key in over for event in self._leave(key)]

    def close(self) -> list[Event]:
        """End all visits, as the daemon stops, and return a `left` for each."""
        return [event for key in list(self._visits) for event in self._leave(key)]

    def _see(self, sighting: Sighting) -> list[Event]:
        events: list[Event] = []
        seen = sighting.observation
        key = (sighting.person, seen.camera)
        visit = self._visits.get(key)
        if visit is not None and seen.seen_at - visit.last_at >= self.settings.left_after_s:
            events += self._leave(key)
            visit = None
        if visit is None:
            visit = _Visit(sighting, seen.seen_at, seen.seen_at, seen.seen_at, {})
            self._visits[key] = visit
            events += [_entered(sighting, seen.seen_at), *self._see_places(visit, sighting)]
        else:
            is_new = (seen.run, seen.track) not in visit.tracks
            is_late = seen.seen_at < visit.last_at
            if not is_late:
                visit.sighting, visit.last_at = sighting, seen.seen_at
                if seen.seen_at - visit.told_at >= self.settings.seen_interval_s:
                    visit.told_at, is_new = seen.seen_at, True
            if is_new:
                events.append(_seen(sighting, visit.since))
            if not is_late:
                events += self._see_places(visit, sighting)
        if seen.vector is not None and (visit.best is None or seen.quality > visit.best.quality):
            visit.best = BestCrop(seen.run, seen.track, seen.seen_at, seen.quality)
        visit.tracks[seen.run, seen.track] = max(seen.seen_at, visit.tracks.get((seen.run, seen.track), seen.seen_at))
        if len(visit.tracks) > 1:
            visit.tracks = {t: at for t, at in visit.tracks.items() if visit.last_at - at < _TRACK_S}
        return events

    def _see_places(self, visit: _Visit, sighting: Sighting) -> list[Event]:
        places = self._places.get(sighting.observation.camera)
        return [] if places is None else [*see(visit.places, places, sighting, self.settings.zone_settle_s)]

    def _merge(self, merge: Merge) -> list[Event]:
        moved = [(camera, visit) for (person, camera), visit in self._visits.items() if person == merge.gone]
        events: list[Event] = [*self._leave_all(merge.gone)]
        events.append(
            IdentityMerged(
                person=merge.into,
                revision=merge.revision,
                previous=merge.gone,
                similarity=merge.similarity,
                probability=merge.probability,
                merged_at=merge.at,
                by=merge.by,
            )
        )
        if merge.label:
            named = IdentityNamed(
                person=merge.into, revision=merge.revision, label=merge.label, by=merge.by, named_at=merge.at
            )
            events.append(named)
        for camera, visit in moved:
            heir = self._visits.get((merge.into, camera))
            if heir is not None:
                heir.tracks |= visit.tracks
                if visit.best is not None and (heir.best is None or visit.best.quality > heir.best.quality):
                    heir.best = visit.best
                continue
            visit.sighting = replace(visit.sighting, person=merge.into, revision=merge.revision)
            self._visits[merge.into, camera] = visit
            events.append(_entered(visit.sighting, visit.since))
            events += [place_entered(visit.sighting, zone, since) for zone, since in stays(visit.places)]
        return events

    def _split(self, split: Split) -> list[Event]:
        events: list[Event] = []
        for index, (camera, run, track) in enumerate(split.tracks):
            visit = self._visits.get((split.person, camera))
            until = split.spans[index][1] if split.spans else None
            if visit is not None and (until is None or until > visit.tracks.get((run, track), until)):
                visit.tracks.pop((run, track), None)
                if visit.best is not None and (visit.best.run, visit.best.track) == (run, track):
                    visit.best = None
                if not visit.tracks:
                    events += self._leave((split.person, camera))
        events.append(
            IdentitySplit(
                person=split.person,
                revision=split.revision,
                into=split.into,
                tracks=split.tracks,
                split_at=split.at,
                spans=split.spans,
                by=split.by,
                into_revision=split.into_revision,
                into_state=split.into_state,
            )
        )
        return events

    def _leave_all(self, person: GlobalId) -> list[Event]:
        return [event for key in [key for key in self._visits if key[0] == person] for event in self._leave(key)]

    def _leave(self, key: tuple[GlobalId, CameraId]) -> list[Event]:
        visit = self._visits.pop(key)
        person, camera = key
        revision, clock = visit.sighting.revision, visit.sighting.observation.clock
        left = IdentityLeft(
            person=person,
            revision=revision,
            camera=camera,
            since=visit.since,
            last_seen_at=visit.last_at,
            clock=clock,
            state=visit.sighting.state,
            snapshot=_snapshot(camera, visit.best) if self.settings.snapshots else None,
        )
        return [*leave(visit.places, person, revision, camera, clock, visit.last_at), left]


def _places(settings: PublishSettings) -> dict[str, CameraPlaces]:
    return settings.places if isinstance(settings, PresenceSettings) else {}


def _snapshot(camera: CameraId, best: BestCrop | None) -> str | None:
    return None if best is None else f"{camera}/{best.run}/{best.track}/{round(best.at * 1000)}"


def _entered(sighting: Sighting, since: float) -> IdentityEntered:
    seen = sighting.observation
    return IdentityEntered(
        person=sighting.person,
        revision=sighting.revision,
        camera=seen.camera,
        track=seen.track,
        seen_at=seen.seen_at,
        clock=seen.clock,
        box=seen.box,
        frame_size=seen.frame_size,
        score=seen.score,
        state=sighting.state,
        similarity=sighting.similarity,
        probability=sighting.probability,
        model=seen.model,
        since=since,
        run=seen.run,
    )


def _seen(sighting: Sighting, since: float) -> IdentitySeen:
    return IdentitySeen(**msgspec.structs.asdict(_entered(sighting, since)))


def _confirmed(confirmation: Confirmation) -> IdentityConfirmed:
    seen: Observation = confirmation.observation
    return IdentityConfirmed(
        person=confirmation.person,
        revision=confirmation.revision,
        camera=seen.camera,
        track=seen.track,
        confirmed_at=confirmation.at,
    )


def _retired(retirement: Retirement) -> IdentityRetired:
    return IdentityRetired(
        person=retirement.person,
        revision=retirement.revision,
        reason=retirement.reason,
        last_seen_at=retirement.last_seen_at,
        retired_at=retirement.at,
    )


def _answered(decision: Naming | Erasure | Answer) -> Event:
    match decision:
        case Naming():
            return IdentityNamed(
                person=decision.person,
                revision=decision.revision,
                label=decision.label,
                by=decision.by,
                named_at=decision.at,
            )
        case Erasure():
            return IdentityErased(
                person=decision.person, revision=decision.revision, erased_at=decision.at, by=decision.by
            )
        case Answer():
            return InstructionAnswered(
                instruction=decision.instruction,
                do=decision.do,
                outcome=decision.outcome,
                text=decision.text,
                people=decision.people,
                by=decision.by,
                answered_at=decision.at,
            )
