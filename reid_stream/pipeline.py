"""Pipeline from frames to events in two steps, perception and identification (pure).

    Perception.step:     frames ─▶ (gate) ─▶ detect ─▶ track ─▶ embed ─▶ Observation | TrackEnded
    Identification.step:                                                 └──────────▶ match ─▶ presence ─▶ events

`Perception` shares nothing between cameras, so it can run in several processes; `Identification` runs once per site.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ParamSpec, Protocol, TypeVar

import numpy as np

from reid_stream.config.settings import Publish
from reid_stream.detect.followed import NO_TRACKS, Followed
from reid_stream.events import Event
from reid_stream.images import Picture, host
from reid_stream.instructions import Instruction
from reid_stream.match.matcher import Matcher
from reid_stream.match.presence import Presence
from reid_stream.records import (
    CameraId,
    Crop,
    Decision,
    Detections,
    Floats,
    Frame,
    GlobalId,
    Observation,
    Perceived,
    Pick,
    TrackEnded,
    TrackId,
    Tracks,
    pack_vector,
)

P = ParamSpec("P")
R = TypeVar("R")

Detect = Callable[[Sequence[Frame]], list[Detections]]
"""Frames of several cameras to the people in each."""
Gate = Callable[[Sequence[Frame], Mapping[CameraId, Followed]], list[Frame | None]]
"""A batch, and what is followed by camera, to what to detect people in of each frame: perhaps limited, or None."""
Attend = Callable[[CameraId, bool], None]
"""Takes a camera and whether its next image is wanted although nothing moves."""
Follow = Callable[[CameraId, float, Detections], Tracks]
"""One camera's detections to tracks; called with increasing times (UTC seconds)."""
NewFollow = Callable[[int], Follow]
"""Makes the tracker of one camera, whose track numbers start at the given one."""
Embed = Callable[[Sequence[Picture]], Floats]
"""n crops to unit vectors (n, d)."""
Keep = Callable[[Sequence[Crop], Sequence[TrackEnded]], None]
"""Takes the embedded crops and the ended tracks of one step."""
Select = Callable[[Frame, Tracks], list[Pick]]
"""Choose the tracks of a frame to embed; called once per frame, in order."""


@dataclass(slots=True)
class PerceiveCounts:
    """Work of perception so far."""

    frames: int = 0
    gated: int = 0
    """Frames among them that the gate kept from the detector."""
    limited: int = 0
    """Frames among them that people were detected in regions of."""
    predicted: int = 0
    """Gated frames with people in view, who were predicted."""
    detections: int = 0
    unassigned: int = 0
    crops: int = 0
    records: int = 0

    def add(self, found: Sequence[Detections | None], tracked: Sequence[Tracks], crops: int, records: int) -> None:
        """Count one step."""
        self.frames += len(found)
        self.gated += sum(boxes is None for boxes in found)
        self.detections += sum(len(boxes) for boxes in found if boxes is not None)
        self.unassigned += sum(tracks.unassigned for tracks in tracked)
        self.crops += crops
        self.records += records

    def less(self, before: "PerceiveCounts") -> "PerceiveCounts":
        """Return the difference to earlier counts."""
        return PerceiveCounts(**{name: getattr(self, name) - getattr(before, name) for name in self.__slots__})

    def more(self, since: "PerceiveCounts") -> None:
        """Add the counts of another process."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(since, name))


@dataclass(slots=True)
class Perception:
    """Frames to observations; no state is shared between cameras."""

    run: str
    model: str
    """Hash of the embedder's bundle."""
    detect: Detect
    follow: dict[CameraId, Follow]
    select: Select
    embed: Embed
    keep: Keep | None = None
    """Stores crops; None where they are not stored."""
    gate: Gate | None = None
    """Chooses what to detect people in; None for all frames."""
    attend: Attend = lambda *_: None
    """Called for the camera of each frame once it is finished."""
    counts: PerceiveCounts = field(default_factory=PerceiveCounts)
    new_follow: NewFollow | None = None
    """Makes the tracker of a camera that is added; None where cameras do not change."""
    forget: Callable[[CameraId], None] | None = None
    """Drops what other stages keep of a camera that is removed."""
    _sequence: dict[CameraId, int] = field(default_factory=dict)
    _followed: dict[CameraId, Followed] = field(default_factory=dict)
    _seen_at: dict[CameraId, float] = field(default_factory=dict)
    """Capture time of each camera's newest frame, UTC seconds."""
    _next_track: dict[CameraId, int] = field(default_factory=dict)
    """Numbers of tracks are not used again if a camera is removed and added."""

    def change_cameras(self, added: Collection[CameraId], removed: Collection[CameraId]) -> list[Perceived]:
        """Follow people on further cameras, and on some no longer; between two batches, none of which is in progress.

        Returns:
            The ends of the removed cameras' open tracks.
        """
        ended = [
            TrackEnded(
                run=self.run,
                camera=camera,
                track=track,
                sequence=self._next(camera),
                seen_at=self._seen_at.get(camera, 0.0),
            )
            for camera in removed
            for track in sorted(map(TrackId, self._followed.pop(camera, NO_TRACKS).ids.tolist()))
        ]
        for camera in removed:
            self.follow.pop(camera, None)
            self._seen_at.pop(camera, None)
            if self.forget is not None:
                self.forget(camera)
        for camera in added:
            if camera not in self.follow and self.new_follow is not None:
                self.follow[camera] = self.new_follow(self._next_track.get(camera, 0))
        if ended and self.keep is not None:
            self.keep([], ended)
        self.counts.records += len(ended)
        return list[Perceived](ended)

    def step(self, frames: Sequence[Frame]) -> list[Perceived]:
        """Process one batch: at most one frame per camera, times increasing within each camera."""
        return self.finish(frames, detect_chosen(self.detect, self.choose(frames)))

    def choose(self, frames: Sequence[Frame]) -> list[Frame | None]:
        """Return what to detect people in of each frame of a batch, None for nothing; batches in order."""
        if self.gate is None:
            return list(frames)
        chosen = self.gate(frames, self._followed)
        self.counts.limited += sum(frame is not None and frame.regions is not None for frame in chosen)
        return chosen

    def finish(self, frames: Sequence[Frame], found: Sequence[Detections | None]) -> list[Perceived]:
        """Track and embed a detected batch; batches in order, while another thread may detect in the next one.

        Args:
            frames: of the batch.
            found: people of each frame; None where the gate kept the frame from the detector.
        """
        tracked = [self._track(frame, boxes) for frame, boxes in zip(frames, found, strict=True)]
        picks = [
            self.select(frame, tracks if boxes is not None else _ended(tracks))
            for frame, tracks, boxes in zip(frames, tracked, found, strict=True)
        ]
        crops = [pick.crop for chosen in picks for pick in chosen]
        vectors = iter(self.embed(crops) if crops else ())
        records: list[Perceived] = []
        kept: list[Crop] = []
        for frame, tracks, chosen in zip(frames, tracked, picks, strict=True):
            fresh = {pick.index: (pick.quality, pack_vector(next(vectors))) for pick in chosen}
            seen = self._observe(frame, tracks, fresh)
            records.extend(seen)
            if self.keep is not None:
                kept.extend(_crop(pick, seen[pick.index]) for pick in chosen)
        if self.keep is not None:
            self.keep(kept, [record for record in records if isinstance(record, TrackEnded)])
        self.counts.add(found, tracked, len(crops), len(records))
        return records

    def _observe(self, frame: Frame, tracks: Tracks, fresh: Mapping[int, tuple[float, bytes]]) -> list[Perceived]:
        records: list[Perceived] = []
        for index in range(len(tracks)):
            quality, vector = fresh.get(index, (0.0, None))
            x1, y1, x2, y2 = (round(float(edge), 2) for edge in tracks.boxes[index])
            records.append(
                Observation(
                    run=self.run,
                    camera=frame.camera,
                    track=TrackId(int(tracks.ids[index])),
                    sequence=self._next(frame.camera),
                    seen_at=frame.captured_at,
                    clock=frame.clock,
                    box=(x1, y1, x2, y2),
                    frame_size=frame.size,
                    score=min(1.0, max(0.0, round(float(tracks.scores[index]), 4))),
                    quality=quality,
                    vector=vector,
                    model=self.model,
                )
            )
        records.extend(
            TrackEnded(
                run=self.run,
                camera=frame.camera,
                track=track,
                sequence=self._next(frame.camera),
                seen_at=frame.captured_at,
            )
            for track in tracks.ended
        )
        return records

    def _track(self, frame: Frame, found: Detections | None) -> Tracks:
        """Follow the people of a frame; where none were to be detected, predict those in view."""
        camera, now = frame.camera, frame.captured_at
        self._seen_at[camera] = now
        followed = self._followed.get(camera, NO_TRACKS)
        if found is None and followed.is_in_view(now):
            self.counts.predicted += 1
            return followed.predicted(camera, now, frame.size)
        if found is None and followed.unconfirmed:
            # No evidence against a person whom only the next detection can confirm: without this, one who stands
            # still would be found at every full look, and forgotten at the frame after it.
            return NO_TRACKS.predicted(camera, now, frame.size)
        people = NO_ONE if found is None else found
        tracks = self.follow[camera](camera, now, people)
        self._followed[camera] = followed = followed.after(tracks, people)
        self.attend(camera, followed.wants_look)
        if len(tracks):
            self._next_track[camera] = max(self._next_track.get(camera, 0), int(tracks.ids.max()) + 1)
        return tracks

    def _next(self, camera: CameraId) -> int:
        sequence = self._sequence.get(camera, 0)
        self._sequence[camera] = sequence + 1
        return sequence


def detect_chosen(detect: Detect, chosen: Sequence[Frame | None]) -> list[Detections | None]:
    """Return the people of the chosen frames of a batch, None for the others; no call of `detect` for none."""
    due = [frame for frame in chosen if frame is not None]
    found = iter(detect(due) if due else ())
    return [next(found) if frame is not None else None for frame in chosen]


def _ended(tracks: Tracks) -> Tracks:
    """Return the tracks' ends alone: nothing is cut out of a frame in which boxes are predicted."""
    none = np.empty((0, 4), np.float32)
    return Tracks(tracks.camera, tracks.seen_at, none, none[:, 0], np.empty(0, np.int64), 0, tracks.ended)


NO_ONE = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32))


def _crop(pick: Pick, seen: Perceived) -> Crop:
    """Join a crop with its observation; the observations of a frame are in the order of its tracks."""
    assert isinstance(seen, Observation)
    return Crop(
        camera=seen.camera,
        run=seen.run,
        track=seen.track,
        at=seen.seen_at,
        clock=seen.clock,
        box=seen.box,
        quality=pick.quality,
        image=host(pick.crop),
        vector=seen.vector,
        model=seen.model,
    )


class StageWrapper(Protocol):
    """Wraps the function of a stage, e.g. to time its calls."""

    def __call__(self, stage: str, call: Callable[P, R], /) -> Callable[P, R]:
        """Return a function that does the same."""
        ...


def unwrapped(_stage: str, call: Callable[P, R], /) -> Callable[P, R]:
    """Return the stage itself; a `StageWrapper`."""
    return call


DecisionListener = Callable[[Sequence[Decision], float], None]
"""Called with the decisions of each step and its time, UTC seconds, before they become events."""


class Identification:
    """Observations and operator instructions to events; one per site, called from one thread."""

    def __init__(
        self,
        matcher: Matcher,
        presence: Presence,
        *,
        listeners: Sequence[DecisionListener] = (),
        stage: StageWrapper = unwrapped,
    ) -> None:
        """`stage` wraps the stages "match" and "presence"."""
        self.matcher, self.presence = matcher, presence
        self._listeners = listeners
        self._match = stage("match", self._decide)
        self._present = stage("presence", presence.update)

    def step(self, records: Sequence[Perceived], now: float, instructions: Sequence[Instruction] = ()) -> list[Event]:
        """Advance to `now` (UTC seconds) by one batch of records, which may be empty, after the instructions."""
        return self._present(self._match(records, now, instructions), now)

    def change_presence(self, settings: Publish) -> list[Event]:
        """Use other settings of visits, zones and lines from the next step on; return the ends that this causes."""
        return self.presence.change_settings(settings)

    def finish(self) -> list[Event]:
        """End all visits."""
        return self.presence.close()

    def _decide(self, records: Sequence[Perceived], now: float, instructions: Sequence[Instruction]) -> list[Decision]:
        decisions = [decision for instruction in instructions for decision in self.matcher.instruct(instruction, now)]
        decisions += self.matcher.update(records, now)
        for listener in self._listeners:
            listener(decisions, now)
        return decisions

    @property
    def gallery_size(self) -> int:
        """Identities that can be matched."""
        return len(self.matcher)

    @property
    def people_in_view(self) -> int:
        """Identities in view of any camera."""
        return self.presence.people

    def in_view(self) -> Mapping[CameraId, Collection[GlobalId]]:
        """Identities in view, by camera."""
        return self.presence.present()
