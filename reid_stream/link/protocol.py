"""Interface of all links: they carry records from perception to identification, in order and without loss.

A full link makes `send` wait, which slows perception down, so that the inbox replaces older frames by newer ones: only
there are frames lost, and counted. A sender or receiver is used by one thread; any thread may call `close`.
"""

from collections.abc import Sequence
from typing import Protocol

from reid_stream.records import Perceived

MAX_WAITING = 10_000
"""Records in the link from which on a sender waits: one second of 200 cameras with 10 people at 5 frames/s."""


class LinkClosedError(Exception):
    """The link was closed before or during a send."""


class ReadFence(Protocol):
    """Condition of every read from Redis: this receiver has the site; `journal.lease.Lease`."""

    key: str

    def holds(self, value: bytes | None) -> None:
        """Check the key's value.

        Raises:
            BrokerError: nothing may be read.
        """
        ...


class Sender(Protocol):
    """Perception's end."""

    def send(self, batch: Sequence[Perceived]) -> None:
        """Send records; waits while the link is full.

        Raises:
            LinkClosedError: the link is closed.
        """
        ...

    def close(self) -> None:
        """Close; what was sent is still delivered."""
        ...


class Receiver(Protocol):
    """Identification's end."""

    def receive(self, timeout_s: float) -> list[Perceived]:
        """Return the records that have come, in each camera's order; empty after `timeout_s` or when closed."""
        ...

    def acknowledge(self) -> None:
        """Mark all received records as processed, so that they do not come again after a crash."""
        ...

    def close(self) -> None:
        """Close; records not received or acknowledged stay on a link that can keep them."""
        ...
