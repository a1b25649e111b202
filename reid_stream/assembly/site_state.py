"""State of a site: identities and visits, the way of its events, and what was opened for them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reid_stream.match.matcher import Matcher
from reid_stream.match.presence import Presence
from reid_stream.runtime.interfaces import Sink

if TYPE_CHECKING:
    from reid_stream.journal.lease import Lease
    from reid_stream.journal.recorder import JournalPosition
    from reid_stream.journal.snapshot_writer import SnapshotWriter
    from reid_stream.publish.redis_sink import RedisSink


@dataclass(frozen=True, slots=True)
class OpenJournal:
    """Position at which a `JournalRecorder` continues."""

    sink: "RedisSink"
    writer: "SnapshotWriter"
    position: "JournalPosition"
    check: Callable[[], None]
    """Raises where another daemon has taken over the site."""


@dataclass(frozen=True, slots=True)
class SiteState:
    """Identities and visits of a site, and the way of its events."""

    matcher: Matcher
    presence: Presence
    sink: Sink
    """Destination of all events."""
    redis: "RedisSink | None"
    """The sink to Redis; None where events go elsewhere."""
    journal: OpenJournal | None
    """The journal; None where the state ends with the process."""
    redis_name: str
    """Address of Redis without secrets."""
    embedded_url: str | None
    """URL of the embedded Redis, with secrets; None for another Redis."""
    check: Callable[[], None] = lambda: None
    """Raises where another daemon has taken over the site."""
    lease: "Lease | None" = None
    """Lease on the site; None where no other daemon can claim it."""
