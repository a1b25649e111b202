"""Detect that the system's clock was set while the daemon runs."""

import structlog

from reid_stream.events import DaemonClockSet
from reid_stream.ingest.site_clock import SiteClock

_log = structlog.get_logger(__name__)


class ClockWatch:
    """Turns steps of the system's clock into events; used by one thread."""

    def __init__(self, clock: SiteClock, run: str) -> None:
        self._clock, self._run = clock, run
        self._shift_s = clock.shift_s()

    def due_events(self) -> list[DaemonClockSet]:
        """Return an event if the clock was set since the last call, whether or not a camera has noticed it first."""
        self._clock.detect_step()
        by_s, self._shift_s = self._clock.shift_s() - self._shift_s, self._clock.shift_s()
        if not by_s:
            return []
        _log.warning("system_clock_set", by_s=round(by_s, 3))
        return [DaemonClockSet(run=self._run, told_at=self._clock.utc(), by_s=round(by_s, 3))]
