"""Positions of events on the stream: `<milliseconds>-<n>`, never decreasing, fixed before an event is sent (pure).

A position that is fixed beforehand makes a retry harmless: Redis refuses to add an entry at or below its last one, so
an event whose reply got lost is found already stored instead of being stored twice.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Self

_LAST = 2**64 - 1
"""Largest value of either half of an ID in Redis."""
_ENTRY = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")


class Position(NamedTuple):
    """A Redis stream entry ID: two unsigned 64-bit numbers; compares as Redis compares."""

    ms: int
    """Milliseconds since 1970, UTC, at which the event was handed over; not its capture time."""
    n: int
    """Counts the entries of one millisecond, from 0."""

    def __str__(self) -> str:
        return f"{self.ms}-{self.n}"

    @property
    def key(self) -> str:
        """Fixed-width text with the same order, for the spool's index."""
        return f"{self.ms:020d}-{self.n:020d}"

    @property
    def is_last(self) -> bool:
        """Too close to the largest ID: Redis accepts next to nothing behind it."""
        return self.ms == _LAST and self.n > _LAST - 2**32

    def after(self) -> Self:
        """Return the next position."""
        return type(self)(self.ms, self.n + 1) if self.n < _LAST else type(self)(self.ms + 1, 0)

    def before(self) -> Self:
        """Return the previous position; that of `NOWHERE` is itself."""
        if self.n:
            return type(self)(self.ms, self.n - 1)
        return type(self)(self.ms - 1, _LAST) if self.ms else self

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `<ms>-<n>` or `<ms>`, zeros in front or not.

        Raises:
            ValueError: it is neither, or a number does not fit into 64 bits.
        """
        found = _ENTRY.fullmatch(text)
        if found is None or max(int(found[1]), int(found[2] or 0)) > _LAST:
            raise ValueError(f"a stream position must be '<milliseconds>-<n>' of 64 bits each, got {text!r:.60}")
        return cls(int(found[1]), int(found[2] or 0))


NOWHERE = Position(0, 0)
"""Position before the first entry of every stream."""


@dataclass(slots=True)
class Positions:
    """Gives out positions that never decrease, whatever the clock does."""

    last: Position = NOWHERE

    def next(self, now: float) -> Position:
        """Return the position of the next event; `now` is UTC seconds."""
        ms = max(int(now * 1000), 0)
        self.last = Position(ms, 0) if ms > self.last.ms else self.last.after()
        return self.last

    def stay_above(self, taken: Position) -> None:
        """Give out nothing at or below `taken` from now on; one that nothing can follow is left alone."""
        if not taken.is_last:
            self.last = max(self.last, taken)


def start_of(text: str) -> Position:
    """Read a start: `0`, a position, or a time in ISO 8601 (UTC where it names no zone).

    Reading continues *after* the position returned, so a time is turned into the last position before it.

    Raises:
        ValueError: it is none of these.
    """
    try:
        return Position.parse(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"a start must be 0, $, a stream position such as 1700000000000-0 or an ISO time, got {text!r}"
        ) from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return Position(max(int(at.timestamp() * 1000) - 1, 0), _LAST)
