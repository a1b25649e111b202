"""Current presence for outlets that show a state: from the live keys at the start, then from events (pure).

Unlike `SiteView` it needs no history, and it names every camera, daemon and person whose state an event changed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from reid_stream.events import (
    CameraDown,
    CameraUp,
    DaemonStarted,
    DaemonStopped,
    Event,
    IdentityEntered,
    IdentityErased,
    IdentityLeft,
    IdentityMerged,
    IdentityNamed,
    IdentityRetired,
    IdentitySeen,
)
from reid_stream.publish.cloudevents import UnknownEvent
from reid_stream.records import CameraId, GlobalId


@dataclass(frozen=True, slots=True)
class Changed:
    """Cameras, people and daemon state changed by an event."""

    cameras: frozenset[CameraId] = frozenset()
    people: frozenset[GlobalId] = frozenset()
    """Named people, including those who lost their name."""
    is_daemon: bool = False


_NOTHING = Changed()


@dataclass(slots=True)
class PresenceBoard:
    """Cameras with the people in view, and the people who have a name."""

    up: dict[CameraId, bool | None] = field(default_factory=dict)
    """Whether each camera delivers frames; None before the first event about it."""
    here: dict[CameraId, set[GlobalId]] = field(default_factory=dict)
    names: dict[GlobalId, str] = field(default_factory=dict)
    last: dict[GlobalId, CameraId] = field(default_factory=dict)
    """Camera that saw a named person last."""
    is_running: bool = True
    """Whether the daemon runs, according to the events."""

    @classmethod
    def of(
        cls, cameras: Iterable[CameraId], people: Iterable[tuple[GlobalId, str, Iterable[CameraId], CameraId | None]]
    ) -> "PresenceBoard":
        """Make a board from the live keys: (global ID, name, cameras in view, last camera) of each person."""
        board = cls(dict.fromkeys(cameras), {camera: set() for camera in cameras})
        for person, name, here, last in people:
            for camera in here:
                board._camera(camera).add(person)
            if name:
                board.names[person] = name
                if last is not None:
                    board.last[person] = last
        return board

    def where(self, person: GlobalId) -> list[CameraId]:
        """Return the cameras that see a person now."""
        return sorted(camera for camera, people in self.here.items() if person in people)

    def apply(self, event: Event | UnknownEvent) -> Changed:
        """Take the next event; return what it changed."""
        match event:
            case IdentityEntered() | IdentitySeen():
                return self._see(event.camera, event.person)
            case IdentityLeft():
                return self._leave(event.camera, event.person)
            case IdentityNamed():
                return self._name(event.person, event.label)
            case IdentityMerged():
                return self._name(event.previous, "")
            case IdentityErased() | IdentityRetired():
                return self._forget(event.person)
            case CameraUp() | CameraDown():
                self._camera(event.camera)
                self.up[event.camera] = isinstance(event, CameraUp)
                return Changed(frozenset({event.camera}))
            case DaemonStarted() | DaemonStopped():
                return self._restart(event)
            case _:
                return _NOTHING

    def _camera(self, camera: CameraId) -> set[GlobalId]:
        self.up.setdefault(camera, None)
        return self.here.setdefault(camera, set())

    def _see(self, camera: CameraId, person: GlobalId) -> Changed:
        is_new_camera = camera not in self.here
        people = self._camera(camera)
        if person in people and not is_new_camera:
            return _NOTHING
        people.add(person)
        if person in self.names:
            self.last[person] = camera
            return Changed(frozenset({camera}), frozenset({person}))
        return Changed(frozenset({camera}))

    def _leave(self, camera: CameraId, person: GlobalId) -> Changed:
        self._camera(camera).discard(person)
        return Changed(frozenset({camera}), frozenset({person} & self.names.keys()))

    def _name(self, person: GlobalId, name: str) -> Changed:
        if name:
            self.names[person] = name
            cameras = self.where(person)
            if cameras:
                self.last[person] = cameras[0]
            return Changed(frozenset(cameras), frozenset({person}))
        self.last.pop(person, None)
        return Changed(people=frozenset({person})) if self.names.pop(person, None) is not None else _NOTHING

    def _forget(self, person: GlobalId) -> Changed:
        cameras = frozenset(self.where(person))
        for camera in cameras:
            self.here[camera].discard(person)
        return Changed(cameras, self._name(person, "").people)

    def _restart(self, event: DaemonStarted | DaemonStopped) -> Changed:
        self.is_running = isinstance(event, DaemonStarted)
        before = set().union(*self.here.values())
        if isinstance(event, DaemonStarted):
            for camera in event.cameras:
                self._camera(camera)
        self.here = {camera: set() for camera in self.here}
        for camera, person in event.in_view if isinstance(event, DaemonStarted) else ():
            self._camera(camera).add(person)
        people = before.union(*self.here.values()) & self.names.keys()
        return Changed(frozenset(self.here), frozenset(people), is_daemon=True)
