"""Log lines for cameras that come and go, and for overload."""

import structlog

from reid_stream.events import CameraDown, CameraUp, DaemonOverloaded, DaemonRecovered

_log = structlog.get_logger(__name__)


def log_camera(change: CameraUp | CameraDown) -> None:
    """Log a camera's change of state."""
    if isinstance(change, CameraUp):
        size = "x".join(map(str, change.frame_size))
        _log.info("camera_up", camera=change.camera, size=size, codec=change.codec, clock=change.clock)
    else:
        _log.warning("camera_down", camera=change.camera, reason=change.reason)


def log_overload(news: DaemonOverloaded | DaemonRecovered) -> None:
    """Log the beginning or the end of an overload."""
    if isinstance(news, DaemonOverloaded):
        _log.warning("overload_began", wanted_fps=news.wanted_fps, used_fps=news.used_fps, slowest=news.slowest)
    else:
        _log.info("overload_over", after_s=news.after_s)
