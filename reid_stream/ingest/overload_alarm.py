"""Detect the start and the end of an overload (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass

from reid_stream.events import DaemonOverloaded, DaemonRecovered
from reid_stream.ingest.stats import CameraStats
from reid_stream.records import CameraId

WARM_UP_S = 15.0
"""Longest wait for the first frame to be used: networks are slow at their first images."""
WINDOW_S = 2.5
"""Window over which rates are counted, seconds."""
SHORT = 0.9
"""Overloaded below this share of the wanted frames ..."""
ENOUGH = 0.97
"""... recovered from this one on."""
_PATIENCE_SHORT = 2
_PATIENCE_ENOUGH = 3
"""Windows in a row."""
_FOR_SPEED = ("slowed", "behind", "late")
"""Causes of losses that a faster machine would not have."""


@dataclass(frozen=True, slots=True)
class _Counts:
    offered: int
    used: int
    last_packet_at: float


class OverloadAlarm:
    """Compares cameras' counts over windows; `update` may be called at any interval; times on any steady clock."""

    def __init__(self, run: str, wanted_fps: Mapping[CameraId, float]) -> None:
        """`run`: of the daemon; `wanted_fps`: of each camera at most."""
        self._run, self._most = run, dict(wanted_fps)
        self._begin: float | None = None
        self._before: dict[CameraId, _Counts] = {}
        self._free: dict[CameraId, float] = {}
        """Frames per second that a camera gave when nothing held it back."""
        self._short = self._enough = 0
        self._since: float | None = None
        self._started: float | None = None
        self.share = 1.0
        """Used of wanted frames, of all cameras, in the last window."""

    def change_cameras(self, wanted_fps: Mapping[CameraId, float]) -> None:
        """Expect these cameras from now on, each with its highest rate."""
        self._most = dict(wanted_fps)
        self._free = {camera: rate for camera, rate in self._free.items() if camera in self._most}

    @property
    def is_on(self) -> bool:
        """Whether an overload was reported and has not ended."""
        return self._since is not None

    def update(
        self, now: float, utc: float, stats: Mapping[CameraId, CameraStats], used: Mapping[CameraId, int]
    ) -> DaemonOverloaded | DaemonRecovered | None:
        """Return the event to publish, None for none.

        Args:
            now: seconds.
            utc: seconds, for the event.
            stats: of the cameras.
            used: frames of each that went through the pipeline, since the start.
        """
        if self._begin is not None and now - self._begin < WINDOW_S:
            return None
        counts = {camera: _counts(one, used.get(camera, 0)) for camera, one in stats.items()}
        passed_s, before = 0.0 if self._begin is None else now - self._begin, self._before
        self._begin, self._before = now, counts
        if passed_s <= 0:
            return None
        wanted, done = {}, {}
        for camera, one in counts.items():
            first = before.get(camera, one)
            # A camera that sends nothing wants nothing, however much it gave before.
            is_silent = (one.offered, one.last_packet_at) == (first.offered, first.last_packet_at)
            if stats[camera].state == "up" and not is_silent:
                done[camera] = max(0, one.used - first.used) / passed_s
                wanted[camera] = self._wanted(stats[camera], max(0, one.offered - first.offered) / passed_s)
        if self._started is None:
            self._started = now
        if not any(used.values()) and now - self._started < WARM_UP_S:
            return None
        # Where all cameras are silent, nothing is wanted, so nothing is short.
        total = sum(wanted.values())
        self.share = sum(done.values()) / total if total > 0 else 1.0
        return self._judge(now, utc, wanted, done)

    def _wanted(self, camera: CameraStats, offered: float) -> float:
        most = self._most.get(camera.camera, offered)
        if camera.limit_fps is None and not camera.keys_only:
            self._free[camera.camera] = min(most, offered)
        # Slowed far down, it decodes key frames alone, and what lies between them is never counted.
        return min(most, max(offered, self._free.get(camera.camera, most)))

    def _judge(
        self, now: float, utc: float, wanted: Mapping[CameraId, float], done: Mapping[CameraId, float]
    ) -> DaemonOverloaded | DaemonRecovered | None:
        self._short = self._short + 1 if self.share < SHORT else 0
        self._enough = self._enough + 1 if self.share >= ENOUGH else 0
        if self._since is None and self._short >= _PATIENCE_SHORT:
            self._since = now
            shares = {camera: min(1.0, done[camera] / rate) for camera, rate in wanted.items() if rate > 0}
            slowest = min(shares, key=lambda camera: shares[camera])
            return DaemonOverloaded(
                run=self._run,
                told_at=utc,
                wanted_fps=round(sum(wanted.values()), 2),
                used_fps=round(sum(done.values()), 2),
                slowest=slowest,
                least=round(shares[slowest], 3),
                most=round(max(shares.values()), 3),
            )
        if self._since is not None and self._enough >= _PATIENCE_ENOUGH:
            after_s, self._since = now - self._since, None
            return DaemonRecovered(run=self._run, told_at=utc, after_s=round(after_s, 1))
        return None


def _counts(camera: CameraStats, used: int) -> _Counts:
    return _Counts(camera.used + sum(camera.dropped.get(cause, 0) for cause in _FOR_SPEED), used, camera.last_packet_at)
