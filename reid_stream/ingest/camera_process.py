"""A camera whose decoder runs in a separate process: a crash inside FFmpeg or a driver costs this camera alone.

    daemon                                   camera's process (`decoder`)
    CameraProcess ── pump thread ◀─ socket ── CameraThread: open, decode, stamp, cap the rate, scale
                        └─▶ inbox              images travel as shared memory (`seam`)

The process is forked from multiprocessing's fork server, which has loaded FFmpeg and nothing else: a start takes some
milliseconds, and all cameras share that memory. A process that crashes, or that hangs where FFmpeg cannot be
interrupted, is ended, reported (`crashed`, `stuck`) and replaced after the same waits as a stream that failed.
"""

import contextlib
import random
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.context import ForkServerProcess

from reid_stream.config import settings as config
from reid_stream.config import stopping
from reid_stream.config.backoff import RetryPolicy
from reid_stream.errors import StreamCause
from reid_stream.events import CameraDown
from reid_stream.images import Detail, Picture
from reid_stream.ingest import camera_process_main, frame_ipc
from reid_stream.ingest.camera import CameraRunner, FrameSink, ResumePoint
from reid_stream.ingest.changes import CameraChange, unpack_change
from reid_stream.ingest.child_processes import fork_server
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.ingest.stats import CameraStats
from reid_stream.ingest.url import address
from reid_stream.records import CameraId

STUCK_S = 10.0
"""Delay after which a camera's process is stuck: without a message, or beyond its own timeouts."""
_LOOK_S = 0.5
_END_S = 2.0
"""Time limit to end after a stop request."""


class CameraProcess(CameraRunner):
    """Counterpart of `CameraThread` whose decoder runs in another process."""

    def __init__(
        self,
        camera: config.Camera,
        settings: config.Ingest,
        inbox: FrameSink,
        on_change: Callable[[CameraChange], None],
        resume: ResumePoint | None = None,
        base_s: float | None = None,
        full_every_s: float | None = None,
    ) -> None:
        """`on_change` is called on this camera's thread when it comes up, changes (size, codec, clock), or goes
        down.

        Without `resume` all counts are 0. `base_s` is that of the site's clock; without, one that starts now.
        `full_every_s`: see `QuietFilter`.
        """
        self._full_every_s = full_every_s
        self._camera = camera
        self._settings = settings
        self._inbox = inbox
        self._on_change = on_change
        self._base_s = SiteClock().base_s if base_s is None else base_s
        self._id = CameraId(camera.id)
        fresh = CameraStats(self._id, name=camera.id, since=time.time())
        super().__init__(camera.id, fresh if resume is None else resume.stats)
        # Without its password, whose file may be missing.
        self._is_recorded = address(camera.model_copy(update={"username": None})).is_local
        self.captured_at = float("-inf") if resume is None else resume.captured_at
        self.process: ForkServerProcess | None = None
        """The decoder's process; None while waiting for the next attempt."""

    def _run(self) -> None:
        retry = RetryPolicy(self._settings.backoff_first_s, self._settings.backoff_max_s, random.Random().random)
        while not self._stop.is_set():
            began, connects = time.monotonic(), self.stats.connects
            try:
                cause, words = self._play()
            except Exception as error:  # noqa: BLE001 (must not stop the others; its text may hold the URL)
                cause, words = "crashed", f"failed unexpectedly: {type(error).__name__}"
            # A service manager that stops us may have ended it, or the fork server, first.
            if self.has_ended or self._stop.is_set() or stopping.is_requested(stopping.GRACE_S):
                break
            worked_s = time.monotonic() - began if self.stats.connects > connects else 0.0
            self._went_down(f"{self.stats.name} {words}", cause)
            self._stop.wait(retry.next_wait_s(worked_s))
        if self.stats.state not in ("ended", "stopped"):
            was_up = self.stats.state == "up"
            self.stats = replace(self.stats, state="stopped", reason="stopped", since=time.time())
            if was_up:
                self._on_change(CameraDown(camera=self._id, changed_at=time.time(), reason="stopped"))

    def _play(self) -> tuple[StreamCause, str]:
        """Run one process to its end; return the cause and text of the failure, should it have ended by itself."""
        near, far = frame_ipc.pair()
        resume = ResumePoint(replace(self.stats, state="connecting"), self.captured_at)
        # The fork server hands nothing else over; above all no password appears on a command line.
        process = fork_server().Process(
            target=camera_process_main.serve,
            args=(far, self._camera, self._settings, resume, self._base_s, self._full_every_s),
            name=self._camera.id,
            daemon=True,
        )
        is_stuck, code = False, 0
        try:
            with near:
                with far:
                    process.start()
                self.process = process
                is_stuck = self._pump(near)
        finally:
            self.process = None
            code = _end(process, at_once=is_stuck)
        return ("stuck", "hung in its decoder, which was ended") if is_stuck else ("crashed", _how(code))

    def _pump(self, near: socket.socket) -> bool:
        """Handle messages until the process is gone or `_stop` is set; return True if it is stuck."""
        near.settimeout(_LOOK_S)
        last_message_at = time.monotonic()
        is_stopping = False
        limit_fps: float | None = None
        is_attended = True
        while True:
            if self._stop.is_set() and not is_stopping:
                is_stopping, last_message_at = True, time.monotonic()
                with contextlib.suppress(OSError):
                    near.send(b"stop")
            elif self.limit_fps != limit_fps:
                limit_fps = self.limit_fps
                with contextlib.suppress(OSError):
                    near.send(camera_process_main.limit(limit_fps))
            elif self.is_attended != is_attended:
                is_attended = self.is_attended
                with contextlib.suppress(OSError):
                    near.send(camera_process_main.attention(is_on=is_attended))
            try:
                received = frame_ipc.receive(near)
            except TimeoutError:
                limit_s = _END_S if is_stopping else STUCK_S
                if time.monotonic() - last_message_at > limit_s:
                    return True
                continue
            if received is None:
                return False
            last_message_at = time.monotonic()
            self._take(*received)
            if not is_stopping and self._is_late():
                return True

    def _take(self, message: frame_ipc.Message, image: Picture | None, detail: Detail | None) -> None:
        self.stats = message.stats
        match message:
            case frame_ipc.FrameMessage():
                assert image is not None
                frame = frame_ipc.frame_of(self._id, message, image, detail)
                self.captured_at = frame.captured_at
                self._inbox.put(frame)
            case frame_ipc.ChangeMessage():
                self._on_change(unpack_change(message.change))

    def _is_late(self) -> bool:
        """Whether the camera's thread is past its own timeouts, so hangs where FFmpeg cannot be interrupted."""
        if self._is_recorded or self.stats.state not in ("connecting", "up"):
            return False
        limit_s = max(self._settings.open_timeout_s, self._settings.read_timeout_s) + STUCK_S
        return time.monotonic() - self.stats.last_packet_at > limit_s

    def _went_down(self, reason: str, cause: StreamCause) -> None:
        failures = {**self.stats.failures, cause: self.stats.failures.get(cause, 0) + 1}
        is_news = self.stats.state == "up" or self.stats.reason != reason
        self.stats = replace(
            self.stats,
            state="waiting",
            since=time.time(),
            reason=reason,
            cause=cause,
            rate=0.0,
            used_rate=0.0,
            failures=failures,
        )
        if is_news:
            self._on_change(CameraDown(camera=self._id, changed_at=time.time(), reason=reason))


def _end(process: ForkServerProcess, *, at_once: bool) -> int:
    """Wait for a process to end, or kill it; return its exit code, 0 if it never started."""
    if process.pid is None:
        return 0
    if at_once:
        process.kill()
    process.join(_END_S)
    if process.exitcode is None:
        process.kill()
        process.join()
    code = process.exitcode or 0
    process.close()
    return code


def _how(code: int) -> str:
    if code >= 0:
        return f"lost its decoder's process (exit code {code})"
    try:
        return f"lost its decoder's process: it crashed ({signal.Signals(-code).name})"
    except ValueError:
        return f"lost its decoder's process: it crashed (signal {-code})"
