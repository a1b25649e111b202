"""Main program of a camera's process, started by `camera_process`.

The same `CameraThread` as in the daemon runs here; its frame sink forwards to the daemon. The process ends on request,
at the end of its file, or when the daemon is gone. Ctrl-C, which a terminal sends to all processes, is left to the
daemon.
"""

import os
import resource
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path

import cv2

from reid_stream.config import settings as config
from reid_stream.events.packed import PackedEvent
from reid_stream.ingest.camera import CameraThread, ResumePoint
from reid_stream.ingest.changes import CameraChange
from reid_stream.ingest.frame_ipc import ChangeMessage, StatsMessage, send, send_frame
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.records import Frame

STATS_S = 0.5
"""Interval of status messages in seconds."""
NICE = 10
"""Decoders give way to the pipeline: when a hundred of them would take all CPU time, they fall behind instead and skip
to the next key frame."""
MEMORY_BYTES = 1536 << 20
"""Address space that a camera's process may take beyond its start: 17 images of 8K in H.264 and some."""
OOM_SCORE = 500
_JOIN_S = 1.0
_LIMIT = b"fps "
_ATTENTION = b"attend "


def limit(fps: float | None) -> bytes:
    """Return the message that limits a camera's frames per second; None for no limit."""
    return _LIMIT + (b"" if fps is None else f"{fps:.4g}".encode())


def attention(*, is_on: bool) -> bytes:
    """Return the message that says whether pixels of quiet images are wanted as well."""
    return _ATTENTION + str(int(is_on)).encode()


def serve(
    end: socket.socket,
    camera: config.Camera,
    settings: config.Ingest,
    resume: ResumePoint,
    base_s: float,
    full_every_s: float | None = None,
) -> None:
    """Run the camera to its end, then exit the process."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICE)
    cv2.setNumThreads(0)  # images of some ten thousand cells; threads would cost more
    _bound_memory(has_gpu=settings.hardware_decode)
    with suppress(ImportError):
        from setproctitle import setproctitle

        setproctitle(f"reid-stream: camera {camera.id}")
    with suppress(OSError):  # the daemon is gone
        _run(end, camera, settings, resume, base_s, full_every_s)
    # Ends threads that hang in FFmpeg.
    os._exit(0)


def _bound_memory(*, has_gpu: bool) -> None:
    """Limit the address space, and make this process the first that the kernel ends when memory is short."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")
    if has_gpu:  # drivers map far more than they use
        return
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most if hard < 0 else min(most, hard), hard))


def _run(
    end: socket.socket,
    camera: config.Camera,
    settings: config.Ingest,
    resume: ResumePoint,
    base_s: float,
    full_every_s: float | None,
) -> None:
    way = _WayBack(end)
    thread = CameraThread(
        camera, settings, way, way.changed, SiteClock(base_s=base_s), resume, full_every_s=full_every_s
    )
    way.thread = thread
    thread.start()
    end.settimeout(STATS_S)
    while not thread.has_ended:
        try:
            order = end.recv(16)
            if not order:
                return
            if order.startswith(_LIMIT):
                thread.limit_fps = float(order[len(_LIMIT) :]) if order[len(_LIMIT) :] else None
            elif order.startswith(_ATTENTION):
                thread.is_attended = order[len(_ATTENTION) :] == b"1"
            else:
                break  # a stop request
        except TimeoutError:
            way.send_stats()
    thread.stop()
    thread.join(_JOIN_S)
    way.send_stats()


class _WayBack:
    """Frame sink that forwards to the daemon."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end.dup()  # a timeout belongs to a socket object, and sending has none
        self._end.settimeout(None)
        self._sending = threading.Lock()
        self.thread: CameraThread

    def put(self, frame: Frame) -> None:
        stats = self.thread.stats
        with self._sending, suppress(ConnectionError):
            if not send_frame(self._end, frame, stats):
                stats.dropped["busy"] += 1

    def changed(self, change: CameraChange) -> None:
        stats = self.thread.stats
        with self._sending, suppress(ConnectionError):
            send(self._end, ChangeMessage(stats, PackedEvent.of(change)))

    def send_stats(self) -> None:
        with self._sending:
            send(self._end, StatsMessage(self.thread.stats))
