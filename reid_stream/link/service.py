"""Log how one end of the link between hosts is served."""

import time

import structlog

FULL_S = 5.0
"""Wait for room, seconds, from which on the link is logged as full."""
_CLASH_S = 60.0
"""Least seconds between two log lines about a camera that two hosts read."""
_log = structlog.get_logger(__name__)


class Service:
    """State of one end; used by the thread that has it."""

    def __init__(self) -> None:
        self.fault: str | None = None
        """Why nothing passes; None while it can."""
        self._is_full = False
        self._clashed_at: dict[str, float] = {}

    def note(self, fault: str | None) -> None:
        """Note the outcome of a request."""
        if fault is not None and self.fault is None:
            _log.warning("link_away", reason=fault)
        elif fault is None and self.fault is not None:
            _log.info("link_back")
        self.fault = fault

    def note_wait(self, waited_s: float, entries: int) -> None:
        """Note that a batch still waits for room on a stream of so many entries."""
        if waited_s >= FULL_S and not self._is_full:
            self._is_full = True
            _log.warning("link_full", entries=entries)

    def note_sent(self, waited_s: float) -> None:
        """Note that a batch was sent after so long a wait."""
        if self._is_full:
            self._is_full = False
            _log.info("link_has_room", after_s=round(waited_s, 1))

    def report_clash(self, camera: str, host: str) -> None:
        """Log that a host sends records of a camera that another host has opened since."""
        now = time.monotonic()
        if now - self._clashed_at.get(camera, float("-inf")) >= _CLASH_S:
            self._clashed_at[camera] = now
            _log.warning("camera_read_twice", camera=camera, host=host)
