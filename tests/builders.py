"""Builders of records and stand-ins for unit tests."""

import threading
from collections.abc import Callable, Sequence

import numpy as np

from reid_stream.events import Event
from reid_stream.images import Picture
from reid_stream.ingest.changes import CameraChange
from reid_stream.ingest.stats import CameraStats
from reid_stream.records import CameraId, Detections, Floats, Frame, Pick, TrackId, Tracks


def frame(camera: str, at: float, sequence: int = 0, size: tuple[int, int] = (64, 48)) -> Frame:
    """A black picture."""
    return Frame(CameraId(camera), sequence, at, "file", np.zeros((size[1], size[0], 3), np.uint8))


class OnePerson:
    """The stages of perceive for a world in which each camera always sees one person, track 1."""

    def __init__(self, dim: int = 8) -> None:
        self.vector = np.eye(1, dim, dtype=np.float32)[0]
        self.batches: list[int] = []

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        self.batches.append(len(frames))
        box = np.array([[4, 4, 20, 44]], np.float32)
        return [Detections(box, np.array([0.9], np.float32)) for _ in frames]

    def follow(self, camera: CameraId, seen_at: float, found: Detections) -> Tracks:
        return Tracks(camera, seen_at, found.boxes, found.scores, np.array([1]), 0, ())

    def select(self, frame: Frame, tracks: Tracks) -> list[Pick]:
        return [Pick(0, 0.8, frame.pixels[4:44, 4:20])]

    def embed(self, crops: Sequence[Picture]) -> Floats:
        return np.tile(self.vector, (len(crops), 1))


class Lost:
    """A follow stage whose only track ends at once."""

    def __call__(self, camera: CameraId, seen_at: float, found: Detections) -> Tracks:
        empty = np.zeros((0, 4), np.float32)
        return Tracks(camera, seen_at, empty, np.zeros(0, np.float32), np.zeros(0, np.int64), 1, (TrackId(1),))


class ListSource:
    """A source that gives the batches of a list, then ends."""

    def __init__(self, batches: Sequence[list[Frame]], then_wait: bool = False) -> None:
        self._batches = list(batches)
        self._then_wait = then_wait
        self.started = self.stopped = False
        self.stats: dict[CameraId, CameraStats] = {}
        self.replaced: dict[CameraId, int] = {}

    def open(self, on_change: Callable[[CameraChange], None]) -> "ListSource":
        """Report changes of cameras to `on_change`; a source of `PerceptionThread`."""
        self.on_change = on_change
        return self

    def start(self) -> None:
        self.started = True

    def take_frames(self, timeout_s: float) -> list[Frame] | None:
        if self._batches:
            return self._batches.pop(0)
        if self._then_wait:
            threading.Event().wait(min(timeout_s, 0.01))
            return []
        return None

    def stop(self) -> None:
        self.stopped = True


class ListSink:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = False
        self.state = (True, "ok")
        """Answer of `ready`."""

    def ready(self) -> tuple[bool, str]:
        return self.state

    def publish(self, events: Sequence[Event]) -> None:
        self.events.extend(events)

    def close(self, timeout_s: float) -> bool:
        self.closed = True
        return True
