"""A worker process: cameras, networks and trackers, whose records go to the daemon; started by `pool`.

Two threads besides those of the cameras: the main thread exchanges messages with the daemon, the other runs perception.
A worker ends on the daemon's order, when it fails, or when the daemon is gone. It ignores signals that a terminal or a
service manager sends to all processes: the daemon stops its workers in the order of the data.
"""

import contextlib
import os
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ParamSpec, TypeVar

import zmq

from reid_stream.config import stopping
from reid_stream.config.settings import Camera, Settings
from reid_stream.errors import ReidStreamError
from reid_stream.events.packed import PackedEvent
from reid_stream.ingest.camera import ResumePoint
from reid_stream.ingest.camera_set import CameraSet
from reid_stream.ingest.changes import CameraChange
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.ingest.stats import CameraStats
from reid_stream.link.zmq import SentCount, ZmqSender
from reid_stream.observe import logs
from reid_stream.observe.metrics import Monitoring
from reid_stream.pipeline import PerceiveCounts, Perception
from reid_stream.records import CameraId, Observation
from reid_stream.runtime.networks import Networks, load_networks, make_perception, take_over
from reid_stream.runtime.perception_thread import LOAD_SLACK, STOP_S, TAKE_S, AttendedCameras, full_every_s
from reid_stream.runtime.previews import PreviewPublisher, previews_folders
from reid_stream.runtime.stages import WatchedStages
from reid_stream.runtime.watchdog import Pulse, Worker
from reid_stream.runtime.workers import messages
from reid_stream.runtime.workers.crops import CropSender
from reid_stream.runtime.workers.messages import (
    AddCamera,
    CameraChangeMessage,
    CameraClosed,
    ConfigureCamera,
    FromWorker,
    RemoveCamera,
    StopWorker,
    WorkerFailure,
    WorkerReady,
    WorkerReport,
)

P = ParamSpec("P")
R = TypeVar("R")

REPORT_S = 0.25
"""Interval of reports."""


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """Configuration of a worker."""

    number: int
    run: str
    """Run of its tracks, another one at each start."""
    settings: Settings
    cores: tuple[int, ...]
    """CPU cores to run on; empty for all."""
    folder: Path
    """Folder of the daemon's sockets."""
    base_s: float
    """`base_s` of the site's clock."""
    has_store: bool
    sent: SentCount
    """Observations sent; shared with the daemon, which reads it when the worker has ended."""
    sent_crops: SentCount
    """Crops sent, likewise."""


RECORDS = "records"
"""Name of the socket for records."""
CROPS = "crops"
"""Name of the socket for crops."""


def serve(pipe: Connection, job: WorkerJob) -> None:
    """Run a worker, then exit the process; never returns."""
    # A closed terminal ends the daemon, which ends its workers.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # The daemon ends its workers itself; child processes that end before got the same signal.
    signal.signal(signal.SIGTERM, lambda _number, _frame: stopping.request())
    with contextlib.suppress(ImportError):
        from setproctitle import setproctitle

        setproctitle(f"reid-stream: worker {job.number}")
    if job.cores:
        os.sched_setaffinity(0, job.cores)
    logs.configure(job.settings.observe)
    logs.hide(job.settings)
    logs.catch()
    with contextlib.suppress(OSError, EOFError):  # the daemon is gone
        _Process(pipe, job).run()
    # Ends threads that hang in native code.
    os._exit(0)


class StageTimes:
    """Seconds of each call of each stage since the last report; a `stages.Timer`."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def timed(self, stage: str, call: Callable[P, R]) -> Callable[P, R]:
        """Wrap a stage."""

        def measured(*args: P.args, **kwargs: P.kwargs) -> R:
            start = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                passed = time.perf_counter() - start
                with self._lock:
                    self._times.setdefault(stage, []).append(passed)

        return measured

    def take(self) -> dict[str, list[float]]:
        """Return the times since the last call."""
        with self._lock:
            times, self._times = self._times, {}
        return times


class _Process:
    def __init__(self, pipe: Connection, job: WorkerJob) -> None:
        self._pipe, self._job = pipe, job
        self._outbox: queue.SimpleQueue[FromWorker] = queue.SimpleQueue()
        self._monitoring = Monitoring()
        self._previews = PreviewPublisher(previews_folders(job.settings), job.run) if job.settings.web.enabled else None
        self._attention = AttendedCameras(self._previews.is_watched if self._previews is not None else lambda _: False)
        self._cameras = CameraSet(
            job.settings.cameras,
            job.settings.ingest,
            self._changed,
            SiteClock(base_s=job.base_s),
            none_yet=True,
            take_over=take_over(job.settings),
            guard=self._monitoring.part,
            full_every_s=full_every_s(job.settings),
            is_attended=self._attention.wants,
        )
        self._settings = {camera.id: camera for camera in job.settings.cameras}
        self._orders: queue.SimpleQueue[Callable[[Perception, Networks], None]] = queue.SimpleQueue()
        """Carried out by perception between two batches."""
        self._stop = threading.Event()
        self._pulse = Pulse()
        self._times = StageTimes()
        self._link = ZmqSender(job.folder / RECORDS, name=job.run, sent=job.sent, close_s=STOP_S)
        self._crops = CropSender(job.folder / CROPS, name=job.run, sent=job.sent_crops) if job.has_store else None
        self._perception: Perception | None = None
        self._counting = threading.Lock()
        self._frames: Counter[CameraId] = Counter()
        self._in_view: dict[CameraId, int] = {}
        self._busy_s = 0.0
        self._reported_counts = PerceiveCounts()
        self._reported_replaced: dict[CameraId, int] = {}
        self._reported_lost = 0

    def run(self) -> None:
        """Exchange messages with the daemon until the end."""
        worker = Worker("perceive", self._perceive)
        while not self._stop.is_set() and not worker.ended.is_set():
            self._send()
            if self._pipe.poll(REPORT_S):
                self._handle(messages.to_worker(self._pipe.recv_bytes()))
            self._outbox.put(self._report())
        self._stop.set()
        self._cameras.stop()
        worker.ended.wait(STOP_S)
        self._outbox.put(self._report())
        if worker.error is not None:
            error = worker.error
            kind = type(error).__name__
            self._outbox.put(
                WorkerFailure(kind, str(error) if isinstance(error, ReidStreamError) else f"{kind}: {error}")
            )
        self._link.close()
        if self._crops is not None:
            self._crops.close()
        if self._previews is not None:
            self._previews.close()
        self._send()
        zmq.Context.instance().term()

    def _changed(self, change: CameraChange) -> None:
        self._outbox.put(CameraChangeMessage(PackedEvent.of(change)))

    def _send(self) -> None:
        while not self._outbox.empty():
            self._pipe.send_bytes(messages.encode(self._outbox.get()))

    def _handle(self, order: messages.ToWorker) -> None:
        match order:
            case AddCamera():
                camera = messages.unpack_camera(order.settings)
                self._configure(camera)
                self._orders.put(lambda perception, _: self._follow(perception, added=[order.camera]))
                # Closing an open one takes seconds if it does not respond.
                threading.Thread(target=self._cameras.put, args=(camera, order.resume), daemon=True).start()
            case ConfigureCamera():
                camera = messages.unpack_camera(order.settings)
                self._configure(camera)
                self._cameras.configure(camera)
            case RemoveCamera():
                # Closing takes seconds if a camera does not respond.
                threading.Thread(target=self._remove, args=(order.camera,), daemon=True).start()
            case StopWorker():
                self._stop.set()

    def _configure(self, camera: Camera) -> None:
        self._settings[camera.id] = camera
        logs.hide_camera(camera)
        cameras = tuple(self._settings.values())
        self._orders.put(lambda _, networks: networks.change_cameras(cameras))

    def _remove(self, camera: CameraId) -> None:
        try:
            resume = self._cameras.remove(camera)
        except KeyError:  # a file that had ended before this process started
            resume = ResumePoint(CameraStats(camera, name=camera, since=time.time(), state="ended"))
        self._settings.pop(camera, None)
        self._orders.put(lambda perception, _: self._follow(perception, removed=[camera]))
        self._orders.put(lambda _, __: self._cameras.forget(camera))
        self._outbox.put(CameraClosed(camera, resume))

    def _follow(
        self, perception: Perception, *, added: Sequence[CameraId] = (), removed: Sequence[CameraId] = ()
    ) -> None:
        if records := perception.change_cameras(added, removed):
            self._link.send(records)
        with self._counting:
            for camera in removed:
                self._in_view.pop(camera, None)

    def _carry_out_orders(self, perception: Perception, networks: Networks) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._orders.get_nowait()(perception, networks)

    def _perceive(self) -> None:
        with self._pulse.busy("load", slack=LOAD_SLACK):
            networks = load_networks(self._job.settings, time.perf_counter)
            perception = self._perception = make_perception(
                self._job.settings,
                networks,
                self._job.run,
                WatchedStages(self._pulse, self._times),
                keep=self._crops.take if self._crops is not None else None,
                show=self._previews.show if self._previews is not None else None,
                attend=self._attention.follow,
            )
        self._outbox.put(WorkerReady())
        while not self._stop.is_set():
            frames = self._cameras.take_frames(TAKE_S)
            self._carry_out_orders(perception, networks)
            if frames is None:  # no camera yet, or all files have ended
                self._stop.wait(TAKE_S)
                continue
            # A removed camera that hangs may still deliver a frame.
            frames = [frame for frame in frames if frame.camera in perception.follow]
            if not frames:
                continue
            start = time.monotonic()
            with self._pulse.busy("perceive", [frame.camera for frame in frames]):
                records = perception.step(frames)
            people = Counter(record.camera for record in records if isinstance(record, Observation))
            with self._counting:
                self._busy_s += time.monotonic() - start
                self._frames.update(frame.camera for frame in frames)
                self._in_view.update({frame.camera: people[frame.camera] for frame in frames})
            self._link.send(records)

    def _report(self) -> WorkerReport:
        stuck = self._pulse.stuck(0.0)
        counts = self._perception.counts if self._perception is not None else PerceiveCounts()
        before, self._reported_counts = self._reported_counts, replace(counts)
        replaced, earlier = self._cameras.replaced, self._reported_replaced
        self._reported_replaced = replaced
        with self._counting:
            frames, self._frames = self._frames, Counter()
            busy_s, self._busy_s = self._busy_s, 0.0
            in_view = dict(self._in_view)
        lost, reported_lost = (self._crops.lost if self._crops is not None else 0), self._reported_lost
        self._reported_lost = lost
        return WorkerReport(
            stage=stuck.stage if stuck is not None else None,
            stage_s=stuck.after_s if stuck is not None else 0.0,
            lost=stuck.cameras if stuck is not None else (),
            stats=tuple(replace(stats) for stats in self._cameras.stats.values()),
            captured=self._cameras.captured,
            in_view=in_view,
            frames=dict(frames),
            replaced={camera: count - earlier.get(camera, 0) for camera, count in replaced.items()},
            counts=counts.less(before),
            times=self._times.take(),
            busy_s=busy_s,
            crops_lost=lost - reported_lost,
            monitoring_faults=self._monitoring.take(),
        )
