"""A worker: cameras, networks, trackers, and the way of their records to the daemon; what `pool` starts.

Two threads beside those of the cameras: this one listens and tells, the other perceives. A worker ends when it is told
to, when it cannot go on, or when the daemon is gone; signals that a terminal or a service manager sends to all
processes are left to the daemon, which ends its workers in the order of the data.
"""

import contextlib
import os
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ParamSpec, TypeVar

import zmq

from reid_stream.config.settings import Settings
from reid_stream.errors import ReidStreamError
from reid_stream.ingest.camera_set import CameraSet
from reid_stream.ingest.changes import CameraChange, PackedChange
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.link.zmq import ZmqSender
from reid_stream.observe import logs
from reid_stream.observe.metrics import Monitoring
from reid_stream.pipeline import PerceiveCounts, Perception
from reid_stream.records import CameraId, Observation
from reid_stream.runtime.networks import load_networks, perceive, take_over
from reid_stream.runtime.perception_thread import LOAD_SLACK, STOP_S, TAKE_S
from reid_stream.runtime.watchdog import Pulse, Worker
from reid_stream.runtime.workers import messages
from reid_stream.runtime.workers.crops import CropSender
from reid_stream.runtime.workers.messages import (
    AddCamera,
    CameraChangeMessage,
    CameraRemoved,
    FromWorker,
    RemoveCamera,
    StopWorker,
    WorkerEnd,
    WorkerFailure,
    WorkerReady,
    WorkerReport,
)

P = ParamSpec("P")
R = TypeVar("R")

TELL_S = 0.25
"""Between two words on how it goes."""


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """What a worker is to be."""

    number: int
    run: str
    """Name of its tracks' run: another one at each start."""
    settings: Settings
    cores: tuple[int, ...]
    """To run on; none for all."""
    folder: Path
    """Where the daemon's sockets are."""
    base_s: float
    """Of the site's clock."""
    has_store: bool


RECORDS = "records"
"""Socket for records, in the folder."""
CROPS = "crops"
"""Socket for crops."""


def serve(pipe: Connection, job: WorkerJob) -> None:
    """Be a worker until it is over; never returns."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
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
    # Whatever hangs in native code ends here.
    os._exit(0)


class StageTimes:
    """Seconds of each call of each stage, until they are told; a `networks.Timer`."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def timed(self, stage: str, call: Callable[P, R]) -> Callable[P, R]:
        """Wrap a stage."""

        def measured(*args: P.args, **kwargs: P.kwargs) -> R:
            begin = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                passed = time.perf_counter() - begin
                with self._lock:
                    self._times.setdefault(stage, []).append(passed)

        return measured

    def take(self) -> dict[str, list[float]]:
        """Give what came since the last call."""
        with self._lock:
            times, self._times = self._times, {}
        return times


class _Process:
    def __init__(self, pipe: Connection, job: WorkerJob) -> None:
        self._pipe, self._job = pipe, job
        self._said: queue.SimpleQueue[FromWorker] = queue.SimpleQueue()
        self._monitoring = Monitoring()
        self._cameras = CameraSet(
            job.settings.cameras,
            job.settings.ingest,
            self._changed,
            SiteClock(base_s=job.base_s),
            none_yet=True,
            take_over=take_over(job.settings),
            guard=self._monitoring.part,
        )
        self._stop = threading.Event()
        self._pulse = Pulse()
        self._times = StageTimes()
        self._link = ZmqSender(job.folder / RECORDS)
        self._crops = CropSender(job.folder / CROPS) if job.has_store else None
        self._half: Perception | None = None
        self._counting = threading.Lock()
        self._frames: Counter[CameraId] = Counter()
        self._in_view: dict[CameraId, int] = {}
        self._busy_s = 0.0
        self._told_counts = PerceiveCounts()
        self._told_replaced: dict[CameraId, int] = {}
        self._told_lost = 0

    def run(self) -> None:
        """Listen and tell until it is over."""
        worker = Worker("perceive", self._perceive)
        while not self._stop.is_set() and not worker.ended.is_set():
            self._say()
            if self._pipe.poll(TELL_S):
                self._obey(messages.to_worker(self._pipe.recv_bytes()))
            self._said.put(self._how_it_goes())
        self._stop.set()
        self._cameras.stop()
        worker.ended.wait(STOP_S)
        self._said.put(self._how_it_goes())
        if worker.error is not None:
            error = worker.error
            kind = type(error).__name__
            self._said.put(
                WorkerFailure(kind, str(error) if isinstance(error, ReidStreamError) else f"{kind}: {error}")
            )
        elif worker.ended.is_set() and self._link.finish(STOP_S):
            self._said.put(WorkerEnd())
        self._link.close()
        if self._crops is not None:
            self._crops.close()
        self._say()
        zmq.Context.instance().term()

    def _changed(self, change: CameraChange) -> None:
        self._said.put(CameraChangeMessage(PackedChange.of(change)))

    def _say(self) -> None:
        while not self._said.empty():
            self._pipe.send_bytes(messages.encode(self._said.get()))

    def _obey(self, order: messages.ToWorker) -> None:
        match order:
            case AddCamera():
                self._cameras.add(order.camera, order.resume)
            case RemoveCamera():
                # Closing takes seconds where a camera does not answer.
                threading.Thread(target=self._leave, args=(order.camera,), daemon=True).start()
            case StopWorker():
                self._stop.set()

    def _leave(self, camera: CameraId) -> None:
        resume = self._cameras.remove(camera)
        self._said.put(CameraRemoved(camera, resume))

    def _perceive(self) -> None:
        with self._pulse.busy("load", slack=LOAD_SLACK):
            half = self._half = perceive(
                self._job.settings,
                load_networks(self._job.settings),
                self._job.run,
                self._times,
                pulse=self._pulse,
                keep=self._crops.take if self._crops is not None else None,
            )
        self._said.put(WorkerReady())
        while not self._stop.is_set():
            frames = self._cameras.take_frames(TAKE_S)
            if frames is None:  # no camera yet, or all files at their ends
                self._stop.wait(TAKE_S)
                continue
            if not frames:
                continue
            began = time.monotonic()
            with self._pulse.busy("perceive", [frame.camera for frame in frames]):
                records = half.step(frames)
            people = Counter(record.camera for record in records if isinstance(record, Observation))
            with self._counting:
                self._busy_s += time.monotonic() - began
                self._frames.update(frame.camera for frame in frames)
                self._in_view.update({frame.camera: people[frame.camera] for frame in frames})
            self._link.send(records)

    def _how_it_goes(self) -> WorkerReport:
        stuck = self._pulse.stuck(0.0)
        counts = self._half.counts if self._half is not None else PerceiveCounts()
        before, self._told_counts = self._told_counts, replace(counts)
        replaced, earlier = self._cameras.replaced, self._told_replaced
        self._told_replaced = replaced
        with self._counting:
            frames, self._frames = self._frames, Counter()
            busy_s, self._busy_s = self._busy_s, 0.0
            in_view = dict(self._in_view)
        lost, told_lost = (self._crops.lost if self._crops is not None else 0), self._told_lost
        self._told_lost = lost
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
            crops_lost=lost - told_lost,
            monitoring_faults=self._monitoring.take(),
        )
