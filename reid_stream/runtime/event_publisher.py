"""Publish the daemon's events, one thread at a time; count them and the steps they come from."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from reid_stream.events import DaemonHeartbeat, DaemonStarted, DaemonStopped, Event
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.observe.metrics import Metrics
from reid_stream.records import CameraId, Perceived
from reid_stream.runtime.interfaces import EventFollower, Sink, SiteIdentification

_LATENCIES = 1000
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class DaemonProgress:
    """Work of a daemon so far; the live table reads it while the daemon runs."""

    started_at: float
    """UTC seconds."""
    frames: dict[CameraId, int] = field(default_factory=dict)
    """Frames that perception has finished, by camera."""
    events: int = 0
    newest_event_at: float = 0.0
    """When the newest event about people or cameras happened, UTC seconds."""
    first_event_s: float | None = None
    """Seconds from the start to the first event about a person."""
    latencies_s: list[float] = field(default_factory=list)
    """Seconds from capture to event, the latest thousand; live cameras only."""


class EventPublisher:
    """The only way from the daemon to its sink; thread-safe."""

    def __init__(self, sink: Sink, metrics: Metrics, view: EventFollower, progress: DaemonProgress) -> None:
        self._sink, self._metrics, self._view, self._progress = sink, metrics, view, progress
        self._publishing = threading.Lock()
        self._is_over = False
        """`daemon.stopped` is the last event: a camera that ends after it is covered by it."""

    def publish(self, events: Iterable[Event], timeout_s: float = -1) -> bool:
        """Publish events that belong to no step of identification.

        False if another thread has been publishing for longer than `timeout_s`, so that it must hang in the sink.
        """
        sent = list(events)
        return not sent or self._send(sent, self._sink.publish, timeout_s)

    def commit(self, identification: SiteIdentification, events: Sequence[Event], timeout_s: float = -1) -> bool:
        """Commit a step of identification with its events, which may be none; False as above."""
        return self._send(events, identification.commit, timeout_s)

    def _send(self, events: Sequence[Event], send: Callable[[Sequence[Event]], None], timeout_s: float) -> bool:
        if not self._publishing.acquire(timeout=timeout_s):
            _log.error("publish_blocked", events=len(events))
            return False
        try:
            if self._is_over:
                return True
            send(events)
            self._is_over = any(isinstance(event, DaemonStopped) for event in events)
            if events:
                with self._metrics.monitoring.part("event counts"):
                    self._follow(events)
        finally:
            self._publishing.release()
        with self._metrics.monitoring.part("event counts"):
            for event in events:
                self._metrics.events.labels(event.type).inc()
        return True

    def _follow(self, events: Sequence[Event]) -> None:
        self._view.follow(events)
        self._progress.events += len(events)
        happened = [event.at for event in events if not isinstance(event, DaemonStarted | DaemonStopped)]
        self._progress.newest_event_at = max(self._progress.newest_event_at, *happened, 0.0)


class StepFigures:
    """Counts each step and measures live latency; used by the identification thread."""

    def __init__(
        self, identification: SiteIdentification, metrics: Metrics, progress: DaemonProgress, clock: SiteClock
    ) -> None:
        self._identification, self._metrics, self._progress, self._clock = identification, metrics, progress, clock

    def count(self, events: Sequence[Event], records: Sequence[Perceived], *, is_live: bool) -> None:
        """Count a step whose events were published."""
        with self._metrics.monitoring.part("identity figures"):
            self._metrics.observations.inc(len(records))
            self._metrics.identities.set(self._identification.gallery_size)
            self._metrics.people.set(self._identification.people_in_view)
        if not events:
            return
        with self._metrics.monitoring.part("latency"):
            now = self._clock.now()
            if self._progress.first_event_s is None:
                self._progress.first_event_s = now - self._progress.started_at
            if records and is_live:
                latency = now - max(record.seen_at for record in records)
                self._metrics.latency.observe(latency)
                self._progress.latencies_s.append(latency)
                del self._progress.latencies_s[:-_LATENCIES]


class Heartbeat:
    """Makes a `daemon.heartbeat` event at intervals; used by the identification thread."""

    def __init__(self, identification: SiteIdentification, metrics: Metrics, run: str, every_s: float) -> None:
        self._identification, self._metrics, self._run, self._every_s = identification, metrics, run, every_s
        self._last_at: float | None = None

    def due_events(self, now: float, cameras_up: int) -> list[DaemonHeartbeat]:
        """Return an event if one is due at `now`, UTC seconds; the first is due after one interval."""
        if self._last_at is None:
            self._last_at = now
        if now - self._last_at < self._every_s:
            return []
        self._last_at = now
        events = []
        with self._metrics.monitoring.part("heartbeat"):
            people, gallery = self._identification.people_in_view, self._identification.gallery_size
            events.append(
                DaemonHeartbeat(run=self._run, told_at=now, people=people, gallery=gallery, cameras_up=cameras_up)
            )
        return events
