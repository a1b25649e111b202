"""Perception on other hosts, as identification sees it: the state that their reports give."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from threading import Event as Flag

import structlog

from reid_stream.config.differences import SettingsChange
from reid_stream.config.settings import Camera
from reid_stream.events import CameraDown
from reid_stream.ingest.changes import CameraChange
from reid_stream.ingest.stats import CameraStats
from reid_stream.link.redis_receiver import RedisReceiver
from reid_stream.observe.host_metrics import HostMetrics
from reid_stream.pipeline import PerceiveCounts
from reid_stream.records import CameraId
from reid_stream.runtime.hosts import messages
from reid_stream.runtime.hosts.messages import HostReport
from reid_stream.runtime.interfaces import Supervisor
from reid_stream.runtime.watchdog import HungStage

MOST_HOSTS = 256
"""Runs of hosts that are followed at a time."""
SILENT_S = 10.0
"""Time without a report, seconds, after which a host counts as lost and its cameras as down."""
_LOOK_S = 0.1
_SKEW_S = 1.0
"""Difference between a host's clock and ours, seconds, that is logged."""
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Host:
    """One run of a host's process."""

    name: str
    last_report_at: float
    """Steady seconds of its last report."""
    number: int = -1
    cameras: set[CameraId] = field(default_factory=set)
    frames: Mapping[CameraId, int] = field(default_factory=dict)
    counts: PerceiveCounts = field(default_factory=PerceiveCounts)
    sent: Mapping[CameraId, tuple[str, int]] = field(default_factory=dict)
    missing: set[CameraId] = field(default_factory=set)
    """Cameras of which it sent records that have not come."""
    is_lost: bool = False
    is_skewed: bool = False


class RemotePerception:
    """Cameras on other hosts; a `PerceptionRunner`. Its link calls `note` on the thread that reads it."""

    def __init__(
        self,
        make_link: Callable[[Callable[[str, bytes], None]], RedisReceiver],
        *,
        model: str,
        cameras: Sequence[CameraId],
        limit_s: float,
        metrics: HostMetrics,
        on_cameras: Callable[[Collection[CameraId]], None],
        on_settings: Callable[[Sequence[Camera]], None] = lambda _: None,
    ) -> None:
        """Wait for reports.

        Args:
            make_link: makes the link, which passes messages of hosts to the given function.
            model: hash of the embedder's bundle whose vectors identification compares.
            cameras: that are expected.
            limit_s: a step of identification that takes longer hangs, seconds.
            metrics: shows the hosts.
            on_cameras: called with all cameras when there are others.
            on_settings: called with all expected cameras when their settings change.
        """
        self.model = model
        self.counts = PerceiveCounts()
        self.link = make_link(self.note)
        self.stats: dict[CameraId, CameraStats] = {camera: _unread(camera) for camera in cameras}
        self.replaced: dict[CameraId, int] = {}
        self._limit_s, self._metrics, self._on_cameras = limit_s, metrics, on_cameras
        self._messages: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
        self._hosts: dict[str, _Host] = {}
        self._on_settings = on_settings
        self._up: set[CameraId] = set()
        self._reader: dict[CameraId, str] = {}
        """Run of the host that delivers a camera; what another one still reports of it is out of date."""
        self._expected = frozenset(cameras)

    def note(self, host: str, body: bytes) -> None:
        """Take a message of a host; `watch` reads it."""
        self._messages.put((host, body))

    def start(self, supervisor: Supervisor) -> None:
        """Do nothing: hosts are started elsewhere."""

    def watch(self, supervisor: Supervisor, stop: Flag) -> None:
        """Follow the hosts until `stop` is set or identification fails."""
        while not stop.wait(_LOOK_S) and not supervisor.has_failed:
            try:
                while True:
                    self._read(*self._messages.get_nowait(), supervisor)
            except Empty:
                pass
            self._find_lost(supervisor)
            supervisor.check(self._limit_s)

    def close(self) -> None:
        """Read no more; what was not read waits for the next identification."""
        self.link.close()

    def stuck(self, limit_s: float) -> HungStage | None:  # noqa: ARG002 (the protocol's)
        """Return None: hosts watch themselves, and their silence is noticed."""
        return None

    def change_cameras(self, change: SettingsChange) -> None:
        """Expect other cameras. Hosts open and close them: those that read one still have it."""
        expected = [CameraId(camera.id) for camera in change.cameras]
        gone = (
            self._expected - set(expected) - {camera for host in list(self._hosts.values()) for camera in host.cameras}
        )
        self._expected = frozenset(expected)
        for camera in gone:
            self.stats.pop(camera, None)
        for camera in expected:
            self.stats.setdefault(camera, _unread(camera))
        self._on_cameras(list(self.stats))
        self._on_settings(change.cameras)

    def _read(self, name: str, body: bytes, supervisor: Supervisor) -> None:
        try:
            report = messages.decode(body)
            messages.check_host(name)
            events = [messages.unpack(packed) for packed in report.events]
            up = [messages.unpack(packed) for packed in report.up]
        except ValueError as error:
            _log.error("link_message_invalid", host=name, reason=str(error)[:200])
            return
        now = time.monotonic()
        host = self._host_of(report.run, name, now, supervisor)
        if host is None or report.number <= host.number:
            return
        is_news = host.number < 0 or host.is_lost
        host.number, host.last_report_at, host.is_lost = report.number, now, False
        if is_news:
            _log.info("host_up", host=name, run=report.run, cameras=len(report.stats), version=report.version)
            if report.model != self.model:
                _log.error("host_model_differs", host=name, model=report.model[:12], wanted=self.model[:12])
        closed = self._follow_cameras(host, report, supervisor)
        for event in events:
            if isinstance(event, CameraChange):
                self._report(event, report.run, supervisor)
            else:
                supervisor.publish([event])
        for event in up:
            if isinstance(event, CameraChange) and event.camera not in self._up:
                self._report(event, report.run, supervisor)
        self._note_closed(host, closed)
        self._count(host, report, supervisor)
        self._find_missing(host, report)
        if report.is_last:
            _log.info("host_stopped", host=name, run=report.run)
            self._drop(report.run)

    def _report(self, change: CameraChange, run: str, supervisor: Supervisor) -> None:
        if not isinstance(change, CameraDown):
            self._up.add(change.camera)
            self._reader[change.camera] = run
        elif self._reader.get(change.camera, run) == run:
            self._up.discard(change.camera)
            self._reader.pop(change.camera, None)
        else:
            return
        supervisor.report_camera(change)

    def _note_closed(self, host: _Host, cameras: Collection[CameraId]) -> None:
        for camera in set(cameras) - self._cameras_but(host):
            self._note_unread(camera, f"host {host.name} has closed it")  # it reports that it is down itself
            if camera not in self._up:
                self._reader.pop(camera, None)

    def _note_unread(self, camera: CameraId, reason: str) -> None:
        if camera in self.stats:
            self.stats[camera] = replace(
                self.stats[camera], state="waiting", since=time.time(), reason=reason, rate=0.0, used_rate=0.0
            )

    def _follow_cameras(self, host: _Host, report: HostReport, supervisor: Supervisor) -> set[CameraId]:
        """Note which cameras a host has; return those that it no longer has."""
        cameras = {stats.camera for stats in report.stats}
        closed = host.cameras - cameras
        gone = host.cameras - cameras - self._expected - self._cameras_but(host)
        new = cameras - set(self.stats)
        host.cameras = cameras
        self.stats.update(
            {stats.camera: stats for stats in report.stats if self._reader.get(stats.camera, report.run) == report.run}
        )
        self._forget(gone, new, supervisor)
        return closed

    def _forget(self, gone: Collection[CameraId], new: Collection[CameraId], supervisor: Supervisor) -> None:
        """Forget cameras that no host has, and report them with those that are new."""
        for camera in gone:
            self._up.discard(camera)
            for by_camera in (self.stats, self.replaced, self._reader):
                by_camera.pop(camera, None)
        if new or gone:
            self._on_cameras(list(self.stats))
            supervisor.change_known_cameras(sorted(new), sorted(gone))

    def _cameras_but(self, host: _Host) -> set[CameraId]:
        """Return the cameras of all hosts that report, but for one."""
        others = (one for one in self._hosts.values() if one is not host and not one.is_lost)
        return {camera for one in others for camera in one.cameras}

    def _count(self, host: _Host, report: HostReport, supervisor: Supervisor) -> None:
        supervisor.count_frames(Counter(report.frames) - Counter(host.frames))
        self.counts.more(report.counts.less(host.counts))
        host.frames, host.counts = report.frames, report.counts
        self.replaced.update(report.replaced)
        offset_s = time.time() - report.at
        if (is_skewed := abs(offset_s) > _SKEW_S) != host.is_skewed:
            host.is_skewed = is_skewed
            if is_skewed:
                _log.warning("host_clock_differs", host=host.name, by_s=round(offset_s, 2))
        self._metrics.report(host.name, offset_s, report.waited_s, report.crops_lost)

    def _find_missing(self, host: _Host, report: HostReport) -> None:
        """Log cameras whose records were on the stream before the report, and have not come."""
        for camera, (run, sequence) in report.sent.items():
            newest = self.link.newest(run, camera)
            # What was sent before its first report here may have gone to an earlier identification.
            if newest is None and host.sent.get(camera, (run, sequence)) == (run, sequence):
                continue
            is_missing = newest is None or newest < sequence
            if is_missing and camera not in host.missing:
                _log.error("observations_missing", camera=camera, host=host.name, sent=sequence, received=newest)
            (host.missing.add if is_missing else host.missing.discard)(camera)
        host.missing &= report.sent.keys()
        host.sent = report.sent

    def _find_lost(self, supervisor: Supervisor) -> None:
        now = time.monotonic()
        if self.link.fault is not None:  # Redis is away: reports of hosts cannot arrive
            for host in self._hosts.values():
                host.last_report_at = now
        for run, host in list(self._hosts.items()):
            if host.is_lost or now - host.last_report_at < SILENT_S:
                continue
            host.is_lost = True
            newer = any(one.name == host.name and one is not host for one in self._hosts.values())
            _log.error("host_lost", host=host.name, run=run, silent_s=round(now - host.last_report_at, 1))
            for camera in host.cameras - self._cameras_but(host):
                reason = f"host {host.name} is silent"
                self._note_unread(camera, reason)
                if camera in self._up:
                    self._report(CameraDown(camera=camera, changed_at=time.time(), reason=reason), run, supervisor)
            self._reader = {camera: reader for camera, reader in self._reader.items() if reader != run}
            if newer:  # it has been started again
                self._drop(run)
            else:
                self._metrics.lose(host.name)

    def _host_of(self, run: str, name: str, now: float, supervisor: Supervisor) -> _Host | None:
        """Return the host of a run, new or known; None if there are too many. Hosts that are lost give way."""
        if run not in self._hosts and len(self._hosts) >= MOST_HOSTS:
            lost = next((known for known, host in self._hosts.items() if host.is_lost), None)
            if lost is None:
                _log.error("host_refused", host=name, reason=f"there are {MOST_HOSTS} others")
                return None
            self._forget(
                self._hosts[lost].cameras - self._expected - self._cameras_but(self._hosts[lost]), (), supervisor
            )
            self._drop(lost)
        return self._hosts.setdefault(run, _Host(name, now))

    def _drop(self, run: str) -> None:
        host = self._hosts.pop(run)
        if all(one.name != host.name for one in self._hosts.values()):
            self._metrics.forget(host.name)


def _unread(camera: CameraId) -> CameraStats:
    return CameraStats(camera, name=camera, state="waiting", since=time.time(), reason="no host reads it")
