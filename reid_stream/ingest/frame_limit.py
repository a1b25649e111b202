"""Limit a source to its first frames, for benchmarks: the same amount of work in every run."""

from collections.abc import Mapping
from typing import Protocol

from reid_stream.ingest.stats import CameraStats
from reid_stream.records import CameraId, Frame


class FrameSource(Protocol):
    """A source of batches; see `runtime.interfaces`."""

    def start(self) -> None: ...
    def take_frames(self, timeout_s: float) -> list[Frame] | None: ...
    def stop(self) -> None: ...
    @property
    def stats(self) -> Mapping[CameraId, CameraStats]: ...
    @property
    def replaced(self) -> Mapping[CameraId, int]: ...


class FrameLimit:
    """A source that ends after `frames` frames of all cameras together, with the batch that reaches them."""

    def __init__(self, source: FrameSource, frames: int) -> None:
        self._source = source
        self._left = frames

    def start(self) -> None:
        """Open the cameras."""
        self._source.start()

    def take_frames(self, timeout_s: float) -> list[Frame] | None:
        """The next batch; None when enough have come."""
        if self._left <= 0:
            return None
        batch = self._source.take_frames(timeout_s)
        self._left -= len(batch or ())
        return batch

    def stop(self) -> None:
        """Close the cameras."""
        self._source.stop()

    @property
    def stats(self) -> Mapping[CameraId, CameraStats]:
        """Current state of each camera."""
        return self._source.stats

    @property
    def replaced(self) -> Mapping[CameraId, int]:
        """Frames that a newer one replaced, per camera."""
        return self._source.replaced
