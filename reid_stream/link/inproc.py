"""A link within one process: a bounded queue of batches.

Batches are not split or joined, so that a replay gives the same decisions whatever the timing of threads.
"""

import threading
from collections import deque
from collections.abc import Sequence

from reid_stream.link.protocol import MAX_WAITING, LinkClosedError
from reid_stream.records import Perceived


class InprocLink:
    """Both ends; any number of threads may send."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        """`max_waiting` counts records; a batch is taken whole once there is any room."""
        self._max_waiting = max_waiting
        self._batches: deque[list[Perceived]] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._is_closed = False

    def send(self, batch: Sequence[Perceived]) -> None:
        """Send records; waits while the link is full.

        Raises:
            LinkClosedError: the link is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._waiting < self._max_waiting)
            if self._is_closed:
                raise LinkClosedError("the link is closed")
            if batch:
                self._batches.append(list(batch))
                self._waiting += len(batch)
            self._changed.notify_all()

    def receive(self, timeout_s: float) -> list[Perceived]:
        """Return the next batch, whole; empty after `timeout_s`, or at once when closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._batches, timeout_s)
            taken = self._batches.popleft() if self._batches else []
            self._waiting -= len(taken)
            self._changed.notify_all()
            return taken

    def acknowledge(self) -> None:
        """Do nothing: a crash ends both sides."""

    def close(self) -> None:
        """Close; what was sent can still be received."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
