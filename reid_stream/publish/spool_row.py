"""Rows of the spool: an event or an entry of the journal, its priority, and the lease it was decided under (pure)."""

from typing import NamedTuple, Self

from reid_stream.events import EVENT_TYPES, PREFIX
from reid_stream.publish.stream_ids import Position

RANKS = ("liveness", "operation", "journal", "identity")
"""Priorities, lowest first. A lost event is lost for all subscribers; an entry of the journal is missing only if the
daemon crashes."""
_JOURNAL = "journal:"


class Row(NamedTuple):
    """An event as it waits."""

    position: Position
    rank: int
    """Index in RANKS."""
    type: str
    """CloudEvents type; `journal:` and the key of the stream for an entry of the journal."""
    body: bytes
    """CloudEvents JSON, or an entry as `journal.entry` writes it."""

    @property
    def journal(self) -> str | None:
        """Key of the journal that this is an entry of; none for an event."""
        return self.type.removeprefix(_JOURNAL) if self.type.startswith(_JOURNAL) else None

    @classmethod
    def entry(cls, position: Position, key: str, body: bytes) -> Self:
        """Make an entry of the journal `key`."""
        return cls(position, RANKS.index("journal"), entry_type(key), body)


class Epoch(NamedTuple):
    """One holding of a site's lease."""

    lease: str
    """Key of the lease."""
    token: str
    """Unique name of this holding."""
    seen: tuple[str, ...]
    """Tokens of the earlier holdings that Redis knows of, the latest last; empty where it knows none."""


def entry_type(key: str) -> str:
    """Return the type of the rows that are entries of the journal `key`."""
    return _JOURNAL + key


_PRIORITIES = {event.type: event.priority for event in EVENT_TYPES}


def rank_of(kind: str) -> int:
    """Return the rank of an event type (CloudEvents or short), an index in RANKS; unknown types are `operation`."""
    return RANKS.index(_PRIORITIES.get(kind.removeprefix(PREFIX), "operation"))
