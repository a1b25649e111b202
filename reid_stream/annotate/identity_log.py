"""Identity of every box, corrections included: collects the matcher's decisions while files are replayed (pure)."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reid_stream.annotate.moment import BoxLabel
from reid_stream.records import Box, CameraId, Decision, Erasing, GlobalId, Merge, Naming, Sighting, Split, TrackId

GAP_S = 0.7
"""Longest gap between two boxes of a track, seconds, that is filled by interpolation."""
HOLD_S = 0.2
"""Time after the last box of a track, seconds, for which it is still shown: until the next frame would be used."""


@dataclass(slots=True)
class TrackPath:
    """Boxes of one track and the person they show; rows in order of time."""

    times: list[float] = field(default_factory=list)
    """UTC seconds."""
    boxes: list[Box] = field(default_factory=list)
    people: list[GlobalId] = field(default_factory=list)

    def add(self, at: float, box: Box, person: GlobalId) -> None:
        """Add a box."""
        row = len(self.times) if not self.times or at > self.times[-1] else bisect_right(self.times, at)
        self.times.insert(row, at)
        self.boxes.insert(row, box)
        self.people.insert(row, person)

    def at(self, at: float) -> tuple[Box, GlobalId] | None:
        """Return the box at a time, interpolated between two; None before the track, after it and in long gaps."""
        after = bisect_left(self.times, at)
        if after == len(self.times):
            return (self.boxes[-1], self.people[-1]) if at - self.times[-1] <= HOLD_S else None
        if self.times[after] == at:
            return self.boxes[after], self.people[after]
        if after == 0 or (gap := self.times[after] - self.times[after - 1]) > GAP_S:
            return None
        share = (at - self.times[after - 1]) / gap
        x1, y1, x2, y2 = (a + share * (b - a) for a, b in zip(self.boxes[after - 1], self.boxes[after], strict=True))
        return (x1, y1, x2, y2), self.people[after - 1 if share < 0.5 else after]


class IdentityLog:
    """Tracks of a replay with their identities as known at its end; `note` is a `DecisionListener`."""

    def __init__(self, labels: Mapping[GlobalId, str] | None = None) -> None:
        """`labels`: names of people, by global ID."""
        self._paths: dict[tuple[CameraId, str, TrackId], TrackPath] = {}
        self.labels = dict(labels or {})

    def note(self, decisions: Sequence[Decision], _now: float) -> None:
        """Follow the decisions of one step."""
        for decision in decisions:
            match decision:
                case Sighting():
                    seen = decision.observation
                    path = self._paths.setdefault((seen.camera, seen.run, seen.track), TrackPath())
                    path.add(seen.seen_at, seen.box, decision.person)
                case Merge():
                    for path in self._paths.values():
                        if decision.gone in path.people:
                            path.people = [decision.into if who == decision.gone else who for who in path.people]
                case Split():
                    self._split(decision)
                case Naming():
                    self.labels[decision.person] = decision.label
                case Erasing():
                    for key in [key for key, path in self._paths.items() if decision.person in path.people]:
                        del self._paths[key]

    def _split(self, split: Split) -> None:
        spans = split.spans or ((None, None),) * len(split.tracks)
        for key, (since, until) in zip(split.tracks, spans, strict=True):
            path = self._paths.get(key)
            if path is None:
                continue
            first = 0 if since is None else bisect_left(path.times, since)
            last = len(path.times) if until is None else bisect_left(path.times, until)
            for row in range(first, last):
                if path.people[row] == split.person:
                    path.people[row] = split.into

    def people(self) -> dict[GlobalId, set[CameraId]]:
        """Return all people who were seen, with their cameras."""
        found: dict[GlobalId, set[CameraId]] = {}
        for (camera, _, _), path in self._paths.items():
            for person in set(path.people):
                found.setdefault(person, set()).add(camera)
        return found

    def at(self, camera: CameraId, at: float) -> list[BoxLabel]:
        """Return the boxes of a camera at a time (UTC seconds), one per person: that of the newest track."""
        found: dict[GlobalId, BoxLabel] = {}
        for (where, _, _), path in self._paths.items():
            if where == camera and path.times[0] <= at and (box := path.at(at)) is not None:
                found[box[1]] = (box[0], box[1], self.labels.get(box[1], ""))
        return list(found.values())
