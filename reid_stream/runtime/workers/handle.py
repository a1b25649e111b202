"""One worker in the daemon: its process, pipe, cameras and state."""

import ctypes
import multiprocessing
import random
import signal
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Literal

from reid_stream.config.backoff import RetryPolicy
from reid_stream.config.settings import Settings
from reid_stream.events import WorkerDown, WorkerUp
from reid_stream.ingest.child_processes import fork_server
from reid_stream.link.zmq import SentCount
from reid_stream.records import CameraId
from reid_stream.runtime.workers import messages, process
from reid_stream.runtime.workers.process import WorkerJob

FIRST_S = 0.25
"""Full wait before a lost worker is restarted for the first time."""
MOST_S = 30.0
"""Longest full wait before a restart."""
_MOST_MESSAGES = 1000
_KILL_S = 5.0


class WorkerHandle:
    """A worker, across restarts; used by one thread."""

    def __init__(self, number: int, cameras: list[CameraId], cores: tuple[int, ...]) -> None:
        self.number = number
        self.cameras = cameras
        self.cores = cores
        self.starts = 0
        self.retry = RetryPolicy(FIRST_S, MOST_S, random.Random().random)
        self.is_loaded = False
        self.loaded_at = 0.0
        self.again_at: float | None = None
        """Steady seconds at which it is restarted; None while it runs."""
        self.last_packet_at = 0.0
        """Steady seconds of its last message."""
        self.report: messages.WorkerReport | None = None
        """The latest."""
        self.pipe: Connection | None = None
        self.process: ForkServerProcess | None = None
        self.run = ""
        """Run of its tracks, and its name on the sockets."""
        self.sent: SentCount = ctypes.c_uint64()
        self.sent_crops: SentCount = ctypes.c_uint64()

    def start(self, settings: Settings, run: str, folder: Path, base_s: float, *, has_store: bool) -> None:
        """Start its process, whose tracks belong to a run of their own."""
        self.starts += 1
        near, far = multiprocessing.Pipe()
        self.run = f"{run}.w{self.number}.{self.starts}"
        context = fork_server()
        # Shared memory, which keeps the counts of a process that was killed.
        self.sent, self.sent_crops = context.RawValue(ctypes.c_uint64), context.RawValue(ctypes.c_uint64)
        job = WorkerJob(
            number=self.number,
            run=self.run,
            settings=settings,
            cores=self.cores,
            folder=folder,
            base_s=base_s,
            has_store=has_store,
            sent=self.sent,
            sent_crops=self.sent_crops,
        )
        # It starts the processes of its cameras, so it must not be a daemon in multiprocessing's sense; it ends when
        # its pipe is closed.
        started = context.Process(target=process.serve, args=(far, job), name=f"worker {self.number}")
        with far:
            started.start()
        self.pipe, self.process = near, started
        self.is_loaded = False
        self.again_at, self.report = None, None
        self.last_packet_at = time.monotonic()

    @property
    def pid(self) -> int | None:
        """ID of its process, while there is one."""
        return self.process.pid if self.process is not None else None

    def up_event(self) -> WorkerUp:
        """Return the event that it has loaded its networks."""
        return WorkerUp(worker=self.number, changed_at=time.time(), cameras=tuple(self.cameras), starts=self.starts)

    def down_event(self, cause: Literal["crashed", "stuck", "failed"], reason: str, *, again_in_s: float) -> WorkerDown:
        """Return the event that it was lost."""
        return WorkerDown(
            worker=self.number,
            changed_at=time.time(),
            cameras=tuple(self.cameras),
            cause=cause,
            reason=reason,
            again_in_s=round(again_in_s, 3),
        )

    def send(self, order: messages.ToWorker) -> None:
        """Send an order; if the process has ended, `receive` returns that."""
        if self.pipe is not None:
            with suppress(OSError):
                self.pipe.send_bytes(messages.encode(order))

    def receive(self) -> tuple[list[messages.FromWorker], bool]:
        """Return the messages that have come, and whether its pipe is still open."""
        received: list[messages.FromWorker] = []
        if self.pipe is None:
            return received, False
        try:
            while len(received) < _MOST_MESSAGES and self.pipe.poll():
                received.append(messages.from_worker(self.pipe.recv_bytes()))
        except (EOFError, OSError):
            return received, False
        finally:
            if received:
                self.last_packet_at = time.monotonic()
        return received, True

    def end(self, wait_s: float) -> str:
        """End its process, by force after `wait_s`; return how it ended."""
        if self.pipe is not None:
            self.pipe.close()
        ended, self.pipe, self.process = self.process, None, None
        if ended is None or ended.pid is None:
            return "did not start"
        ended.join(wait_s)
        if ended.exitcode is None:
            ended.kill()
            ended.join(_KILL_S)
        code = ended.exitcode
        if code is not None:
            ended.close()
        return _how(code)


def _how(code: int | None) -> str:
    if code is None:
        return "cannot be ended"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"crashed ({signal.Signals(-code).name})"
    except ValueError:
        return f"crashed (signal {-code})"
