"""Tell from a track's boxes which side a person shows: where they walk to, across the image and towards it (pure)."""

import math
from collections import deque
from dataclasses import dataclass, field

from reid_stream.records import Floats

_WINDOW_S = 0.6
"""Time over which movement is measured, seconds."""
_ACROSS = 0.25
"""Heights per second to the left or right, from which a person is seen from the side."""
_ALONG = 0.08
"""Growth per second, natural logarithm, from which a person comes or goes."""

Pose = tuple[int, int]
"""To the left, neither or to the right (-1, 0, 1); away, neither or towards (-1, 0, 1)."""


@dataclass(slots=True)
class PoseHistory:
    """Newest boxes of one track."""

    _steps: deque[tuple[float, float, float]] = field(default_factory=deque)
    """Time, UTC seconds; middle, in heights; height, pixels."""

    def add(self, at: float, box: Floats) -> Pose:
        """Add a box (4,) of time `at` and return the pose that it shows."""
        height = max(1.0, float(box[3] - box[1]))
        self._steps.append((at, float(box[0] + box[2]) / 2 / height, height))
        while at - self._steps[0][0] > _WINDOW_S:
            self._steps.popleft()
        first_at, first_x, first_height = self._steps[0]
        passed_s = at - first_at
        if passed_s <= 0:
            return 0, 0
        across = (self._steps[-1][1] - first_x) / passed_s
        along = math.log(height / first_height) / passed_s
        return _sign(across, _ACROSS), _sign(along, _ALONG)


def _sign(value: float, least: float) -> int:
    return 0 if abs(value) < least else 1 if value > 0 else -1
