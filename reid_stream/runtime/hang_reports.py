"""Report stages that hung: log, metrics, event."""

from typing import Literal

import structlog

from reid_stream.events import DaemonStalled
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.observe.metrics import Metrics
from reid_stream.runtime.event_publisher import EventPublisher
from reid_stream.runtime.watchdog import HungStage

_PUBLISH_S = 1.0
_log = structlog.get_logger(__name__)


class HangReports:
    """Reports hung stages, and remembers those whose threads live as long as the process."""

    def __init__(self, publisher: EventPublisher, metrics: Metrics, clock: SiteClock, run: str) -> None:
        self._publisher, self._metrics, self._clock, self._run = publisher, metrics, clock, run
        self.abandoned: list[HungStage] = []
        """Hung calls in threads of this process, which cannot be ended."""

    def report(self, stuck: HungStage, action: Literal["restarted", "ended"], *, is_ours: bool) -> None:
        """Report a hung stage; `is_ours`: in this process."""
        _log.error("stage_stuck", stage=stuck.stage, after_s=round(stuck.after_s, 1), action=action)
        if is_ours:
            self.abandoned.append(stuck)
        with self._metrics.monitoring.part("stuck stages"):
            self._metrics.stage_stuck.labels(stuck.stage, action).inc()
            for camera in stuck.cameras:
                self._metrics.frames_stuck.labels(camera).inc()
        stalled = DaemonStalled(
            run=self._run,
            told_at=self._clock.utc(),
            stage=stuck.stage,
            after_s=round(stuck.after_s, 3),
            action=action,
            frames=len(stuck.cameras),
        )
        if stuck.stage != "publish":
            self._publisher.publish([stalled], timeout_s=_PUBLISH_S)

    def has(self, stuck: HungStage) -> bool:
        """Return whether a hang of the same stage was reported."""
        return stuck.stage in {known.stage for known in self.abandoned}
