"""Run identification on a thread: records from the link to committed events."""

import threading

from reid_stream.ingest.site_clock import SiteClock
from reid_stream.runtime.interfaces import ObservationReceiver, SiteIdentification, Supervisor
from reid_stream.runtime.perception_thread import TAKE_S
from reid_stream.runtime.watchdog import HungStage, Pulse


class IdentificationThread:
    """Identification of one site; started once, then drained."""

    def __init__(self, identification: SiteIdentification, *, is_live: bool, pulse: Pulse | None = None) -> None:
        """Start nothing yet.

        Args:
            identification: one step at a time.
            is_live: False for a replay, whose time is that of its records.
            pulse: the one that the stages of `identification` are wrapped with; None where they are not.
        """
        self.identification = identification
        self.error: BaseException | None = None
        """The error that ended the thread."""
        self._is_live, self._pulse = is_live, pulse or Pulse()
        self._is_draining = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, link: ObservationReceiver, clock: SiteClock, supervisor: Supervisor) -> None:
        """Start the thread."""
        # A daemon thread: one that hangs for ever must not keep the process.
        self._thread = threading.Thread(target=self._run, args=(link, clock, supervisor), name="identify", daemon=True)
        self._thread.start()

    def _run(self, link: ObservationReceiver, clock: SiteClock, supervisor: Supervisor) -> None:
        try:
            self._loop(link, clock, supervisor)
        except BaseException as error:  # noqa: BLE001 (raised on the daemon's main thread)
            self.error = error
            # Perception sees the error only once it has room on the link.
            while not self._is_draining.is_set():
                link.receive(TAKE_S)

    def _loop(self, link: ObservationReceiver, clock: SiteClock, supervisor: Supervisor) -> None:
        batches = 0
        while True:
            records = link.receive(TAKE_S)
            if not records and self._is_draining.is_set():
                return
            if not records and not self._is_live:
                continue
            # Only records move the time of a replay, so that every run gives the same events.
            now = max((record.seen_at for record in records), default=float("inf"))
            if self._is_live:  # a camera whose clock is ahead must not end the visits of others
                now = min(now, clock.now())
            with self._pulse.busy("publish"):
                supervisor.report_due_cameras(batches)
            with self._pulse.busy("identify"):
                events = self.identification.step(records, now)
            if self._pulse.is_abandoned:
                return
            batches += bool(records)
            with self._pulse.busy("publish"):
                supervisor.commit(events, records, now)
            link.acknowledge()

    def stuck(self, limit_s: float) -> HungStage | None:
        """Return the stage that has hung for longer than `limit_s`, if any."""
        return self._pulse.stuck(limit_s)

    def abandon(self, limit_s: float) -> HungStage | None:
        """Abandon the thread if a stage has hung for longer than `limit_s`; return the stage."""
        return self._pulse.abandon(limit_s)

    @property
    def is_abandoned(self) -> bool:
        """Whether the thread was abandoned."""
        return self._pulse.is_abandoned

    def drain(self, limit_s: float) -> HungStage | None:
        """Wait until the records on the link are processed; return the stage that hung meanwhile, if any."""
        self._is_draining.set()
        while self._thread is not None and self._thread.is_alive():
            stuck = self._pulse.abandon(limit_s)
            if stuck is not None:
                return stuck
            self._thread.join(min(TAKE_S, limit_s / 4))
        return None
