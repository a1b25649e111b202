"""Run perception in several processes: start workers, assign cameras to them, replace those that fail.

    this process                                worker 1, 2, ...  (`process`)
    WorkerPool ◀── pipe: reports, cameras ──▶   cameras ─▶ inbox ─▶ detect ─▶ track ─▶ embed
    link ◀──────── ZeroMQ, ipc: records ─────┘
    store ◀─────── ZeroMQ, ipc: crops ───────┘  (where crops are stored)

A worker that crashes, hangs or falls silent is ended and restarted, without effect on the others. Counts are kept here,
so that they only increase. A camera moves to another worker when loads have differed for long and one is overloaded.
"""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

import structlog

from reid_stream import errors
from reid_stream.config.differences import ReconfiguredCamera, SettingsChange
from reid_stream.config.settings import Camera, Settings
from reid_stream.engines.cpus import cpu_count
from reid_stream.errors import ReidStreamError
from reid_stream.events import CameraDown
from reid_stream.ingest.camera import ResumePoint
from reid_stream.ingest.camera_set import wanted_fps
from reid_stream.ingest.changes import CameraChange, unpack_change
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.ingest.stats import CameraStats
from reid_stream.link.zmq import ZmqReceiver
from reid_stream.observe.metrics import Metrics
from reid_stream.pipeline import Keep, PerceiveCounts
from reid_stream.records import CameraId
from reid_stream.runtime.interfaces import Supervisor
from reid_stream.runtime.perception_thread import LOAD_SLACK, STOP_S
from reid_stream.runtime.watchdog import HungStage
from reid_stream.runtime.workers import messages
from reid_stream.runtime.workers.balancing import WorkerLoads
from reid_stream.runtime.workers.crops import CropReceiver
from reid_stream.runtime.workers.handle import WorkerHandle
from reid_stream.runtime.workers.placement import assign, split_cores
from reid_stream.runtime.workers.process import CROPS, RECORDS

LOOK_S = 0.1
_log = structlog.get_logger(__name__)


class WorkerPool:
    """Workers and their cameras; a `PerceptionRunner`."""

    def __init__(
        self,
        settings: Settings,
        *,
        run: str,
        model: str,
        workers: int,
        cores: Sequence[int],
        folder: Path,
        metrics: Metrics,
        keep: Keep | None = None,
        clock: SiteClock | None = None,
    ) -> None:
        """Bind the sockets; start nothing yet.

        Args:
            settings: of the site.
            run: of the daemon.
            model: hash of the embedder's bundle.
            workers: number of processes.
            cores: CPU cores to split among them.
            folder: private folder for the sockets.
            metrics: counts workers and the time of stages.
            keep: stores crops; None where they are not stored.
            clock: time base of capture times.
        """
        self.model = model
        self.counts = PerceiveCounts()
        self.link = ZmqReceiver(folder / RECORDS)
        self.stats: dict[CameraId, CameraStats] = {
            CameraId(camera.id): CameraStats(CameraId(camera.id), name=camera.id, since=time.time())
            for camera in settings.cameras
            if camera.enabled
        }
        self.replaced: dict[CameraId, int] = {}
        self._keep = CropReceiver(folder / CROPS, keep) if keep is not None else None
        self._run, self._folder = run, folder
        self._metrics = metrics
        self._supervisor: Supervisor | None = None
        self._captured: dict[CameraId, float] = {}
        self._moving: dict[CameraId, int] = {}
        """Cameras that are moving, each with the number of its new worker."""
        self._reported_lost: Counter[str] = Counter()
        self._leaving: dict[CameraId, int] = {}
        """Cameras that are removed, each with the number of the worker that is closing it."""
        self._orders: SimpleQueue[SettingsChange] = SimpleQueue()
        self._known = {CameraId(camera.id): camera for camera in settings.cameras if camera.enabled}
        wanted = {CameraId(camera.id): wanted_fps(camera) for camera in settings.cameras if camera.enabled}
        split = split_cores(cores, workers)
        threads = settings.models.threads
        each = max(1, threads // workers) if threads else max(1, min(len(split[0]), cpu_count() // workers))
        self._settings = settings.model_copy(
            update={"models": settings.models.model_copy(update={"threads": each}), "workers": 1}
        )
        self.workers = [
            WorkerHandle(n + 1, cameras, mine)
            for n, (cameras, mine) in enumerate(zip(assign(wanted, workers), split, strict=True))
        ]
        self._loads = WorkerLoads()
        self._limit_s = settings.watchdog.stage_s
        self._base_s = (clock or SiteClock()).base_s

    def start(self, supervisor: Supervisor) -> None:
        """Start all workers; returns at once."""
        self._supervisor = supervisor
        for worker in self.workers:
            self._start(worker)

    def watch(self, supervisor: Supervisor, stop: threading.Event) -> None:
        """Watch the workers until `stop` is set or all cameras have ended for good.

        Raises:
            ReidStreamError: a worker could not start because of the settings or the models.
        """
        while not stop.is_set() and not supervisor.has_failed and not self._have_ended():
            self._listen(supervisor)
            while not self._orders.empty():
                self._carry_out(self._orders.get())
            self._restart_lost(supervisor)
            with self._metrics.monitoring.part("worker loads"):
                self._balance()
                self._count_lost()
            supervisor.check(self._limit_s)

    def change_cameras(self, change: SettingsChange) -> None:
        """Have `watch` add, remove and change cameras; waits for the removed ones to be closed."""
        self._leaving.update({CameraId(name): 0 for name in change.removed})
        self._orders.put(change)
        until = time.monotonic() + STOP_S
        while any(name in self._leaving for name in change.removed) and time.monotonic() < until:
            time.sleep(LOOK_S / 2)

    def close(self) -> None:
        """Stop all workers; what they sent can still be received."""
        self._stop()
        if self._keep is not None:
            self._keep.close()
        for camera, stats in self.stats.items():
            if stats.state == "up":
                self._down(camera, "stopped", "stopped")

    def _stop(self) -> None:
        for worker in self.workers:
            worker.send(messages.StopWorker())
        until = time.monotonic() + STOP_S
        running = [worker for worker in self.workers if worker.pipe is not None]
        while running and time.monotonic() < until:
            wait([worker.pipe for worker in running if worker.pipe is not None], LOOK_S)
            for worker in list(running):
                received, is_open = worker.receive()
                for message in received:
                    self._take(worker, message, None)
                if not is_open:
                    self._end(worker, until - time.monotonic())
                    running.remove(worker)
        for worker in running:
            _log.error("worker_killed", worker=worker.number)
            self._end(worker, 0.0)

    def _end(self, worker: WorkerHandle, wait_s: float) -> str:
        has_run = worker.process is not None
        reason = worker.end(wait_s)
        if has_run:
            self.link.counts.end(worker.run, worker.sent.value)
            if self._keep is not None:
                self._keep.counts.end(worker.run, worker.sent_crops.value)
        return reason

    def _count_lost(self) -> None:
        """Count what was lost on the sockets of workers that were killed."""
        lost = {"observations": self.link.counts.lost, "crops": self._keep.counts.lost if self._keep is not None else 0}
        for what, count in lost.items():
            self._metrics.worker_records_lost.labels(what).inc(count - self._reported_lost[what])
        self._reported_lost = Counter(lost)

    def stuck(self, limit_s: float) -> HungStage | None:  # noqa: ARG002 (the protocol's)
        """Return None: workers that hang are replaced."""
        return None

    def _carry_out(self, change: SettingsChange) -> None:
        for name in change.removed:
            self._remove(CameraId(name))
        for one in change.changed:
            self._configure(one)
        for camera in change.added:
            self._add(camera)

    def _remove(self, camera: CameraId) -> None:
        self._moving.pop(camera, None)
        for by_camera in (self._known, self.stats, self._captured, self.replaced):
            by_camera.pop(camera, None)
        self._leaving.pop(camera, None)
        for worker in self.workers:
            if camera not in worker.cameras:
                continue
            worker.cameras.remove(camera)
            if worker.is_loaded:
                self._leaving[camera] = worker.number
                worker.send(messages.RemoveCamera(camera))

    def _configure(self, one: ReconfiguredCamera) -> None:
        camera = CameraId(one.camera.id)
        self._known[camera] = one.camera
        if one.reopens:
            # A file that has ended is read again.
            self.stats[camera] = replace(self.stats[camera], state="waiting")
        for worker in self.workers:
            # One that is moving is opened by its new worker, which gets these settings.
            if camera in worker.cameras and worker.is_loaded and camera not in self._moving:
                if one.reopens:
                    self._read(worker, camera)
                else:
                    worker.send(messages.ConfigureCamera(messages.pack_camera(one.camera)))

    def _add(self, one: Camera) -> None:
        """Add a camera to the worker whose cameras want the fewest frames."""
        camera = CameraId(one.id)
        self._known[camera] = one
        self.stats[camera] = CameraStats(camera, name=one.id, since=time.time())
        worker = min(self.workers, key=lambda worker: sum(wanted_fps(self._known[name]) for name in worker.cameras))
        worker.cameras.append(camera)
        if worker.is_loaded:
            self._read(worker, camera)

    def _start(self, worker: WorkerHandle) -> None:
        worker.start(self._settings, self._run, self._folder, self._base_s, has_store=self._keep is not None)

    def _report_camera(self, change: CameraChange) -> None:
        assert self._supervisor is not None, "workers are started by `start`"
        self._supervisor.report_camera(change)

    def _have_ended(self) -> bool:
        return bool(self.stats) and all(stats.state == "ended" for stats in self.stats.values())

    def _listen(self, supervisor: Supervisor) -> None:
        pipes: dict[Connection, WorkerHandle] = {
            worker.pipe: worker for worker in self.workers if worker.pipe is not None
        }
        ready = wait(list(pipes), LOOK_S) if pipes else []
        if not pipes:
            time.sleep(LOOK_S)
        for pipe in ready:
            worker = pipes[pipe]  # type: ignore[index]  # one of `pipes`
            received, is_open = worker.receive()
            failed = None
            for message in received:
                if isinstance(message, messages.WorkerFailure):
                    failed = message
                self._take(worker, message, supervisor)
            if failed is not None:
                self._raise_fatal(worker, failed)
                self._lost(worker, supervisor, "failed", failed.text)
            elif not is_open:
                self._lost(worker, supervisor, "crashed", self._end(worker, 1.0))

    def _take(self, worker: WorkerHandle, message: messages.FromWorker, supervisor: Supervisor | None) -> None:
        match message:
            case messages.WorkerReady():
                worker.is_loaded, worker.loaded_at = True, time.monotonic()
                self._metrics.worker_up.labels(str(worker.number)).set(1)
                for camera in worker.cameras:
                    self._read(worker, camera)
                _log.info("worker_up", worker=worker.number, pid=worker.pid, cameras=len(worker.cameras))
                if supervisor is not None:
                    supervisor.publish([worker.up_event()])
            case messages.CameraChangeMessage():
                self._report_camera(unpack_change(message.change))
            case messages.WorkerReport():
                self._count(worker, message, supervisor)
            case messages.CameraClosed():
                self._leaving.pop(message.camera, None)
                self._assign_moved(message.camera, message.resume)

    def _read(self, worker: WorkerHandle, camera: CameraId) -> None:
        resume = ResumePoint(replace(self.stats[camera]), self._captured.get(camera, float("-inf")))
        if resume.stats.state not in ("ended", "stopped"):
            worker.send(messages.AddCamera(camera, messages.pack_camera(self._known[camera]), resume))

    def _count(self, worker: WorkerHandle, report: messages.WorkerReport, supervisor: Supervisor | None) -> None:
        worker.report = report
        self.stats.update({stats.camera: stats for stats in report.stats if stats.camera in worker.cameras})
        self._captured.update({camera: at for camera, at in report.captured.items() if camera in self._known})
        for camera, count in report.replaced.items():
            if camera not in self._known:
                continue
            self.replaced[camera] = self.replaced.get(camera, 0) + count
        self.counts.more(report.counts)
        self._metrics.worker_records_lost.labels("crops").inc(report.crops_lost)
        if supervisor is not None:
            supervisor.count_frames(report.frames)
        with self._metrics.monitoring.part("worker loads"):
            for part, count in report.monitoring_faults.items():
                self._metrics.monitoring_faults.labels(part).inc(count)
            for stage, times in report.times.items():
                histogram = self._metrics.stage.labels(stage)
                for seconds in times:
                    histogram.observe(seconds)
            load = self._loads.update(worker.number, report, time.monotonic())
            self._metrics.worker_load.labels(str(worker.number)).set(load)

    def _restart_lost(self, supervisor: Supervisor) -> None:
        now = time.monotonic()
        for worker in self.workers:
            if worker.again_at is not None:
                if now >= worker.again_at:
                    self._start(worker)
                continue
            slack = 1.0 if worker.is_loaded else LOAD_SLACK
            report = worker.report
            hangs = report is not None and report.stage is not None and report.stage_s > self._limit_s * slack
            if hangs or now - worker.last_packet_at > self._limit_s * slack:
                stuck = (
                    HungStage(report.stage or "", report.stage_s, report.lost)
                    if report is not None and hangs
                    else HungStage("worker", now - worker.last_packet_at, ())
                )
                self._end(worker, 0.0)
                supervisor.report_hang(stuck, "restarted", is_ours=False)
                self._lost(
                    worker, supervisor, "stuck", f"hung in {stuck.stage} for {stuck.after_s:.0f} s and was ended"
                )

    def _raise_fatal(self, worker: WorkerHandle, failed: messages.WorkerFailure) -> None:
        """Raise an error that kept a worker from starting the first time: every other worker would fail with it."""
        kind = getattr(errors, failed.kind, None)
        if worker.starts == 1 and not worker.is_loaded and isinstance(kind, type) and issubclass(kind, ReidStreamError):
            raise kind(failed.text)

    def _lost(
        self, worker: WorkerHandle, supervisor: Supervisor, cause: Literal["crashed", "stuck", "failed"], reason: str
    ) -> None:
        self._end(worker, 1.0)
        now = time.monotonic()
        wait = worker.retry.next_wait_s(now - worker.loaded_at if worker.is_loaded else 0.0)
        worker.again_at, worker.is_loaded, worker.report = now + wait, False, None
        self._loads.forget(worker.number)
        self._leaving = {camera: number for camera, number in self._leaving.items() if number != worker.number}
        self._metrics.worker_up.labels(str(worker.number)).set(0)
        self._metrics.workers_lost.labels(str(worker.number), cause).inc()
        _log.error("worker_lost", worker=worker.number, cause=cause, reason=reason, again_in_s=round(wait, 2))
        supervisor.publish([worker.down_event(cause, reason, again_in_s=wait)])
        for camera in list(worker.cameras):
            was_up = self.stats[camera].state == "up"
            if self.stats[camera].state != "ended":
                self._down(camera, "waiting", f"worker {worker.number} {reason}", is_reported=was_up)
            if camera in self._moving:
                self._assign_moved(camera, None)

    def _down(
        self, camera: CameraId, state: Literal["waiting", "stopped"], reason: str, *, is_reported: bool = True
    ) -> None:
        now = time.time()
        self.stats[camera] = replace(
            self.stats[camera], state=state, since=now, reason=reason, rate=0.0, used_rate=0.0, limit_fps=None
        )
        if is_reported:
            self._report_camera(CameraDown(camera=camera, changed_at=now, reason=reason))

    def _balance(self) -> None:
        if self._moving or any(not worker.is_loaded for worker in self.workers):
            return
        move = self._loads.due(time.monotonic(), {worker.number: worker.cameras for worker in self.workers})
        if move is None:
            return
        self._moving[move.camera] = move.target
        self._metrics.cameras_moved.inc()
        _log.info("camera_reassigned", camera=move.camera, source=move.source, target=move.target)
        self.workers[move.source - 1].send(messages.RemoveCamera(move.camera))

    def _assign_moved(self, camera: CameraId, resume: ResumePoint | None) -> None:
        """Give a camera that its old worker has closed to its new one."""
        number = self._moving.pop(camera, None)
        if number is None:
            return
        for worker in self.workers:
            with suppress(ValueError):
                worker.cameras.remove(camera)
        if resume is not None:
            self.stats[camera] = replace(resume.stats, state="waiting" if resume.stats.state != "ended" else "ended")
            self._captured[camera] = resume.captured_at
        target = self.workers[number - 1]
        target.cameras.append(camera)
        if target.is_loaded:
            self._read(target, camera)
