"""Log of delivered events by position and rank, to count what is lost when Redis comes back without its data.

Exact for the latest few thousand transactions, which Redis has whole or not at all; further back the log is thinned,
and an answer counts at most one interval of the thinned log too much (pure).
"""

from bisect import bisect_right
from collections.abc import Iterable

from reid_stream.publish.stream_ids import NOWHERE, Position

Counts = tuple[int, ...]
"""One number per rank of `spool.RANKS`."""
_IN_MEMORY = 8192
KEPT = 512
"""Checkpoints that the spool keeps on disk."""


class DeliveryLog:
    """Cumulative counts of delivered events at positions of the stream."""

    def __init__(self, ranks: int, known: Iterable[tuple[Position, Counts]] = ()) -> None:
        """`known`: checkpoints of an earlier run, in order."""
        self._zero: Counts = (0,) * ranks
        self._log: list[tuple[Position, Counts]] = list(known)

    @property
    def total(self) -> Counts:
        """Events delivered so far."""
        return self._log[-1][1] if self._log else self._zero

    @property
    def last(self) -> Position:
        """Position of the latest checkpoint."""
        return self._log[-1][0] if self._log else NOWHERE

    def add(self, position: Position, counts: Iterable[int]) -> None:
        """Note that `counts` more events, up to `position`, were delivered."""
        total = tuple(a + b for a, b in zip(self.total, counts, strict=True))
        if self._log and position <= self._log[-1][0]:
            self._log[-1] = (self._log[-1][0], total)
        else:
            self._log.append((position, total))
        if len(self._log) > _IN_MEMORY:
            self._log = thinned(self._log)

    def since(self, position: Position, most: int) -> Counts:
        """Count the events delivered behind `position`, of the latest `most` ones only."""
        place = bisect_right(self._log, position, key=lambda entry: entry[0])
        base = self._log[place - 1][1] if place else self._zero
        floor = sum(self.total) - most
        if sum(base) < floor:
            base = next(counts for _, counts in self._log if sum(counts) >= floor)
        return tuple(a - b for a, b in zip(self.total, base, strict=True))

    def forget_behind(self, position: Position) -> None:
        """Drop the entries behind `position`: their events are delivered again, or lost."""
        del self._log[bisect_right(self._log, position, key=lambda entry: entry[0]) :]


def thinned(entries: list[tuple[Position, Counts]]) -> list[tuple[Position, Counts]]:
    """Return every second one of the older half and all of the newer half."""
    middle = len(entries) // 2
    return entries[:middle:2] + entries[middle:]
