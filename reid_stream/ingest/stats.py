"""What is known of a camera now: for the live table, the metrics and `check`."""

from dataclasses import dataclass, field
from typing import Literal

from reid_stream.errors import StreamCause
from reid_stream.events import CameraDown, CameraUp
from reid_stream.records import CameraId, ClockQuality

State = Literal["connecting", "up", "waiting", "ended", "stopped"]
"""Waiting: failed, and will be tried again."""

CameraChange = CameraUp | CameraDown
"""What a camera tells when it comes, goes, or comes with another size, codec or clock."""


@dataclass(slots=True)
class CameraStats:
    """Written by the camera's own thread alone; read by anyone, any time."""

    camera: CameraId
    name: str
    """Address without secrets."""
    state: State = "connecting"
    since: float = 0.0
    """UTC seconds at which this state began."""
    reason: str = ""
    """Why it is not up."""
    cause: StreamCause | None = None
    codec: str = ""
    size: tuple[int, int] = (0, 0)
    """(width, height) of the frames given out."""
    clock: ClockQuality | None = None
    skew_s: float | None = None
    """The camera's wall clock less ours, where it tells the time (RTCP)."""
    rate: float = 0.0
    """Frames per second decoded, over the last seconds."""
    used_rate: float = 0.0
    """Frames per second handed on, over the last seconds."""
    read: int = 0
    """Frames decoded in this run."""
    used: int = 0
    """Frames handed to the inbox in this run."""
    dropped: dict[str, int] = field(default_factory=lambda: {"rate": 0, "late": 0, "corrupt": 0})
    """Frames left out here, by cause: `rate` (the cap), `late` (a file we cannot play fast enough), `corrupt`.
    What a newer frame replaced is counted by the inbox."""
    connects: int = 0
    """Times it came up."""
    keys_only: bool = False
    """Decodes key frames alone, since they come often enough."""
    hardware: bool = False
    """Decodes on the GPU."""
    hardware_fallbacks: int = 0
    """Times hardware decoding was wanted and not had."""

    @property
    def reconnects(self) -> int:
        """Times it came back."""
        return max(0, self.connects - 1)


class RateMeter:
    """Events per second over a sliding window (pure)."""

    def __init__(self, window_s: float = 2.0) -> None:
        self._window_s = window_s
        self._begin: float | None = None
        self._count = 0
        self.rate = 0.0

    def tick(self, now: float) -> float:
        """Count one, `now` on any steady clock; gives the rate."""
        if self._begin is None:
            self._begin = now
            return self.rate
        self._count += 1
        passed = now - self._begin
        if passed >= self._window_s:
            self.rate, self._begin, self._count = self._count / passed, now, 0
        elif not self.rate and passed > 0.5:
            return self._count / passed
        return self.rate
