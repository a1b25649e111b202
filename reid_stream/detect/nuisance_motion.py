"""Ignore motion without people: leaves, flags, screens, a place that a person has just left (pure).

A part of the image where something moved in two detections that found no people is ignored until the next full look is
due, unless the motion grows beyond it. Letters: n boxes.
"""

import numpy as np
import numpy.typing as npt

from reid_stream import boxes as box_maths
from reid_stream.detect.regions import widened
from reid_stream.records import Floats

Bools = npt.NDArray[np.bool_]

_CELL_PX = 16
"""Cell size of the grid on which motions are counted, pixels."""
_LOOKS = 2
"""Detections without a person after which a part is ignored."""
_WITHIN = 0.9
"""Share of a motion that must lie in such parts."""


class NuisanceMotion:
    """Parts of one camera's image whose motion showed no people."""

    def __init__(self, size: tuple[int, int], lasts_s: float) -> None:
        """Keep parts of an image of `size` (width, height) in pixels for `lasts_s` seconds."""
        self.size = size
        self._lasts_s = lasts_s
        shape = -(-size[1] // _CELL_PX), -(-size[0] // _CELL_PX)
        self._looks = np.zeros(shape, np.uint8)
        self._until = np.full(shape, -np.inf)

    def learn(self, at: float, moving: Floats, people: Floats) -> None:
        """Learn a detection.

        Args:
            at: of its frame, UTC seconds.
            moving: (n, 4) what moved in it.
            people: (m, 4) all boxes that were found or are followed.
        """
        near = widened(people, 0.2, 0.2, float(_CELL_PX))
        shared = box_maths.intersection(moving, near).max(axis=1, initial=0)
        for box, area in zip(moving, shared, strict=True):
            cells = self._cells(box)
            if area > 0:
                self._looks[cells] = 0
            else:
                self._until[cells] = at + self._lasts_s
                self._looks[cells] += self._looks[cells] < _LOOKS
        for box in near:
            self._looks[self._cells(box)] = 0

    def holds(self, moving: Floats, now: float) -> Bools:
        """Return which motions (n,) lie in such parts."""
        ignored = (self._looks >= _LOOKS) & (self._until >= now) & (self._until <= now + self._lasts_s)
        if not ignored.any():
            return np.zeros(len(moving), dtype=bool)
        return np.array([ignored[self._cells(box)].mean() >= _WITHIN for box in moving], dtype=bool)

    def _cells(self, box: Floats) -> tuple[slice, slice]:
        x1, y1, x2, y2 = np.maximum(box, 0) / _CELL_PX
        return slice(int(y1), max(int(y1) + 1, int(np.ceil(y2)))), slice(int(x1), max(int(x1) + 1, int(np.ceil(x2))))
