"""Run the daemon's ingest and record which frames came when, and at what cost to the process."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rtsp import timecode
from reid_stream.config.settings import Camera, Ingest
from reid_stream.events import CameraDown, CameraUp
from reid_stream.ingest.camera_process import CameraProcess
from reid_stream.ingest.camera_set import CameraSet
from reid_stream.ingest.changes import CameraChange
from reid_stream.ingest.stats import CameraStats
from reid_stream.records import CameraId, Frame

LOOK_S = 0.005
"""Interval at which `until` checks its condition."""


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    """One frame as it reached the consumer."""

    camera: str
    at: float
    """Time at which it was taken from the inbox, UTC seconds."""
    captured_at: float
    clock: str
    size: tuple[int, int]
    written_at: float | None
    """The time code in the image; None where there is none or it is damaged."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Resources of a process."""

    rss_mb: float
    threads: int
    sockets: int
    files: int
    """Open file descriptors, the sockets included."""


class CameraWatch:
    """Live cameras, and a thread that takes their frames as they come."""

    def __init__(self, cameras: Sequence[Camera], settings: Ingest, utc: Callable[[], float]) -> None:
        self.changes: list[tuple[float, CameraChange]] = []
        """(monotonic seconds, event)."""
        self.seen: list[ReceivedFrame] = []
        self.live = CameraSet(cameras, settings, self._changed, utc)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._consume, name="drill", daemon=True)

    def start(self) -> None:
        """Open the cameras."""
        self.live.start()
        self._thread.start()

    def stop(self) -> bool:
        """Close them; False if a thread of theirs has not ended."""
        self.live.stop()
        self._over.set()
        self._thread.join()
        return all(thread.join(0.0) for thread in self.live.threads)

    def stats(self, camera: str) -> CameraStats:
        """Return the present statistics of a camera."""
        return self.live.stats[CameraId(camera)]

    def until(self, holds: Callable[[], bool], most_s: float) -> float:
        """Wait until `holds` is true; return the seconds that took, infinity if it was not within `most_s`."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > most_s:
                return float("inf")
            time.sleep(LOOK_S)
        return time.monotonic() - began

    @property
    def processes(self) -> tuple[int, ...]:
        """Present process IDs of the cameras that run in their own process."""
        return tuple(
            pid
            for thread in self.live.threads
            if isinstance(thread, CameraProcess) and (process := thread.process) is not None
            if (pid := process.pid) is not None
        )

    def are_up(self, since: float = 0.0) -> bool:
        """Whether all cameras deliver, and came up after `since` (monotonic seconds)."""
        up = {change.camera for at, change in list(self.changes) if isinstance(change, CameraUp) and at >= since}
        return all(stats.state == "up" and camera in up for camera, stats in self.live.stats.items())

    def downs(self, camera: str) -> list[tuple[float, CameraDown]]:
        """Return when and why a camera went down."""
        return [
            (at, change)
            for at, change in list(self.changes)
            if isinstance(change, CameraDown) and change.camera == camera
        ]

    def of(self, camera: str, since: int = 0) -> list[ReceivedFrame]:
        """Return the frames of a camera, from the `since`-th of all frames on."""
        return [seen for seen in self.seen[since:] if seen.camera == camera]

    def _changed(self, change: CameraChange) -> None:
        self.changes.append((time.monotonic(), change))

    def _consume(self) -> None:
        while not self._over.is_set():
            for frame in self.live.take_frames(0.1) or ():
                self.seen.append(_seen(frame))


def _seen(frame: Frame) -> ReceivedFrame:
    now = time.time()
    return ReceivedFrame(frame.camera, now, frame.captured_at, frame.clock, frame.size, timecode.read(frame.pixels))


@contextmanager
def watching(
    cameras: Sequence[Camera], settings: Ingest, utc: Callable[[], float] = time.time
) -> Iterator[CameraWatch]:
    """Watch cameras while the block runs."""
    watched = CameraWatch(cameras, settings, utc)
    watched.start()
    try:
        yield watched
    finally:
        watched.stop()


def camera(name: str, url: str, **options: object) -> Camera:
    """Return settings of a camera, of which all frames are used by default."""
    return Camera.model_validate({"id": name, "url": url, "max_fps": None, **options})


def footprint(*others: int) -> Footprint:
    """Return the resources of this process and `others` together (Linux)."""
    each = [process_footprint(pid) for pid in (os.getpid(), *others)]
    return Footprint(
        sum(one.rss_mb for one in each),
        sum(one.threads for one in each),
        sum(one.sockets for one in each),
        sum(one.files for one in each),
    )


def process_footprint(pid: int) -> Footprint:
    """Return the resources of one process.

    Raises:
        OSError: it has ended.
    """
    process = Path("/proc") / str(pid)
    status = dict(
        line.split(":", 1) for line in (process / "status").read_text(encoding="utf-8").splitlines() if ":" in line
    )
    targets = [_target(link) for link in (process / "fd").iterdir()]
    return Footprint(
        rss_mb=int(status["VmRSS"].split()[0]) / 1024,
        threads=int(status["Threads"]),
        sockets=sum(target.startswith("socket:") for target in targets),
        files=len(targets),
    )


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""
