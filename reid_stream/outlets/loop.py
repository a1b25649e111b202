"""Read the event stream until a signal, and store the position."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from reid_stream.outlets.bookmark import Bookmark
from reid_stream.publish.event_check import is_sound
from reid_stream.publish.subscribe import Received, Subscription

_KEEP_S = 1.0
"""Shortest interval between two writes of the position while events flow, seconds."""


class Outlet(Protocol):
    """Passes events on."""

    def deliver(self, event: Received) -> bool:
        """Pass an event on; return True once it has arrived, False if the outlet is stopped before."""
        ...

    def settle(self) -> bool:
        """Wait until everything that was delivered has arrived; False where it has not."""
        ...


def run(
    outlet: Outlet,
    subscription: Subscription,
    bookmark: Bookmark,
    stop: threading.Event,
    on_idle: Callable[[], None] = lambda: None,
) -> None:
    """Pass events on until `stop` is set; `subscription` must end after a moment without events.

    `on_idle` is called whenever there is nothing to read.
    """
    if bookmark.position is None:
        # An outlet that is killed before its first event resumes here, not at a later position.
        bookmark.put(subscription.position)
    kept_at, last = time.monotonic(), bookmark.position

    def keep() -> None:
        nonlocal kept_at
        if last is not None and outlet.settle():
            bookmark.put(last)
            kept_at = time.monotonic()

    try:
        while not stop.is_set():
            for event in subscription:
                if is_sound(event) and not outlet.deliver(event):
                    return
                last = event.position
                if time.monotonic() - kept_at > _KEEP_S:
                    keep()
                if stop.is_set():
                    return
            # Events that the outlet does not take need not be read again either.
            last = subscription.position
            keep()
            on_idle()
    finally:
        keep()


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM or Ctrl-C sets."""
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
