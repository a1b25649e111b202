"""Publish the changes of cameras: up, down, changed."""

from collections import deque
from typing import assert_never

import msgspec
import structlog

from reid_stream.events import CameraChanged, CameraDown, CameraUp
from reid_stream.ingest.changes import CameraChange
from reid_stream.observe.logs import scrub
from reid_stream.observe.metrics import Metrics
from reid_stream.records import CameraId
from reid_stream.runtime.event_publisher import EventPublisher

_IN_ORDER = ("stopped", "the file has ended")
"""Reasons of cameras that end as they should."""
_log = structlog.get_logger(__name__)


class CameraReports:
    """Publishes changes of live cameras at once, and those of a replay between the same records in every run."""

    def __init__(self, publisher: EventPublisher, metrics: Metrics, *, is_live: bool) -> None:
        self._publisher, self._metrics, self._is_live = publisher, metrics, is_live
        self._up: set[CameraId] = set()
        self._waiting: deque[tuple[int, CameraChange]] = deque()
        """Changes of a replay's cameras, each with the batches to finish before it."""

    @property
    def up(self) -> int:
        """Cameras that deliver frames."""
        return len(self._up)

    def forget(self, camera: CameraId) -> None:
        """Drop a camera that was removed."""
        self._up.discard(camera)

    def report(self, change: CameraChange, after: int) -> None:
        """Publish a change; in a replay once identification has finished `after` batches."""
        if self._is_live:
            self._publish(change)
        else:
            self._waiting.append((after, change))

    def report_due(self, finished: int | None = None) -> None:
        """Publish a replay's changes that are due after `finished` batches, or all of them."""
        while self._waiting and (finished is None or self._waiting[0][0] <= finished):
            self._publish(self._waiting.popleft()[1])

    def _publish(self, change: CameraChange) -> None:
        if isinstance(change, CameraDown):
            change = msgspec.structs.replace(change, reason=scrub(change.reason))
        is_up = not isinstance(change, CameraDown)
        (self._up.add if is_up else self._up.discard)(change.camera)
        with self._metrics.monitoring.part("camera figures"):
            self._metrics.camera_up.labels(change.camera).set(is_up)
            _log_change(change)
        self._publisher.publish([change])


def _log_change(change: CameraChange) -> None:
    match change:
        case CameraUp():
            size = _size(change.frame_size)
            _log.info("camera_up", camera=change.camera, size=size, codec=change.codec, clock=change.clock)
        case CameraChanged():
            _log.info(
                "camera_changed",
                camera=change.camera,
                size=_size(change.frame_size),
                codec=change.codec,
                clock=change.clock,
                previous_size=_size(change.previous_frame_size),
                previous_codec=change.previous_codec,
                previous_clock=change.previous_clock,
            )
        case CameraDown() if change.reason in _IN_ORDER:
            _log.info("camera_down", camera=change.camera, reason=change.reason)
        case CameraDown():
            _log.warning("camera_down", camera=change.camera, reason=change.reason)
        case _:
            assert_never(change)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
