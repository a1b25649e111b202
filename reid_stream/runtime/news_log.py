"""Log lines for cameras that come and go, and for overload."""

from typing import assert_never

import structlog

from reid_stream.events import CameraChanged, CameraDown, CameraUp, DaemonOverloaded, DaemonRecovered
from reid_stream.ingest.changes import CameraChange

_log = structlog.get_logger(__name__)


def log_camera(change: CameraChange) -> None:
    """Log that a camera came up, changed or went down."""
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
        case CameraDown():
            _log.warning("camera_down", camera=change.camera, reason=change.reason)
        case _:
            assert_never(change)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def log_overload(news: DaemonOverloaded | DaemonRecovered) -> None:
    """Log the beginning or the end of an overload."""
    if isinstance(news, DaemonOverloaded):
        _log.warning("overload_began", wanted_fps=news.wanted_fps, used_fps=news.used_fps, slowest=news.slowest)
    else:
        _log.info("overload_over", after_s=news.after_s)
