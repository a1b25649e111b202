"""Interrupt calls that block inside FFmpeg.

While FFmpeg waits for a network, it asks a callback about ten times a second whether to stop waiting. PyAV's callback
compares `time.monotonic()` with its timeout and offers no other hook, so its clock is replaced by one that leaps ahead
on a thread whose camera was asked to stop, or whose call is past its limit. Without this, stopping a camera that is
being opened would take its whole timeout. A test fails should a later PyAV use another clock.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_LEAP_S = 1e9
_local = threading.local()
_installing = threading.Lock()


def is_stopped() -> bool:
    """Whether the camera of this thread was asked to stop."""
    stop: threading.Event | None = getattr(_local, "stop", None)
    return stop is not None and stop.is_set()


class _Clock:
    """The part of the module `time` that PyAV uses."""

    @staticmethod
    def monotonic() -> float:
        now = time.monotonic()
        if not is_stopped() and now < getattr(_local, "until", float("inf")):
            return now
        # Later at every call: a call that starts after the stop would never be late compared with infinity.
        leaps: int = getattr(_local, "leaps", 0) + 1
        _local.leaps = leaps
        return _LEAP_S * leaps


@contextmanager
def interrupted_by(stop: threading.Event) -> Iterator[None]:
    """While the block runs, let FFmpeg calls on this thread end soon after `stop` is set (timeouts hold as before)."""
    from av.container import core

    with _installing:
        if getattr(core, "time", None) is time:
            core.time = _Clock  # type: ignore[attr-defined]
    _local.stop = stop
    try:
        yield
    finally:
        del _local.stop


@contextmanager
def limited_to(limit_s: float | None) -> Iterator[None]:
    """While the block runs, end FFmpeg calls on this thread after `limit_s` seconds in all; None for no limit.

    Holds within `interrupted_by`.
    """
    if limit_s is not None:
        _local.until = time.monotonic() + limit_s
    try:
        yield
    finally:
        _local.until = float("inf")
