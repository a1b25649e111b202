"""Boxes that an event stream published, as first published and after its corrections (pure)."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from reid_stream.evaluation.align import Boxes
from reid_stream.events import Event, IdentityEntered, IdentityMerged, IdentitySeen, IdentitySplit
from reid_stream.records import CameraId, TrackId

Seen = IdentityEntered | IdentitySeen


@dataclass(frozen=True, slots=True)
class Timeline:
    """Capture times of a camera's frames."""

    first_at: float
    """UTC seconds of frame 1."""
    fps: float

    def frame(self, at: float) -> int:
        """Return the number, from 1, of the frame taken at `at`."""
        return round((at - self.first_at) * self.fps) + 1

    def at(self, frame: int) -> float:
        """Return the capture time of a frame in UTC seconds."""
        return self.first_at + (frame - 1) / self.fps


@dataclass(frozen=True, slots=True)
class StreamBoxes:
    """The same boxes under several sets of names."""

    at_once: dict[str, Boxes]
    """Boxes under the global ID in each event: the view of a subscriber that ignores corrections."""
    in_the_end: dict[str, Boxes]
    """Boxes after all merges and splits: the view of a subscriber that applies corrections."""
    by_track: dict[str, Boxes]
    """Boxes under (camera, track) as the name."""


class CurrentNames:
    """Current global IDs, for a subscriber that applies corrections.

    The sightings of one track under one global ID, without a correction in between, are a *stretch*. Corrections rename
    stretches in the order in which they arrive, so that successive splits and merges compose. A correction of a part of
    a track divides its stretch into two or three.
    """

    def __init__(self) -> None:
        self.now: list[str] = []
        """Current global ID of each stretch."""
        self._times: list[tuple[float, float]] = []
        """Span [since, until) of each stretch within its track."""
        self._parts: list[list[int]] = []
        """Stretches into which each was divided."""
        self._latest: dict[tuple[CameraId, TrackId, str], int] = {}
        self._of: dict[str, set[int]] = defaultdict(set)
        """Global ID -> stretches that have it now."""
        self._on: dict[tuple[CameraId, TrackId], set[int]] = defaultdict(set)
        """Track -> its stretches."""

    def see(self, event: Seen) -> int:
        """Add a sighting and return its stretch."""
        key = (event.camera, event.track, str(event.person))
        stretch = self._latest.get(key)
        if stretch is None or self.now[stretch] != event.person or self._parts[stretch]:
            stretch = self._latest[key] = self._new(str(event.person), (-inf, inf), (event.camera, event.track))
        return stretch

    def of(self, stretch: int, at: float) -> str:
        """Return the current global ID of the sighting at time `at` in a stretch."""
        for part in self._parts[stretch]:
            since, until = self._times[part]
            if since <= at < until:
                return self.of(part, at)
        return self.now[stretch]

    def correct(self, event: IdentityMerged | IdentitySplit) -> None:
        """Apply a merge or split to earlier stretches."""
        if isinstance(event, IdentityMerged):
            self._rename(self._of.pop(event.previous, set()), event.person)
            return
        spans = event.spans or ((None, None),) * len(event.tracks)
        for (camera, _, track), (since, until) in zip(event.tracks, spans, strict=True):
            for stretch in sorted(self._of[event.person] & self._on[camera, track]):
                moved = self._part(stretch, (camera, track), since, until)
                self._of[event.person] -= moved
                self._rename(moved, event.into)

    def _new(self, name: str, times: tuple[float, float], track: tuple[CameraId, TrackId]) -> int:
        self.now.append(name)
        self._times.append(times)
        self._parts.append([])
        self._of[name].add(len(self.now) - 1)
        self._on[track].add(len(self.now) - 1)
        return len(self.now) - 1

    def _part(
        self, stretch: int, track: tuple[CameraId, TrackId], since: float | None, until: float | None
    ) -> set[int]:
        """Return the stretch, or the part of it that lies within [since, until)."""
        first, last = self._times[stretch]
        low, high = max(first, -inf if since is None else since), min(last, inf if until is None else until)
        if low >= high:
            return set()
        if (low, high) == (first, last):
            return {stretch}
        name = self.now[stretch]
        pieces = [(a, b) for a, b in ((first, low), (low, high), (high, last)) if a < b]
        self._parts[stretch] = [self._new(name, piece, track) for piece in pieces]
        self._of[name].discard(stretch)
        return {part for part in self._parts[stretch] if self._times[part] == (low, high)}

    def _rename(self, stretches: set[int], name: str) -> None:
        for stretch in stretches:
            self.now[stretch] = str(name)
        self._of[name] |= stretches


def boxes_of(events: Iterable[Event], cameras: Mapping[str, Timeline]) -> StreamBoxes:
    """Collect the boxes of `identity.entered` and `identity.seen`, one per person, camera and frame.

    If a correction repeats a frame of a track under another name, the first one counts as published at once.
    """
    names = CurrentNames()
    seen: dict[tuple[CameraId, int, TrackId], tuple[Seen, int]] = {}
    for event in events:
        match event:
            case IdentityEntered() | IdentitySeen():
                stretch = names.see(event)
                seen.setdefault(
                    (event.camera, cameras[event.camera].frame(event.seen_at), event.track), (event, stretch)
                )
            case IdentityMerged() | IdentitySplit():
                names.correct(event)
    rows = [(camera, frame, event, stretch) for (camera, frame, _), (event, stretch) in seen.items()]
    return StreamBoxes(
        at_once=_boxes(cameras, [(c, frame, str(event.person), event) for c, frame, event, _ in rows]),
        in_the_end=_boxes(
            cameras, [(c, frame, names.of(stretch, event.seen_at), event) for c, frame, event, stretch in rows]
        ),
        by_track=_boxes(cameras, [(c, frame, (c, event.track), event) for c, frame, event, _ in rows]),
    )


def _boxes(cameras: Iterable[str], rows: Sequence[tuple[str, int, Hashable, Seen]]) -> dict[str, Boxes]:
    found: dict[str, dict[tuple[int, Hashable], tuple[float, float, float, float]]] = {camera: {} for camera in cameras}
    for camera, frame, name, event in rows:
        found[camera][frame, name] = event.box
    return {
        camera: Boxes(
            np.asarray([frame for frame, _ in here], dtype=np.int64),
            tuple(name for _, name in here),
            np.asarray(list(here.values()), dtype=np.float64).reshape(-1, 4),
        )
        for camera, here in found.items()
    }
