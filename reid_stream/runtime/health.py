"""Answers to /healthz and /readyz."""

from collections.abc import Callable

from reid_stream.runtime.camera_reports import CameraReports
from reid_stream.runtime.identification_thread import IdentificationThread
from reid_stream.runtime.interfaces import PerceptionRunner, Sink


class Health:
    """Health of a running daemon; thread-safe."""

    def __init__(
        self,
        perception: PerceptionRunner,
        identification: IdentificationThread,
        cameras: CameraReports,
        sink: Sink,
        *,
        camera_count: Callable[[], int],
        limit_s: float,
        is_live: bool,
        instructions_fault: Callable[[], str | None],
    ) -> None:
        """Read the state of a daemon's parts.

        Args:
            perception: cameras to records.
            identification: records to events.
            cameras: that are up.
            sink: takes the events.
            camera_count: returns the number of cameras of the site.
            limit_s: a stage that takes longer hangs, seconds.
            is_live: False for a replay, which needs no camera.
            instructions_fault: returns why operator instructions cannot be read; None while they can.
        """
        self.settings_fault = ""
        """Reason why the cams.yaml on disk is not in use; empty if it is."""
        self.idle = ""
        """Reason why no camera is read, where that is in order; empty where one should be."""
        self._perception, self._identification, self._cameras, self._sink = perception, identification, cameras, sink
        self._camera_count, self._limit_s, self._is_live = camera_count, limit_s, is_live
        self._instructions_fault = instructions_fault

    def healthy(self) -> tuple[bool, str]:
        """Return whether all stages work, and a text; cameras and Redis do not count, as a restart would not help."""
        if self._identification.error is not None:
            return False, f"identification has failed: {self._identification.error}"
        for part in (self._perception, self._identification):
            stuck = part.stuck(self._limit_s)
            if stuck is not None:
                return False, f"{stuck.stage} has not answered for {stuck.after_s:.0f} s"
        return True, f"ok, {self._cameras.up} of {self._camera_count()} cameras{self._remark()}"

    def _remark(self) -> str:
        return f"; {self.settings_fault}" if self.settings_fault else ""

    def ready(self) -> tuple[bool, str]:
        """Return whether frames arrive and events can be stored, and a text."""
        is_healthy, text = self.healthy()
        if not is_healthy:
            return False, text
        can_store, where = self._sink.ready()
        if not can_store:
            return False, where
        if self._is_live and self.idle:
            return True, f"{text}; {self.idle}"
        if self._is_live and not self._cameras.up:
            return False, f"no camera delivers frames (0 of {self._camera_count()}){self._remark()}"
        text = f"{text}, events: {where}"
        fault = self._instructions_fault()
        # Tracking works without instructions: the fault is reported, but the daemon is ready.
        return True, text if fault is None else f"{text}, operator instructions are not read: {fault}"
