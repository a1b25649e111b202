"""Publish the daemon's events, one thread at a time, and count them."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from reid_stream.events import DaemonStarted, DaemonStopped, Event
from reid_stream.observe.metrics import Metrics
from reid_stream.records import CameraId
from reid_stream.runtime.interfaces import EventFollower, Sink, SiteIdentification

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
