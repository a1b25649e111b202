"""Losses of events: logged once per change of state, and reported to subscribers by `daemon.dropped`.

Concurrency: not thread-safe; the sink's lock is held around every call.
"""

import time
from collections import Counter

import structlog

from reid_stream.events import DaemonDropped
from reid_stream.publish.spool_row import RANKS

_ANNOUNCE_S = 10.0
"""Between two reports while events are being dropped."""
_REASONS = {
    "stale": "another daemon took over the site before they were sent",
    "damaged": "the spool's file was damaged",
    "redis": "Redis came back without them",
    "disk": "the disk is full",
    "spool": "the spool is full",
}
_log = structlog.get_logger(__name__)


class LossReport:
    """Counts by cause and rank that subscribers do not know of yet."""

    def __init__(self) -> None:
        self.lost: Counter[str] = Counter()
        """Events lost other than for want of room, by cause: stale, damaged, redis."""
        self._unreported: dict[str, Counter[str]] = {}
        self._reported_at = float("-inf")
        self._full: Counter[str] = Counter()
        """Dropped for want of room since the spool became full."""
        self._full_at = 0.0

    @property
    def is_due(self) -> bool:
        """Return whether there is something to report, and the last report was long enough ago."""
        return bool(self._unreported) and time.monotonic() - self._reported_at >= _ANNOUNCE_S

    @property
    def is_open(self) -> bool:
        """Return whether there is something to report."""
        return bool(self._unreported)

    def add_lost(self, cause: str, counts: Counter[str]) -> None:
        """Note events that are lost."""
        if counts.total():
            self.lost[cause] += counts.total()
            self._add(cause, counts)
            _log.error("events_lost", cause=cause, reason=_REASONS[cause], **counts)

    def add_dropped(self, counts: Counter[str], *, is_on_disk: bool) -> None:
        """Note events that were dropped for want of room."""
        if not counts:
            return
        if not self._full:
            _log.error("spool_full", **counts)
        self._full += counts
        self._full_at = time.monotonic()
        self._add("spool" if is_on_disk else "disk", counts)

    def look(self, *, is_sent: bool) -> None:
        """Log that the spool has room again, once nothing waits in it or nothing was dropped for a while."""
        if self._full and (is_sent or time.monotonic() - self._full_at > _ANNOUNCE_S):
            _log.info("spool_has_room", **{f"dropped_{name}": count for name, count in self._full.items()})
            self._full = Counter()

    def events(self, run: str, now: float) -> list[DaemonDropped]:
        """Make the events that report what is not reported yet; `now` in UTC seconds."""
        unreported, self._unreported = self._unreported, {}
        self._reported_at = time.monotonic()
        return [
            DaemonDropped(run=run, told_at=now, reason=_REASONS[cause], **{name: counts[name] for name in RANKS})
            for cause, counts in unreported.items()
        ]

    def _add(self, cause: str, counts: Counter[str]) -> None:
        self._unreported.setdefault(cause, Counter()).update(counts)
