"""Limit the frames of each camera to what the machine can process (pure).

Frames that will not be used should cost nothing: above what the pipeline can take, cameras are slowed before their
images are scaled, copied and handed over, and below a frame a second they may decode key frames alone (`pace`). The
pipeline is kept a little below its limit, for frames that need not wait are fresh: latency is then that of one batch.
"""

from collections.abc import Mapping
from itertools import accumulate

from reid_stream.records import CameraId

WINDOW_S = 1.0
"""Interval between two checks, seconds."""
FULL = 0.97
"""Share of the time at work from which on the pipeline counts as full."""
AIM = 0.9
"""Share at which it is then held ..."""
EASY = 0.82
"""... and below which cameras get more again."""
_LEAST_REPLACED = 0.05
"""Least share of replaced frames under overload; below it, the pipeline is busy but keeps up."""
_PATIENCE = 2
"""Checks in a row over the limit: a single one may be a network being compiled for a new image size."""
_FASTER = 2.0
"""Largest factor by which rates rise per check."""
_LEAST_FPS = 0.05
_FIRST_BATCH = 4
BATCH_S = 0.25
"""Longest time of a batch, seconds: the wait of a frame that arrives just after its start."""


class Throttle:
    """Controller of the cameras' frame rates by how the pipeline's time was spent."""

    def __init__(self, wanted: Mapping[CameraId, float], weights: Mapping[CameraId, float]) -> None:
        """`wanted`: frames per second of each camera where nothing is short; `weights`: shares where something is."""
        self._wanted, self._weights = dict(wanted), dict(weights)
        self._busy_s = self._idle_s = 0.0
        self._frames = self._replaced = 0
        self._full = 0
        self._frame_s: float | None = None
        self._total: float | None = None
        """Frames per second of all cameras; none while nothing is short."""
        self.limits: dict[CameraId, float] = {}
        """Frames per second; cameras that are not named are free."""

    def change(self, wanted: Mapping[CameraId, float], weights: Mapping[CameraId, float]) -> None:
        """Change the cameras."""
        self._wanted, self._weights = dict(wanted), dict(weights)
        self._share()

    @property
    def batch(self) -> int:
        """Frames to take at once at most."""
        # A hundred cameras give a hundred frames for the first batch, before the cost of one is known.
        return _FIRST_BATCH if self._frame_s is None else max(1, int(BATCH_S / max(self._frame_s, 1e-6)))

    def spent(self, busy_s: float, idle_s: float, frames: int, replaced: int) -> bool:
        """Account for a period of work and the wait before it; True if `limits` changed.

        Args:
            busy_s: seconds that `frames` took.
            idle_s: seconds without a frame to take.
            frames: how many were taken.
            replaced: frames that newer ones replaced meanwhile.
        """
        if self._frame_s is None and frames:
            self._frame_s = busy_s / frames
        self._busy_s += busy_s
        self._idle_s += idle_s
        self._frames += frames
        self._replaced += replaced
        if self._busy_s + self._idle_s < WINDOW_S:
            return False
        load = self._busy_s / (self._busy_s + self._idle_s)
        if self._frames:
            price = self._busy_s / self._frames
            self._frame_s = price if self._frame_s is None else (self._frame_s + price) / 2
        is_short = load > FULL and self._replaced > _LEAST_REPLACED * self._frames
        self._full = self._full + 1 if is_short else 0
        self._busy_s = self._idle_s = 0.0
        self._frames = self._replaced = 0
        if self._full >= _PATIENCE and self._frame_s:
            bearable = AIM / self._frame_s
            self._total = bearable if self._total is None else min(bearable, AIM * self._total)
            self._full = 0
        elif self._total is not None and load < EASY:
            self._total *= min(_FASTER, AIM / max(load, 1e-3))
            if self._total >= sum(self._wanted.values()):
                self._total = None
        else:
            return False
        self._share()
        return True

    def _share(self) -> None:
        self.limits = {} if self._total is None else share(self._total, self._wanted, self._weights)


def share(total: float, wanted: Mapping[CameraId, float], weights: Mapping[CameraId, float]) -> dict[CameraId, float]:
    """Split `total` in proportion to the weights, none above its demand; the rest goes to the others (max-min).

    Those who get all that they want are not named.
    """
    given: dict[CameraId, float] = {}
    # Those who are satisfied by the least level come first.
    order = sorted(wanted, key=lambda camera: wanted[camera] / weights.get(camera, 1.0))
    # Weights of a camera and all after it, added up from the end: subtracting as one goes could leave 0 by rounding.
    sums = list(accumulate(weights.get(camera, 1.0) for camera in reversed(order)))
    left = total
    for camera, weight in zip(order, reversed(sums), strict=True):
        rate = min(wanted[camera], left / weight * weights.get(camera, 1.0))
        left = max(0.0, left - rate)
        if rate < wanted[camera]:
            given[camera] = max(_LEAST_FPS, rate)
    return given
