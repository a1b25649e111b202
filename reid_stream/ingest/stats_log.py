"""Log conditions of a camera's stream that users should know, once each."""

import time
from collections.abc import Mapping

import structlog

from reid_stream.ingest.stats import CameraStats
from reid_stream.ingest.stream import KEY_WAIT_S
from reid_stream.records import CameraId

KEY_NEWS_S = 5.0
"""Wait for a key frame after which it is logged, seconds; most cameras send one every second or two."""

_log = structlog.get_logger(__name__)


class StatsLog:
    """Compares the cameras' stats with those of the last call."""

    def __init__(self) -> None:
        self._waiting: set[CameraId] = set()
        self._assumed: dict[CameraId, float] = {}
        self._without_detail: dict[CameraId, str] = {}

    def log_changes(self, all_stats: Mapping[CameraId, CameraStats]) -> None:
        """Log the changes."""
        for camera, stats in all_stats.items():
            waited_s = time.time() - stats.since
            if stats.waits_for != "key frame":
                self._waiting.discard(camera)
            elif camera not in self._waiting and waited_s >= KEY_NEWS_S:
                self._waiting.add(camera)
                _log.warning(
                    "camera_waits_for_key_frame", camera=camera, waited_s=round(waited_s, 1), limit_s=KEY_WAIT_S
                )
            if stats.assumed_fps is not None and self._assumed.get(camera) != stats.assumed_fps:
                self._assumed[camera] = stats.assumed_fps
                _log.info("camera_pace_assumed", camera=camera, fps=round(stats.assumed_fps, 3))
            before = self._without_detail.get(camera, "")
            if stats.detail_fault != before:
                self._without_detail[camera] = stats.detail_fault
                if stats.detail_fault:
                    _log.warning("camera_main_stream_lost", camera=camera, reason=stats.detail_fault)
                else:
                    _log.info("camera_main_stream_back", camera=camera)
