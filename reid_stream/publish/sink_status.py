"""State of the sink to Redis: events by outcome, the present outage with its retries, losses and their reports.

Concurrency: not thread-safe; the sink's lock is held around every call but those of `Outage`, which its sender makes.
"""

import math
import random
import time
from collections import Counter
from dataclasses import dataclass, field

import structlog

from reid_stream.config import stopping
from reid_stream.config.backoff import RetryPolicy
from reid_stream.events import DaemonDropped
from reid_stream.publish.redis_client import cause
from reid_stream.publish.spool_row import RANKS

RETRY_FIRST_S, RETRY_MAX_S = 0.1, 2.0
"""First and longest full wait between attempts to send, seconds."""
_ANNOUNCE_S = 10.0
"""Interval of reports while events are being dropped, seconds."""
_REASONS = {
    "stale": "another daemon took over the site before they were sent",
    "damaged": "the spool's file was damaged",
    "redis": "Redis came back without them",
    "disk": "the disk is full",
    "spool": "the spool is full",
}
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class SinkCounters:
    """Events so far, by outcome."""

    accepted: int = 0
    """Handed to `publish`, and what an earlier run had left in the spool."""
    published: int = 0
    """Events on the stream."""
    found: int = 0
    """Events among these that were already there at a retry."""
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


class Outage:
    """The present outage of Redis, if there is one."""

    def __init__(self, faults: Counter[str]) -> None:
        """`faults`: counts attempts that failed, by cause."""
        self.reason: str | None = None
        """Why Redis does not serve; none while it does."""
        self._faults = faults
        self._logged: set[str] = set()
        self._retry = RetryPolicy(RETRY_FIRST_S, RETRY_MAX_S, random.Random().random, reset_s=0.0)
        self._serves_since = math.inf

    def add_fault(self, error: BaseException, *, waiting: int) -> None:
        """Note an attempt that failed while `waiting` events waited."""
        self.reason = cause(error)
        # Details in brackets are too many for a label.
        short = self.reason.partition(" (")[0]
        self._faults[short] += 1
        if short not in self._logged:
            # While the daemon is stopping, an embedded Redis may have been signalled with it.
            log = _log.info if stopping.is_requested() else _log.warning
            log("redis_away", reason=self.reason, waiting=waiting)
        self._logged.add(short)

    def next_wait_s(self) -> float:
        """Return the seconds to wait after an attempt that failed."""
        worked_s = max(0.0, time.monotonic() - self._serves_since)
        self._serves_since = math.inf
        return self._retry.next_wait_s(worked_s)

    def end(self, *, waiting: int) -> None:
        """Note that Redis serves."""
        if self.reason is not None:
            _log.info("redis_back", waiting=waiting)
        self.reason = None
        self._serves_since = min(self._serves_since, time.monotonic())
        self._logged.clear()


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

    def log_room(self, *, is_sent: bool) -> None:
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
