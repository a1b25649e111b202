"""Calls that block inside FFmpeg, ended from outside.

FFmpeg asks a callback about ten times a second whether to give up, while it waits for a network. PyAV's callback
compares `time.monotonic()` with its timeout and offers no other way in, so the clock it asks is replaced by one that
leaps ahead on a thread that has been told to stop. Without this, stopping a camera that is being opened would take
its whole timeout. Should a later PyAV ask another clock, that is what happens again; a test would tell.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_LEAP_S = 1e9
_local = threading.local()
_installing = threading.Lock()


def is_stopped() -> bool:
    """Whether the camera of this thread was told to stop."""
    stop: threading.Event | None = getattr(_local, "stop", None)
    return stop is not None and stop.is_set()


class _Clock:
    """What PyAV uses of the module `time`."""

    @staticmethod
    def monotonic() -> float:
        if not is_stopped():
            return time.monotonic()
        # Later at every call: a call that begins after the stop would never be late against infinity.
        leaps: int = getattr(_local, "leaps", 0) + 1
        _local.leaps = leaps
        return _LEAP_S * leaps


@contextmanager
def interrupted_by(stop: threading.Event) -> Iterator[None]:
    """While the block runs, FFmpeg calls on this thread give up soon after `stop` is set (timeouts hold as before)."""
    from av.container import core

    with _installing:
        if getattr(core, "time", None) is time:
            core.time = _Clock  # type: ignore[attr-defined]
    _local.stop = stop
    try:
        yield
    finally:
        del _local.stop
