"""All live cameras behind one inbox: the daemon's source, unless files are replayed as fast as possible.

When the pipeline cannot keep up, `throttle` slows the cameras, evenly or by their priority.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from reid_stream.config import settings as config
from reid_stream.ingest.camera import CameraThread, ResumePoint
from reid_stream.ingest.camera_process import CameraProcess
from reid_stream.ingest.changes import CameraChange
from reid_stream.ingest.convert import GpuConverter
from reid_stream.ingest.inbox import Inbox
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.ingest.stats import CameraStats
from reid_stream.ingest.stats_log import StatsLog
from reid_stream.ingest.throttle import Throttle
from reid_stream.records import CameraId, Frame

STOP_S = 5.0
"""Longest wait for all camera threads together; they are daemon threads, so a hung one ends with the process."""
UNCAPPED_FPS = 30.0
"""Frames per second assumed of a camera without `max_fps`."""


def wanted_fps(camera: config.Camera) -> float:
    """Return the most frames per second that a camera should yield."""
    return UNCAPPED_FPS if camera.max_fps is None else camera.max_fps


class CameraSet:
    """Cameras and files at their own pace. `take_frames` belongs to one thread, all else to any."""

    def __init__(
        self,
        cameras: Sequence[config.Camera],
        settings: config.Ingest,
        on_change: Callable[[CameraChange], None],
        utc: Callable[[], float] | SiteClock = time.time,
        *,
        none_yet: bool = False,
        take_over: GpuConverter | None = None,
        guard: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
        full_every_s: float | None = None,
        is_attended: Callable[[CameraId], bool] = lambda _: True,
    ) -> None:
        """Create the enabled cameras, or none yet, to `put` them later.

        `utc`: the system's clock, to start a time base with (cameras in processes compare with their own), or the
        time base itself.
        `take_over` keeps images that a GPU decodes in its memory, for cameras on threads.
        `guard`: context manager around monitoring code, named by its part; by default its faults propagate.
        `full_every_s`: see `QuietFilter`; `is_attended`: whether a camera's quiet images are wanted as well now.
        """
        self._full_every_s, self._is_attended = full_every_s, is_attended
        self._settings, self._on_change, self._take_over = settings, on_change, take_over
        self.site_clock = utc if isinstance(utc, SiteClock) else SiteClock(utc)
        """The time base of the capture times."""
        self.inbox = Inbox({CameraId(camera.id): float(camera.priority) for camera in cameras})
        self._changing = threading.Lock()
        self._replacing = 0
        """Changes in progress, during which a camera may be missing."""
        self._known = {CameraId(camera.id): camera for camera in cameras}
        self._running: dict[CameraId, CameraThread | CameraProcess] = {}
        self._throttle = Throttle({}, {})
        self._guard = guard
        self._stats_log = StatsLog()
        self._taken_at: float | None = None
        self._taken = 0
        self._replaced = 0
        for camera in cameras:
            if camera.enabled and not none_yet:
                self._make(CameraId(camera.id), None)
        self._share_again()

    @property
    def threads(self) -> tuple[CameraThread | CameraProcess, ...]:
        """Runners of the cameras that are read."""
        return tuple(self._running.values())

    def start(self) -> None:
        """Open the cameras and return."""
        for thread in self.threads:
            thread.start()

    def put(self, camera: config.Camera, resume: ResumePoint | None = None) -> None:
        """Read a camera by these settings; one of that ID that is read already is closed first; its counts continue.

        `resume`: state of its earlier process.
        """
        name = CameraId(camera.id)
        with self._changing:
            self._replacing += 1
        try:
            if name in self._running:
                resume = self.remove(name)
            self.configure(camera)
            self._make(name, resume).start()
            self._share_again()
        finally:
            with self._changing:
                self._replacing -= 1

    def configure(self, camera: config.Camera) -> None:
        """Use other settings for a camera, those of its stream from its next opening by `put` on."""
        name = CameraId(camera.id)
        with self._changing:
            self._known = {**self._known, name: camera}
        self.inbox.set_weight(name, float(camera.priority))
        if name in self._running:
            self._share_again()

    def remove(self, camera: CameraId) -> ResumePoint:
        """Close a camera; return its state for another process. Waits up to `STOP_S` seconds for its thread."""
        with self._changing:
            thread = self._running[camera]
            self._running = {name: other for name, other in self._running.items() if name != camera}
        self._share_again()
        thread.stop()
        thread.join(STOP_S)
        return ResumePoint(thread.stats, thread.captured_at)

    def forget(self, camera: CameraId) -> None:
        """Drop the settings and counts of a camera that was removed for good."""
        with self._changing:
            self._known = {name: one for name, one in self._known.items() if name != camera}
        self.inbox.forget(camera)

    def take_frames(self, timeout_s: float) -> list[Frame] | None:
        """Return the newest frames, at most one per camera; empty after `timeout_s`; None once all have ended.

        A set without cameras has not ended: others may be put into it.
        """
        asked_at = time.monotonic()
        threads = self.threads
        have_ended = bool(threads) and not self._replacing and all(thread.has_ended for thread in threads)
        frames = self.inbox.take_frames(0.0 if have_ended else timeout_s, self._throttle.batch)
        with self._guard("governor"):
            self._look(asked_at, len(frames))
        for camera, thread in self._running.items():
            thread.is_attended = self._is_attended(camera)
        with self._guard("camera log"):
            self._stats_log.log_changes(self.stats)
        return None if have_ended and not frames else frames

    def stop(self) -> None:
        """Close the cameras and wait for their threads."""
        for thread in self.threads:
            thread.stop()
        self.inbox.close()
        until = time.monotonic() + STOP_S
        for thread in self.threads:
            thread.join(max(0.0, until - time.monotonic()))

    @property
    def stats(self) -> dict[CameraId, CameraStats]:
        """Current stats by camera."""
        return {thread.stats.camera: thread.stats for thread in self.threads}

    @property
    def captured(self) -> dict[CameraId, float]:
        """UTC seconds of the newest frame of each camera."""
        return {thread.stats.camera: thread.captured_at for thread in self.threads}

    @property
    def replaced(self) -> dict[CameraId, int]:
        """Frames replaced by newer ones in the inbox, by camera."""
        return self.inbox.dropped

    def _make(self, camera: CameraId, resume: ResumePoint | None) -> CameraThread | CameraProcess:
        one, settings = self._known[camera], self._settings
        made = (
            CameraProcess(
                one, settings, self.inbox, self._on_change, resume, self.site_clock.base_s, self._full_every_s
            )
            if settings.isolate
            else CameraThread(
                one,
                settings,
                self.inbox,
                self._on_change,
                self.site_clock,
                resume,
                self._take_over,
                self._full_every_s,
            )
        )
        with self._changing:
            self._running = {**self._running, camera: made}
        return made

    def _share_again(self) -> None:
        """Redistribute the frame rate among the cameras that are read now."""
        with self._changing:
            known = [self._known[camera] for camera in self._running]
            self._throttle.change(
                {CameraId(camera.id): wanted_fps(camera) for camera in known},
                {CameraId(camera.id): float(camera.priority) for camera in known},
            )

    def _look(self, asked_at: float, frames: int) -> None:
        """Account for the time since the last frames were taken, and slow the cameras under overload."""
        now = time.monotonic()
        if self._taken_at is not None:
            replaced = sum(self.inbox.dropped.values())
            is_new = self._throttle.spent(
                asked_at - self._taken_at, now - asked_at, self._taken, max(0, replaced - self._replaced)
            )
            self._replaced = replaced
            if is_new:
                limits = self._throttle.limits
                for camera, thread in self._running.items():
                    thread.limit_fps = limits.get(camera)
        self._taken_at, self._taken = now, frames
