"""Current state and counters of a camera, for the live table, the metrics and `check`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from reid_stream.errors import StreamCause
from reid_stream.records import CameraId, ClockQuality

State = Literal["connecting", "up", "waiting", "ended", "stopped"]
"""`waiting`: failed, will be retried."""

CAUSES = ("rate", "late", "corrupt", "lost", "busy", "slowed", "behind")
"""Causes of dropped frames: over the rate cap; too late for a file's pace; damaged; never arrived (a gap in the
timestamps); not taken from the camera's process in time; over the limit under overload; skipped by a late decoder."""


@dataclass(slots=True)
class CameraStats:
    """Written by the camera's thread alone; read by any thread at any time."""

    camera: CameraId
    name: str
    """Address without secrets."""
    state: State = "connecting"
    since: float = 0.0
    """UTC seconds at which this state started."""
    last_packet_at: float = 0.0
    """Steady seconds (`time.monotonic`, the same in all processes) of the last packet or change of state."""
    reason: str = ""
    """Why it is not up."""
    waits_for: Literal["", "key frame"] = ""
    """What it waits for while it is connecting and packets arrive; empty if nothing."""
    assumed_fps: float | None = None
    """Frames per second at which a file without timestamps (raw video) is played; None for all others."""
    cause: StreamCause | None = None
    codec: str = ""
    size: tuple[int, int] = (0, 0)
    """(width, height) of the frames given out."""
    clock: ClockQuality | None = None
    skew_s: float | None = None
    """The camera's wall clock less ours, seconds; None without RTCP."""
    clock_steps: int = 0
    """Times the system's clock was set while the camera was read."""
    rate: float = 0.0
    """Frames per second decoded, over the last seconds."""
    used_rate: float = 0.0
    """Frames per second handed on, over the last seconds."""
    limit_fps: float | None = None
    """Limit in frames per second under overload; None for no limit."""
    read: int = 0
    """Frames decoded in this run."""
    used: int = 0
    """Frames handed to the inbox in this run."""
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    """Dropped frames by cause; those replaced by newer ones are counted by the inbox."""
    repaired: int = 0
    """Frames that build on a damaged one and show part of its damage until the next key frame."""
    details: int = 0
    """Key frames of the main stream handed on with frames of the substream (`detect_url`)."""
    detail_fault: str = ""
    """Why the main stream beside `detect_url` gives no images; empty while it does, or before it was tried."""
    failures: dict[str, int] = field(default_factory=dict)
    """Attempts that failed and connections that broke, by `StreamCause`."""
    connects: int = 0
    """Connections that delivered frames."""
    keys_only: bool = False
    """Decodes key frames only, since they are frequent enough."""
    hardware: bool = False
    """Decodes on the GPU."""
    hardware_fallbacks: int = 0
    """Times hardware decoding was wanted but not available."""

    def fall_back(self) -> None:
        """Record that the decoder no longer uses the GPU."""
        self.hardware_fallbacks += self.hardware
        self.hardware = False

    @property
    def reconnects(self) -> int:
        """Connections after the first one."""
        return max(0, self.connects - 1)


@dataclass(frozen=True, slots=True)
class ClockSpread:
    """The two cameras whose own clocks differ most."""

    ahead: CameraId
    behind: CameraId
    by_s: float
    """Difference in seconds, at least 0; its error is the difference of their shortest delays, mostly under a frame."""


def clock_spread(skews: Mapping[CameraId, float | None]) -> ClockSpread | None:
    """Return the largest difference between cameras' clocks by their skews; None for fewer than two (pure)."""
    known = sorted((skew, camera) for camera, skew in skews.items() if skew is not None)
    if len(known) < 2:
        return None
    (least, behind), (most, ahead) = known[0], known[-1]
    return ClockSpread(ahead, behind, most - least)


class RateMeter:
    """Events per second over a sliding window (pure)."""

    def __init__(self, window_s: float = 2.0) -> None:
        self._window_s = window_s
        self._begin: float | None = None
        self._count = 0
        self.rate = 0.0

    def tick(self, now: float) -> float:
        """Count one event, `now` on any steady clock; return the rate."""
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
