"""What every camera of a live site is: a thread from `start` to its end, and what it tells of itself."""

import threading
from abc import ABC, abstractmethod

from reid_stream.ingest.stats import CameraStats


class CameraRunner(ABC):
    """A camera with a thread of its own."""

    def __init__(self, name: str, stats: CameraStats) -> None:
        self._stop = threading.Event()
        # A daemon thread: should FFmpeg hang where it cannot be interrupted, the process can still end.
        self._thread = threading.Thread(target=self._run, name=f"camera {name}", daemon=True)
        self.stats = stats
        self.limit_fps: float | None = None
        """Frames per second it may give, below its `max_fps`; set by whoever takes them, any time."""

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; returns at once. A camera that is being opened gives up within a fraction of a second."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for its end; False if it has not ended by then."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def has_ended(self) -> bool:
        """It will give no more frames: stopped, or a file at its end."""
        return self.stats.state in ("ended", "stopped")

    @abstractmethod
    def _run(self) -> None:
        """Live until `_stop` is set."""
