"""The hot path, whole: frames in, events out, in two halves with one seam (pure).

    perceive: frames ─▶ detect ─▶ track ─▶ embed ─▶ Observation | TrackEnded
    identify:                                       └──────────▶ match ─▶ presence ─▶ events

`Perception` shares nothing between cameras, so it can run many times; `Identification` runs once per site.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from reid_stream.events import Event
from reid_stream.images import Picture, host
from reid_stream.records import (
    CameraId,
    Crop,
    Decision,
    Detections,
    Floats,
    Frame,
    Observation,
    Perceived,
    Pick,
    TrackEnded,
    TrackId,
    Tracks,
    pack_vector,
)

Detect = Callable[[Sequence[Frame]], list[Detections]]
"""Frames of several cameras in, people of each out."""
Follow = Callable[[CameraId, float, Detections], Tracks]
"""One camera's people in, the same with track numbers out; called with rising times."""
Embed = Callable[[Sequence[Picture]], Floats]
"""Crops in, unit vectors (n, d) out."""


Keep = Callable[[Sequence[Crop], Sequence[TrackEnded]], None]
"""Crops that were embedded in, and tracks that ended; called once per step."""

Select = Callable[[Frame, Tracks], list[Pick]]
"""Choose the tracks of a frame to embed; called once per frame, in order."""


@dataclass(slots=True)
class PerceiveCounts:
    """What perceive has done so far."""

    frames: int = 0
    detections: int = 0
    unassigned: int = 0
    crops: int = 0
    records: int = 0

    def add(self, found: Sequence[Detections], tracked: Sequence[Tracks], crops: int, records: int) -> None:
        """Count one step."""
        self.frames += len(found)
        self.detections += sum(len(boxes) for boxes in found)
        self.unassigned += sum(tracks.unassigned for tracks in tracked)
        self.crops += crops
        self.records += records

    def less(self, before: "PerceiveCounts") -> "PerceiveCounts":
        """What was done since these counts."""
        return PerceiveCounts(**{name: getattr(self, name) - getattr(before, name) for name in self.__slots__})

    def more(self, since: "PerceiveCounts") -> None:
        """Count what was done elsewhere."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(since, name))


@dataclass(slots=True)
class Perception:
    """Frames to observations; no state is shared between cameras."""

    run: str
    model: str
    """Hash of the embedder's bundle."""
    detect: Detect
    follow: Mapping[CameraId, Follow]
    select: Select
    embed: Embed
    keep: Keep | None = None
    """Takes the crops, where they are to be kept."""
    counts: PerceiveCounts = field(default_factory=PerceiveCounts)
    _sequence: dict[CameraId, int] = field(default_factory=dict)

    def step(self, frames: Sequence[Frame]) -> list[Perceived]:
        """Advance by one batch: at most one frame per camera, times rising within each camera."""
        return self.finish(frames, self.detect(frames))

    def finish(self, frames: Sequence[Frame], found: Sequence[Detections]) -> list[Perceived]:
        """Do what comes after detection; batches in order, while another thread may look for the next one's people."""
        tracked = [
            self.follow[frame.camera](frame.camera, frame.captured_at, boxes)
            for frame, boxes in zip(frames, found, strict=True)
        ]
        picks = [self.select(frame, tracks) for frame, tracks in zip(frames, tracked, strict=True)]
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

    def _next(self, camera: CameraId) -> int:
        sequence = self._sequence.get(camera, 0)
        self._sequence[camera] = sequence + 1
        return sequence


def _crop(pick: Pick, seen: Perceived) -> Crop:
    """Return what was cut out with what was observed of it; the observations of a frame come in the order of tracks."""
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


@dataclass(slots=True)
class Identification:
    """Observations to events; one a site."""

    match: Callable[[Sequence[Perceived], float], list[Decision]]
    present: Callable[[Sequence[Decision], float], list[Event]]

    def step(self, records: Sequence[Perceived], now: float) -> list[Event]:
        """Advance to `now` (UTC seconds) by the records of one batch, which may be none."""
        return self.present(self.match(records, now), now)
