"""What became of the events that a sink was given."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class SinkCounters:
    """Events so far, by outcome."""

    accepted: int = 0
    """Handed to `publish`, and what an earlier run had left in the spool."""
    published: int = 0
    """On the stream."""
    found: int = 0
    """Of these, already there when tried again."""
    resent: int = 0
    """Delivered again because Redis came back without them."""
    moved: int = 0
    """Given a new position, since another writer had passed the first one."""
    faults: Counter[str] = field(default_factory=Counter)
    """Attempts that failed, by cause."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Lost for want of room, by rank (spool_row.py)."""
    lost: Counter[str] = field(default_factory=Counter)
    """Lost otherwise, by cause: stale, damaged, redis."""
