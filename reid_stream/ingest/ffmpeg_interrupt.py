"""Calls that block inside FFmpeg, ended from outside.

FFmpeg asks a callback about ten times a second whether to give up, while it waits for a network. PyAV's callback
compares `time.monotonic()` with its timeout and offers no other way in, so the clock it asks is replaced by one that
reads infinity on a thread that has been told to stop. Without this, stopping a camera that is being opened would take
its whole timeout. Should a later PyAV ask another clock, that is what happens again; a test would tell.
"""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_local = threading.local()
_installing = threading.Lock()


class _Clock:
    """What PyAV uses of the module `time`."""

    @staticmethod
    def monotonic() -> float:
        stop: threading.Event | None = getattr(_local, "stop", None)
        return math.inf if stop is not None and stop.is_set() else time.monotonic()


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
