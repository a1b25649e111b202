"""Detect that the machine is too slow for its cameras."""

import time
from collections.abc import Mapping, Sequence

import structlog

from reid_stream.config.settings import Camera
from reid_stream.events import DaemonOverloaded, DaemonRecovered
from reid_stream.ingest.camera_set import wanted_fps
from reid_stream.ingest.overload_alarm import OverloadAlarm
from reid_stream.observe.metrics import Metrics
from reid_stream.records import CameraId
from reid_stream.runtime.interfaces import PerceptionRunner

_log = structlog.get_logger(__name__)


class OverloadWatch:
    """Turns the start and the end of an overload into events; used by one thread."""

    def __init__(self, alarm: OverloadAlarm | None, metrics: Metrics) -> None:
        """`alarm`: None for a replay, which is never overloaded."""
        self._alarm, self._metrics = alarm, metrics

    def change_cameras(self, cameras: Sequence[Camera]) -> None:
        """Expect the frames of these cameras from now on."""
        if self._alarm is not None:
            self._alarm.change_cameras({CameraId(camera.id): wanted_fps(camera) for camera in cameras})

    def due_events(
        self, perception: PerceptionRunner, frames: Mapping[CameraId, int]
    ) -> list[DaemonOverloaded | DaemonRecovered]:
        """Return an event if an overload has started or ended since the last call.

        Args:
            perception: knows the state of each camera.
            frames: frames of each that perception has finished since the start.
        """
        if self._alarm is None:
            return []
        change = None
        with self._metrics.monitoring.part("overload"):
            change = self._alarm.update(time.monotonic(), time.time(), perception.stats, frames)
            if change is not None:
                self._metrics.overloaded.set(isinstance(change, DaemonOverloaded))
                _log_change(change)
        return [change] if change is not None else []


def _log_change(change: DaemonOverloaded | DaemonRecovered) -> None:
    if isinstance(change, DaemonOverloaded):
        _log.warning("overload_began", wanted_fps=change.wanted_fps, used_fps=change.used_fps, slowest=change.slowest)
    else:
        _log.info("overload_over", after_s=change.after_s)
