"""Start perception and identification, watch them, stop them in order.

    perception (PerceptionThread or WorkerPool) ─▶ link ─▶ identification (IdentificationThread) ─▶ sink

Threads: one per camera, perception's, identification's, the sink's, one for /metrics, and the caller of `Daemon.run`,
which watches the others. Perception that hangs is replaced; identification that hangs ends the daemon. A stop follows
the data: the cameras, the step in progress, the records on the link, the events in the sink.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import structlog

from reid_stream.config.differences import SettingsChange
from reid_stream.config.settings import Watchdog
from reid_stream.errors import StuckError
from reid_stream.events import (
    CameraAdded,
    CameraConfigured,
    CameraRemoved,
    DaemonSettingsRead,
    DaemonStarted,
    DaemonStopped,
    Event,
)
from reid_stream.ingest.overload_alarm import OverloadAlarm
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.observe.logs import scrub
from reid_stream.observe.metrics import Metrics
from reid_stream.records import CameraId, Perceived
from reid_stream.runtime.camera_reports import CameraReports
from reid_stream.runtime.clock_watch import ClockWatch
from reid_stream.runtime.event_publisher import DaemonProgress, EventPublisher, Heartbeat, StepFigures
from reid_stream.runtime.hang_reports import HangReports
from reid_stream.runtime.health import Health
from reid_stream.runtime.identification_thread import IdentificationThread
from reid_stream.runtime.interfaces import EventFollower, PerceptionRunner, Sink
from reid_stream.runtime.overload_watch import OverloadWatch
from reid_stream.runtime.perception_thread import STOP_S
from reid_stream.runtime.watchdog import HungStage

if TYPE_CHECKING:
    from reid_stream.ingest.changes import CameraChange

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """Facts of one run."""

    run: str
    """Name of the run in events."""
    version: str
    cameras: Sequence[CameraId]
    is_live: bool
    """False for a replay, whose time is that of its files."""
    heartbeat_s: float
    watchdog: Watchdog


@dataclass(frozen=True, slots=True)
class Monitors:
    """Objects that only observe a run: their faults are counted and change no event."""

    metrics: Metrics
    view: EventFollower
    """Sees all published events."""
    overload: OverloadAlarm | None = None
    """Alarm of an overload; None for a replay, which is never overloaded."""
    instructions_fault: Callable[[], str | None] = lambda: None
    """Returns why operator instructions cannot be read; None while they can."""


class Daemon:
    """A site that runs once `run` is called; the `Supervisor` of its perception and identification."""

    def __init__(
        self,
        perception: PerceptionRunner,
        identification: IdentificationThread,
        sink: Sink,
        clock: SiteClock,
        *,
        settings: DaemonSettings,
        monitors: Monitors,
    ) -> None:
        """Start nothing yet.

        Args:
            perception: cameras to records.
            identification: records to events.
            sink: takes the events of cameras and the daemon; that of `identification`, which closes it.
            clock: time base of capture times.
            settings: facts of this run.
            monitors: observe it.
        """
        metrics, steps = monitors.metrics, identification.identification
        self.perception = perception
        self.settings = settings
        self.progress = DaemonProgress(started_at=clock.now())
        self._identification, self._clock, self._metrics = identification, clock, metrics
        self._events = EventPublisher(sink, metrics, monitors.view, self.progress)
        self._cameras = CameraReports(self._events, metrics, is_live=settings.is_live)
        self._hangs = HangReports(self._events, metrics, clock, settings.run)
        self._figures = StepFigures(steps, metrics, self.progress, clock)
        self._heartbeat = Heartbeat(steps, metrics, settings.run, settings.heartbeat_s)
        self._clock_watch = ClockWatch(clock, settings.run)
        self._overload_watch = OverloadWatch(monitors.overload, metrics)
        self._on_look: Callable[[], None] = _do_nothing
        self.has_started = threading.Event()
        """Set once the cameras are being opened; from then on they can change."""
        self._is_ending = False
        self._known = set(settings.cameras)
        """Cameras of the settings in use."""
        self.health = Health(
            perception,
            identification,
            self._cameras,
            sink,
            camera_count=lambda: len(self._known),
            limit_s=settings.watchdog.stage_s,
            is_live=settings.is_live,
            instructions_fault=monitors.instructions_fault,
        )

    def run(self, stop: threading.Event, on_look: Callable[[], None] | None = None) -> None:
        """Process frames until `stop` is set or all cameras have ended for good.

        `on_look` is called several times per second by this thread, as long as it can watch the others.

        Raises:
            ReidStreamError: a stage failed or hung; all events until then were published.
        """
        self._on_look = on_look or _do_nothing
        reason = "all cameras ended"
        self._events.publish([self._started()])
        self._identification.start(self.perception.link, self._clock, self)
        try:
            self.perception.start(self)
            self.has_started.set()
            self.perception.watch(self, stop)
            if stop.is_set():
                reason = "stopped"
        except BaseException as error:
            reason = scrub(f"{type(error).__name__}: {error}")
            raise
        finally:
            self._is_ending = True
            self.perception.close()
            self._finish(reason)
        if self._identification.error is not None:
            raise self._identification.error

    def change_cameras(self, change: SettingsChange) -> None:
        """Add, remove and change cameras of a live site while `run` is at work; nothing at its end. For one thread."""
        if self._is_ending:
            return
        now = self._clock.utc
        for one in change.changed:
            _log.info("camera_configured", camera=one.camera.id, keys=",".join(one.keys))
        # Identification knows cameras from reports of its hosts as well, before they are in its file and after.
        self.change_known_cameras([CameraId(camera.id) for camera in change.added if camera.id not in self._known], [])
        self._overload_watch.change_cameras(change.cameras)
        self._events.publish(
            CameraConfigured(camera=CameraId(one.camera.id), changed_at=now(), keys=one.keys) for one in change.changed
        )
        self.perception.change_cameras(change)
        self.change_known_cameras([], [CameraId(name) for name in change.removed if name not in self.perception.stats])

    def change_known_cameras(self, added: Sequence[CameraId], removed: Sequence[CameraId]) -> None:
        """Publish that cameras were added and removed, and count those that are there."""
        now = self._clock.utc
        for name in added:
            _log.info("camera_added", camera=name)
        self._known |= set(added)
        self._events.publish(CameraAdded(camera=name, changed_at=now()) for name in added)
        self._known.difference_update(removed)
        for name in removed:
            _log.info("camera_removed", camera=name)
            self._cameras.forget(name)
            self.progress.frames.pop(name, None)
            self._metrics.forget_camera(name)
        self._events.publish([CameraRemoved(camera=name, changed_at=now()) for name in removed])

    def report_settings(
        self, outcome: Literal["applied", "refused"], reason: str, needs_restart: Sequence[str]
    ) -> None:
        """Publish that cams.yaml was read again; `reason`: why it was refused."""
        self.health.settings_fault = "cams.yaml was changed and refused" if outcome == "refused" else ""
        if needs_restart:
            self.health.settings_fault = f"a restart is needed for {', '.join(needs_restart)}"
        self._metrics.count_reread(outcome, len(needs_restart))
        self._events.publish(
            [
                DaemonSettingsRead(
                    run=self.settings.run,
                    told_at=self._clock.utc(),
                    outcome=outcome,
                    reason=scrub(reason),
                    needs_restart=tuple(needs_restart),
                )
            ]
        )

    def _started(self) -> Event:
        cameras, version = tuple(self.settings.cameras), self.settings.version
        in_view = self._identification.identification.in_view()
        _log.info("daemon_started", run=self.settings.run, cameras=len(cameras), version=version)
        return DaemonStarted(
            run=self.settings.run,
            told_at=self._clock.utc(),
            version=version,
            cameras=cameras,
            model=self.perception.model,
            in_view=tuple((camera, person) for camera, here in in_view.items() for person in sorted(here)),
        )

    def _finish(self, reason: str) -> None:
        """Process what is on the link, end all visits, close the sink."""
        stuck = self._identification.drain(min(self.settings.watchdog.stage_s, STOP_S))
        if stuck is not None and not self._hangs.has(stuck):
            self.report_hang(stuck, "ended")
        steps = self._identification.identification
        # An abandoned thread may still change the visits, unless it hangs in the matcher.
        if not self._identification.is_abandoned or (stuck is not None and stuck.stage == "match"):
            self._cameras.report_due()
            self._events.commit(steps, steps.finish(), timeout_s=STOP_S)
        stopped = DaemonStopped(run=self.settings.run, told_at=self._clock.utc(), reason=reason)
        if (stuck is None or stuck.stage != "publish") and self._events.publish([stopped], timeout_s=STOP_S):
            steps.close(timeout_s=STOP_S)
        _log.info("daemon_stopped", run=self.settings.run, reason=reason)

    @property
    def abandoned(self) -> Sequence[HungStage]:
        """Calls that never returned; their threads live as long as the process."""
        return self._hangs.abandoned

    # Called by perception and identification: see `Supervisor`.

    @property
    def has_failed(self) -> bool:
        """Whether identification has failed."""
        return self._identification.error is not None

    def check(self, limit_s: float) -> None:
        """Check the clock, identification and the load.

        Raises:
            StuckError: identification hung for longer than `limit_s`.
        """
        with self._metrics.monitoring.part("watchdog"):
            self._on_look()
        if self.settings.is_live:
            self._events.publish(self._clock_watch.due_events())
        stuck = self._identification.abandon(limit_s)
        if stuck is not None:
            self.report_hang(stuck, "ended")
            raise StuckError(stuck.message(self.settings.watchdog.stage_s))
        self._events.publish(self._overload_watch.due_events(self.perception, self.progress.frames))

    def count_frames(self, frames: Mapping[CameraId, int]) -> None:
        """Count frames that perception has finished."""
        with self._metrics.monitoring.part("frame counts"):
            for camera, count in frames.items():
                if camera not in self._known:  # the last frames of one that was removed
                    continue
                self.progress.frames[camera] = self.progress.frames.get(camera, 0) + count
                self._metrics.frames_used.labels(camera).inc(count)

    def publish(self, events: Iterable[Event]) -> None:
        """Publish events of perception."""
        self._events.publish(events)

    def report_camera(self, change: "CameraChange", after: int = 0) -> None:
        """Publish a camera's change of state; a replay does so once identification has finished batch `after`."""
        self._cameras.report(change, after)

    def report_due_cameras(self, after: int) -> None:
        """Publish the changes of a replay's cameras that are due after so many batches."""
        self._cameras.report_due(after)

    def report_hang(self, stuck: HungStage, action: Literal["restarted", "ended"], *, is_ours: bool = True) -> None:
        """Report a stage that hung."""
        self._hangs.report(stuck, action, is_ours=is_ours)

    def commit(self, events: Sequence[Event], records: Sequence[Perceived], now: float) -> None:
        """Commit a step of identification."""
        self._events.commit(self._identification.identification, events)
        self._figures.count(events, records, is_live=self.settings.is_live)
        self._events.publish(
            self._heartbeat.due_events(self._clock.utc() if self.settings.is_live else now, self._cameras.up)
        )


def _do_nothing() -> None:
    pass
