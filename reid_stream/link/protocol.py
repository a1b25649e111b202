"""What every link does: carry records from perceive to identify, in order, without loss.

A full link makes `send` wait, so perceive slows down and the door of ingest lets older frames go: losses happen there,
where they are counted, and nowhere else. A sender or a receiver belongs to one thread; `close` may come from another.
"""

from collections.abc import Sequence
from typing import Protocol

from reid_stream.records import Perceived

MAX_WAITING = 10_000
"""Records on the way before a sender waits: 200 cameras with 10 people at 5 frames/s, for a second."""


class LinkClosedError(Exception):
    """The link was closed while, or before, something was sent."""


class Sender(Protocol):
    """Perceive's end."""

    def send(self, batch: Sequence[Perceived]) -> None:
        """Hand over records; waits while the link is full.

        Raises:
            LinkClosedError: the link is closed.
        """
        ...

    def close(self) -> None:
        """Let what was sent go its way, then end."""
        ...


class Receiver(Protocol):
    """Identify's end."""

    def receive(self, timeout_s: float) -> list[Perceived]:
        """Take what has come, in each camera's order; empty after `timeout_s` or when closed."""
        ...

    def acknowledge(self) -> None:
        """Say that all that was received is dealt with and need not come again after a crash."""
        ...

    def close(self) -> None:
        """End; what was not received or acknowledged stays on the link where it can."""
        ...
