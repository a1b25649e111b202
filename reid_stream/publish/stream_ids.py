"""Where an event stands on the stream: `<milliseconds>-<n>`, never decreasing, fixed before it is sent (pure).

A position that is fixed beforehand makes a retry harmless: Redis refuses to add an entry at or below its last one, so
an event whose answer got lost is found already stored instead of being stored twice.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Self

_LAST_N = 2**64 - 1
_ENTRY = re.compile(r"(\d{1,20})(?:-(\d{1,20}))?")
# Milliseconds since 1970 need 41 bits until 2039 and 43 bits for two centuries more; a signed 64-bit key has room for
# 2^20.
_N_BITS = 20


class Position(NamedTuple):
    """A Redis stream entry ID; compares as Redis compares."""

    ms: int
    """Milliseconds, UTC, of when the event was handed over; not of its capture."""
    n: int
    """Counts the entries of one millisecond, from 0."""

    def __str__(self) -> str:
        return f"{self.ms}-{self.n}"

    @property
    def key(self) -> int:
        """The same as one integer with the same order, for the spool."""
        return self.ms << _N_BITS | self.n

    @classmethod
    def from_key(cls, key: int) -> Self:
        """Undo `key`."""
        return cls(key >> _N_BITS, key & ((1 << _N_BITS) - 1))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `<ms>-<n>` or `<ms>`.

        Raises:
            ValueError: it is neither.
        """
        found = _ENTRY.fullmatch(text)
        if found is None:
            raise ValueError(f"a stream position must be '<milliseconds>-<n>', got {text!r}")
        return cls(int(found[1]), int(found[2] or 0))


NOWHERE = Position(0, 0)
"""Before the first entry of every stream."""


@dataclass(slots=True)
class Positions:
    """Gives out positions that never decrease, whatever the clock does."""

    last: Position = NOWHERE

    def next(self, now: float) -> Position:
        """Fix the position of one more event; `now` is UTC seconds."""
        ms = max(int(now * 1000), self.last.ms)
        n = self.last.n + 1 if ms == self.last.ms else 0
        if n >> _N_BITS:
            ms, n = ms + 1, 0
        self.last = Position(ms, n)
        return self.last

    def stay_above(self, taken: Position) -> None:
        """Give out nothing at or below `taken` any more."""
        # An ID of another writer may count further within its millisecond than a key has room for.
        self.last = max(self.last, taken if not taken.n >> _N_BITS else Position(taken.ms + 1, 0))


def start_of(text: str) -> Position:
    """Read where to start: `0`, a position, or a time in ISO 8601 (UTC where it names no zone).

    Reading goes on *after* the position returned, so a time is turned into the last position before it.

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
    return Position(max(int(at.timestamp() * 1000) - 1, 0), _LAST_N)
