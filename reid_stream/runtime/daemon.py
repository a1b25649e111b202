"""The shell around the pipeline: start, loop, stop.

Threads: one per camera, one for perception, one for identification, one in the sink, one for /metrics, and
`Daemon.run`, which watches them. Perception that hangs is replaced; identification that hangs ends the daemon.
Stopping is in the order of the data: cameras, the step under way, the records on the link, the events in the sink.
"""

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal

import msgspec
import structlog

from reid_stream.config.settings import Watchdog
from reid_stream.errors import StuckError
from reid_stream.events import (
    CameraDown,
    DaemonHeartbeat,
    DaemonOverloaded,
    DaemonRecovered,
    DaemonStalled,
    DaemonStarted,
    DaemonStopped,
    Event,
)
from reid_stream.ingest.changes import CameraChange
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.observe.logs import scrub
from reid_stream.observe.metrics import Metrics
from reid_stream.pipeline import Identification
from reid_stream.records import CameraId, GlobalId, Perceived
from reid_stream.runtime.clock_watch import ClockWatch
from reid_stream.runtime.interfaces import (
    CameraSource,
    ObservationLink,
    ObservationReceiver,
    PerceptionProgress,
    PerceptionRunner,
    PerceptionStages,
    Sink,
)
from reid_stream.runtime.news_log import log_camera, log_overload
from reid_stream.runtime.perception_thread import STOP_S, TAKE_S, PerceptionThread
from reid_stream.runtime.watchdog import HungStage, Pulse

_log = structlog.get_logger(__name__)


class Daemon:
    """A running site, once `run` is called."""

    def __init__(
        self,
        *,
        run: str,
        version: str,
        half: PerceptionRunner | None = None,
        source: CameraSource | None = None,
        perceive: PerceptionStages | None = None,
        identify: Identification,
        finish: Callable[[], Iterable[Event]],
        link: ObservationReceiver,
        sink: Sink,
        metrics: Metrics,
        cameras: Sequence[CameraId],
        heartbeat_s: float,
        is_live: bool,
        on_events: Callable[[Sequence[Event]], None],
        gallery_size: Callable[[], int],
        people_in_view: Callable[[], int],
        in_view: Callable[[], Mapping[CameraId, Collection[GlobalId]]] = dict,
        watchdog: Watchdog | None = None,
        pulse: Pulse | None = None,
        identify_pulse: Pulse | None = None,
        fresh: Callable[[int, Pulse], PerceptionStages] | None = None,
        sink_ready: Callable[[], tuple[bool, str]] = lambda: (True, "ok"),
        overload: Callable[[], DaemonOverloaded | DaemonRecovered | None] = lambda: None,
        clock: SiteClock | None = None,
    ) -> None:
        """Wire a daemon; nothing runs yet.

        Args:
            run: names this run in events.
            version: told in `daemon.started`.
            half: the first half; none makes one of `source`, `perceive`, `pulse` and `fresh`, in this process.
            source: of frames.
            perceive: frames to records.
            identify: the second half.
            finish: ends all visits.
            link: from the first half to the second.
            sink: takes the events.
            metrics: counts.
            cameras: all of them.
            heartbeat_s: between heartbeats.
            is_live: False for a replay, whose time is that of its files.
            on_events: sees what is published.
            gallery_size: of the matcher.
            people_in_view: of presence.
            in_view: of presence, as the last daemon left it.
            watchdog: when a stage counts as stuck; none for the default.
            pulse: see `PerceptionThread`.
            identify_pulse: that the stages of `identify` are wrapped with.
            fresh: see `PerceptionThread`.
            sink_ready: is there room for events somewhere, and what to say.
            overload: news of it, asked a few times a second.
            clock: the time base of capture times; none for one that starts now.
        """
        self._run = run
        self._version = version
        self._watchdog = watchdog or Watchdog()
        if half is None:
            assert source is not None
            assert perceive is not None
            assert isinstance(link, ObservationLink)
            half = PerceptionThread(source, perceive, link, watchdog=self._watchdog, pulse=pulse, fresh=fresh)
        self.half = half
        self._identify = identify
        self._finish = finish
        self._link = link
        self._sink = sink
        self._metrics, self._part = metrics, metrics.monitoring.part
        self._cameras = tuple(cameras)
        self._heartbeat_s = heartbeat_s
        self.is_live = is_live
        self._on_events = on_events
        self._gallery_size = gallery_size
        self._people_in_view = people_in_view
        self._in_view = in_view
        self._identify_pulse = identify_pulse or Pulse()
        self._sink_ready = sink_ready
        self._overload = overload
        self._clock = clock or SiteClock()
        self._clock_watch = ClockWatch(self._clock, run)
        self._drained = threading.Event()
        self._publishing = threading.Lock()
        self._up: set[CameraId] = set()
        self._changes: deque[tuple[int, CameraChange]] = deque()
        """Of a replay's cameras: batches sent before each, and what it is."""
        self.progress = PerceptionProgress(started_at=self._clock.now())
        self.tick: Callable[[], None] = lambda: None
        """Called a few times a second by the watching thread while it can run."""
        self.given_up: list[HungStage] = []
        """Calls that never came back; their threads live as long as the process."""

    def run(self, stop: threading.Event) -> None:
        """Follow people until `stop` is set or all cameras have ended for good.

        Raises:
            ReidStreamError: a stage found its input unusable; everything said until then has been published.
        """
        reason = "all cameras ended"
        identifier = threading.Thread(target=self._identify_loop, name="identify", daemon=True)
        self._publish(
            [
                DaemonStarted(
                    run=self._run,
                    told_at=self._clock.utc(),
                    version=self._version,
                    cameras=self._cameras,
                    model=self.half.model,
                    in_view=tuple((camera, who) for camera, here in self._in_view().items() for who in sorted(here)),
                )
            ]
        )
        _log.info("daemon_started", run=self._run, cameras=len(self._cameras), version=self._version)
        identifier.start()
        try:
            self.half.start(self)
            self.half.watch(self, stop)
            if stop.is_set():
                reason = "stopped"
        except BaseException as error:
            reason = scrub(f"{type(error).__name__}: {error}")
            raise
        finally:
            self.half.close()
            self._drained.set()
            stuck = self._join_identify(identifier)
            # What is known of visits is what was told, unless identify went on after it was given up.
            if not self._identify_pulse.is_given_up or (stuck is not None and stuck.stage == "match"):
                self._tell_changes()
                self._publish(self._finish(), timeout_s=STOP_S)
            stopped = DaemonStopped(run=self._run, told_at=self._clock.utc(), reason=reason)
            if (stuck is None or stuck.stage != "publish") and self._publish([stopped], timeout_s=STOP_S):
                self._sink.close(timeout_s=STOP_S)
            _log.info("daemon_stopped", run=self._run, reason=reason)
        if self.progress.error is not None:
            raise self.progress.error

    def camera_changed(self, change: CameraChange) -> None:
        """Tell subscribers that a camera came or went; called by the camera's own thread.

        A replay tells it between the same records in every run: once what was sent before it has been worked off.
        """
        if self.is_live:
            self._tell_change(change)
        else:
            self._changes.append((self.half.sent, change))

    def _tell_changes(self, worked_off: int | None = None) -> None:
        while self._changes and (worked_off is None or self._changes[0][0] <= worked_off):
            self._tell_change(self._changes.popleft()[1])

    def _tell_change(self, change: CameraChange) -> None:
        if isinstance(change, CameraDown):
            change = msgspec.structs.replace(change, reason=scrub(change.reason))
        (self._up.discard if isinstance(change, CameraDown) else self._up.add)(change.camera)
        with self._part("camera figures"):
            self._metrics.camera_up.labels(change.camera).set(not isinstance(change, CameraDown))
            log_camera(change)
        self._publish([change])

    def healthy(self) -> tuple[bool, str]:
        """Answer /healthz: fine while the stages live, whatever cameras and Redis do; a restart would mend neither."""
        if self.progress.error is not None:
            return False, f"identify has ended: {self.progress.error}"
        for part in (self.half, self._identify_pulse):
            stuck = part.stuck(self._watchdog.stage_s)
            if stuck is not None:
                return False, f"{stuck.stage} has not answered for {stuck.after_s:.0f} s"
        return True, f"ok, {len(self._up)} of {len(self._cameras)} cameras"

    def ready(self) -> tuple[bool, str]:
        """Answer /readyz: frames come in, and events go somewhere. The models are loaded before anybody can ask."""
        is_fine, text = self.healthy()
        has_room, where = self._sink_ready()
        if not is_fine or not has_room:
            return False, text if not is_fine else where
        if self.is_live and not self._up:
            return False, f"no camera delivers frames (0 of {len(self._cameras)})"
        return True, f"{text}, events: {where}"

    @property
    def perceive(self) -> PerceptionStages:
        """Frames to records, where that is done in this process."""
        assert isinstance(self.half, PerceptionThread)
        return self.half.perceive

    @perceive.setter
    def perceive(self, other: PerceptionStages) -> None:
        assert isinstance(self.half, PerceptionThread)
        self.half.perceive = other

    @property
    def has_failed(self) -> bool:
        """Identify has ended with an error."""
        return self.progress.error is not None

    def look(self, limit_s: float) -> None:
        """Watch over identify and all that must be done now and then; called by the first half's watch.

        Raises:
            StuckError: identify hangs.
        """
        with self._part("watchdog"):
            self.tick()
        if self.is_live:
            self._publish(self._clock_watch.look())
        self._watch_identify(limit_s)
        news = None
        with self._part("overload"):
            news = self._overload()
            if news is not None:
                self._metrics.overloaded.set(isinstance(news, DaemonOverloaded))
                log_overload(news)
        self._publish([news] if news is not None else [])

    def saw(self, frames: Mapping[CameraId, int]) -> None:
        """Count frames that went through the first half."""
        with self._part("frame counts"):
            for camera, count in frames.items():
                self.progress.frames[camera] = self.progress.frames.get(camera, 0) + count
                self._metrics.frames_used.labels(camera).inc(count)

    def tell(self, events: Sequence[Event]) -> None:
        """Publish; any thread may call."""
        self._publish(events)

    def _watch_identify(self, limit_s: float) -> None:
        stuck = self._identify_pulse.give_up(limit_s)
        if stuck is not None:
            self.tell_stuck(stuck, "ended")
            raise StuckError(stuck.told(self._watchdog.stage_s))

    def _join_identify(self, identifier: threading.Thread) -> HungStage | None:
        """Wait until what is on the link is worked off; give what identify hangs in, if it does."""
        limit_s = min(self._watchdog.stage_s, STOP_S)
        while identifier.is_alive():
            stuck = self._identify_pulse.give_up(limit_s)
            if stuck is not None:
                if stuck.stage not in {known.stage for known in self.given_up}:
                    self.tell_stuck(stuck, "ended")
                return stuck
            identifier.join(min(TAKE_S, limit_s / 4))
        return None

    def tell_stuck(self, stuck: HungStage, action: Literal["restarted", "ended"], *, is_ours: bool = True) -> None:
        """Say that a stage hung: log, count, event; `is_ours`: in this process, where it cannot be ended."""
        _log.error("stage_stuck", stage=stuck.stage, after_s=round(stuck.after_s, 1), action=action)
        if is_ours:
            self.given_up.append(stuck)
        with self._part("stuck stages"):
            self._metrics.stage_stuck.labels(stuck.stage, action).inc()
            for camera in stuck.cameras:
                self._metrics.frames_stuck.labels(camera).inc()
        told = DaemonStalled(
            run=self._run,
            told_at=self._clock.utc(),
            stage=stuck.stage,
            after_s=round(stuck.after_s, 3),
            action=action,
            frames=len(stuck.cameras),
        )
        if stuck.stage != "publish":
            self._publish([told], timeout_s=1.0)

    def _identify_loop(self) -> None:
        try:
            self._work_off_records()
        except BaseException as error:  # noqa: BLE001 (kept for `run`, which raises it on the main thread)
            self.progress.error = error
            # Perceive may wait for room on the link; it looks at the error only then.
            while not self._drained.is_set():
                self._link.receive(TAKE_S)

    def _work_off_records(self) -> None:
        worked_off = 0
        beat_at: float | None = None
        while True:
            records = self._link.receive(TAKE_S)
            if not records and self._drained.is_set():
                return
            if not records and not self.is_live:
                continue
            # Replayed files have a time of their own; it moves with their records alone, so that runs repeat.
            now = self._clock.now() if self.is_live and not records else max(record.seen_at for record in records)
            with self._identify_pulse.busy("publish"):
                self._tell_changes(worked_off)
            with self._identify_pulse.busy("identify"):
                events = self._identify.step(records, now)
            if self._identify_pulse.is_given_up:
                return
            worked_off += bool(records)
            told_at = self._clock.utc() if self.is_live else now
            with self._identify_pulse.busy("publish"):
                self._tell(events, records)
                if beat_at is None:
                    beat_at = told_at
                elif told_at - beat_at >= self._heartbeat_s:
                    beat_at = told_at
                    self._beat(told_at)

    def _tell(self, events: Sequence[Event], records: Sequence[Perceived]) -> None:
        with self._part("identity figures"):
            self._metrics.observations.inc(len(records))
            self._metrics.identities.set(self._gallery_size())
            self._metrics.people.set(self._people_in_view())
        if events and self.progress.first_event_s is None:
            self.progress.first_event_s = self._clock.now() - self.progress.started_at
        self._publish(events)
        if events and records and self.is_live:
            with self._part("latency"):
                latency = self._clock.now() - max(record.seen_at for record in records)
                self._metrics.latency.observe(latency)
                self.progress.latencies_s.append(latency)
                del self.progress.latencies_s[:-1000]

    def _publish(self, events: Iterable[Event], timeout_s: float = -1) -> bool:
        """Tell events; False if another thread has been at it for so long that it must hang in the sink."""
        told = list(events)
        if not told:
            return True
        if not self._publishing.acquire(timeout=timeout_s):
            _log.error("publish_blocked", events=len(told))
            return False
        try:
            self._sink.publish(told)
            with self._part("event counts"):
                self._on_events(told)
                self.progress.events += len(told)
                happened = [event.at for event in told if not isinstance(event, DaemonStarted | DaemonStopped)]
                self.progress.told_at = max(self.progress.told_at, *happened, 0.0)
        finally:
            self._publishing.release()
        with self._part("event counts"):
            for event in told:
                self._metrics.events.labels(event.type).inc()
        return True

    def _beat(self, now: float) -> None:
        beats = []
        with self._part("heartbeat"):
            people, gallery = self._people_in_view(), self._gallery_size()
            beats.append(
                DaemonHeartbeat(run=self._run, told_at=now, people=people, gallery=gallery, cameras_up=len(self._up))
            )
        self._publish(beats)
