"""Figures of identification's steps: metrics, latency, heartbeat."""

from collections.abc import Sequence

from reid_stream.events import DaemonHeartbeat, Event
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.observe.metrics import Metrics
from reid_stream.records import Perceived
from reid_stream.runtime.event_publisher import DaemonProgress
from reid_stream.runtime.interfaces import SiteIdentification

_LATENCIES = 1000


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
