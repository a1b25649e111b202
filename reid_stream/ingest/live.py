"""All live cameras behind one inbox: the daemon's source, unless files are replayed as fast as it goes."""

import time
from collections.abc import Callable, Sequence

from reid_stream import config
from reid_stream.ingest.camera import CameraThread
from reid_stream.ingest.inbox import Inbox
from reid_stream.ingest.isolated import IsolatedCamera
from reid_stream.ingest.stats import CameraChange, CameraStats
from reid_stream.records import CameraId, Frame

STOP_S = 5.0
"""Longest wait for all camera threads together; they are daemon threads, so one that hangs ends with the process."""


class LiveCameras:
    """Cameras and files at their own pace."""

    def __init__(
        self,
        cameras: Sequence[config.Camera],
        settings: config.Ingest,
        on_change: Callable[[CameraChange], None],
        utc: Callable[[], float] = time.time,
    ) -> None:
        """`utc`: our own clock, for cameras on threads; those in processes ask the machine's."""
        self.inbox = Inbox()
        self.threads: tuple[CameraThread | IsolatedCamera, ...] = tuple(
            IsolatedCamera(camera, settings, self.inbox, on_change)
            if settings.isolate
            else CameraThread(camera, settings, self.inbox, on_change, utc)
            for camera in cameras
            if camera.enabled
        )

    def start(self) -> None:
        """Open the cameras; returns at once."""
        for thread in self.threads:
            thread.start()

    def take(self, timeout_s: float) -> list[Frame] | None:
        """The newest frame of each camera that has one; empty after `timeout_s`; None once all have ended for good."""
        have_ended = all(thread.has_ended for thread in self.threads)
        frames = self.inbox.take(0.0 if have_ended else timeout_s)
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
        """What is known of each camera now."""
        return {thread.stats.camera: thread.stats for thread in self.threads}

    @property
    def replaced(self) -> dict[CameraId, int]:
        """Frames that a newer one replaced in the inbox, per camera."""
        return self.inbox.dropped
