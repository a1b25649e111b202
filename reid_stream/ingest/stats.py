"""What is known of a camera now: for the live table, the metrics and `check`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from reid_stream.errors import StreamCause
from reid_stream.records import CameraId, ClockQuality

State = Literal["connecting", "up", "waiting", "ended", "stopped"]
"""Waiting: failed, and will be tried again."""

CAUSES = ("rate", "late", "corrupt", "lost", "busy", "slowed", "behind")
"""Of frames left out: over the rate cap, of a file that we cannot play fast enough, damaged, never come (lost on the
way, as a gap in the timestamps tells), not taken from the camera's own process in time, over the rate that the machine
can bear now, and not even decoded, since the decoder was late."""


@dataclass(slots=True)
class CameraStats:
    """Written by the camera's own thread alone; read by anyone, any time."""

    camera: CameraId
    name: str
    """Address without secrets."""
    state: State = "connecting"
    since: float = 0.0
    """UTC seconds at which this state began."""
    heard_at: float = 0.0
    """Steady seconds (`time.monotonic`, the same in all processes) of the last packet or change of state."""
    reason: str = ""
    """Why it is not up."""
    waits_for: Literal["", "key frame"] = ""
    """What it waits for while it is connecting and packets arrive; empty for nothing."""
    assumed_fps: float | None = None
    """Frames per second at which a file without timestamps (raw video) is played; None for all others."""
    cause: StreamCause | None = None
    codec: str = ""
    size: tuple[int, int] = (0, 0)
    """(width, height) of the frames given out."""
    clock: ClockQuality | None = None
    skew_s: float | None = None
    """The camera's wall clock less ours, where it tells the time (RTCP)."""
    clock_steps: int = 0
    """Times our own clock was put forward or back while the camera was read."""
    rate: float = 0.0
    """Frames per second decoded, over the last seconds."""
    used_rate: float = 0.0
    """Frames per second handed on, over the last seconds."""
    limit_fps: float | None = None
    """Frames per second that the machine can bear of it now; none where that is all it should give."""
    read: int = 0
    """Frames decoded in this run."""
    used: int = 0
    """Frames handed to the inbox in this run."""
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    """Frames left out here, by cause. What a newer frame replaced is counted by the inbox."""
    repaired: int = 0
    """Frames decoded that are built upon a damaged one, and show a part of its damage until the next key frame."""
    failures: dict[str, int] = field(default_factory=dict)
    """Attempts that failed and connections that broke, by `StreamCause`."""
    connects: int = 0
    """Times it came up."""
    keys_only: bool = False
    """Decodes key frames alone, since they come often enough."""
    hardware: bool = False
    """Decodes on the GPU."""
    hardware_fallbacks: int = 0
    """Times hardware decoding was wanted and not had."""

    def fall_back(self) -> None:
        """Note that the decoder has given up the GPU that it had."""
        self.hardware_fallbacks += self.hardware
        self.hardware = False

    @property
    def reconnects(self) -> int:
        """Times it came back."""
        return max(0, self.connects - 1)


@dataclass(frozen=True, slots=True)
class ClockSpread:
    """The two cameras whose own clocks differ most."""

    ahead: CameraId
    behind: CameraId
    by_s: float
    """How far, never below 0; off by the difference of their shortest delays, under a frame as a rule."""


def clock_spread(skews: Mapping[CameraId, float | None]) -> ClockSpread | None:
    """Compare the clocks of cameras by their skews to ours; None where fewer than two tell theirs (pure)."""
    told = sorted((skew, camera) for camera, skew in skews.items() if skew is not None)
    if len(told) < 2:
        return None
    (least, behind), (most, ahead) = told[0], told[-1]
    return ClockSpread(ahead, behind, most - least)


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
