"""Whether something moves in a camera's image: a background model on a small grey copy (pure).

Every cell of the grey image has a running mean and a running mean deviation. A cell is in motion where it differs from
its mean by more than its own noise, after light that changed for the whole image is taken off; a motion is a group of
such cells. Cells in motion are learned slowly, so that who stops stays foreground for a while, and a parked car does
not stay it for ever. This is the running Gaussian average of Wren et al., "Pfinder" (IEEE PAMI 19(7), 1997), with the
mean deviation in place of the variance (Stauffer & Grimson's mixture, CVPR 1999, costs ten times as much).

Letters: h and w cells of the grey image.
"""

import cv2
import numpy as np
import numpy.typing as npt

from reid_stream.images import UInt8

Grey = npt.NDArray[np.float32]
"""(h, w), 0..255."""

CELL_PX = 5
"""Pixels across a cell: a person of 40 px, the smallest that is embedded, is 8 cells high and 3 wide."""
MOST_WIDTH = 384
"""Cells across at most; beyond 1920 px the cells grow."""
WARM_UP = 8
"""Images learned before the first answer; until then everything moves."""
_FAST = 0.05
"""Share of a new image in the background, where nothing moves."""
_SLOW = 0.004
"""The same where something moves: at 10 fps a parked car becomes background in half a minute."""
_LEAST = 9.0
"""Grey levels: below it a difference is noise, whatever the cell has learned."""
_DEVIATIONS = 4.0
"""A cell moves beyond so many times its mean deviation."""
_MOST_NOISE = 30.0
"""Grey levels: a cell that always changes (leaves, a screen) is deaf up to 4 times this."""
_GROUP = 5
"""Cells of a 3 x 3 neighbourhood that must move together; fewer are noise, rain or a wire in the wind."""
_SWITCHED = 0.6
"""Share of cells in motion from which the camera itself has changed (infrared, exposure, moved): learn it again."""


class MotionDetector:
    """The background model of one camera; one thread at a time."""

    def __init__(self) -> None:
        self._mean: Grey | None = None
        self._noise: Grey = np.empty((0, 0), np.float32)
        self._seen = 0

    def moves(self, image: UInt8) -> bool:
        """Learn an RGB image (h, w, 3) and return whether something moves in it; True while too little is known.

        An image of another size than before starts a new background.
        """
        grey = small_grey(image)
        if self._mean is None or self._mean.shape != grey.shape:
            self._begin(grey)
            return True
        # The median, which people do not move, is light that changed for the whole image: clouds, exposure.
        light = float(np.median(grey[::4, ::4] - self._mean[::4, ::4]))
        distance = np.abs(grey - (self._mean + np.float32(light)))
        moving = (distance > np.maximum(self._noise * _DEVIATIONS, _LEAST)).astype(np.uint8)
        moving &= cv2.boxFilter(moving, -1, (3, 3), normalize=False) >= _GROUP
        share = cv2.countNonZero(moving) / moving.size
        if share > _SWITCHED and self._seen >= WARM_UP:
            self._begin(grey)
            return True
        still = 1 - moving
        distance = np.minimum(distance, _MOST_NOISE)
        for rate, cells in ((_FAST if self._seen >= WARM_UP else 1 / (self._seen + 1), still), (_SLOW, moving)):
            cv2.accumulateWeighted(grey, self._mean, rate, cells)
            cv2.accumulateWeighted(distance, self._noise, rate, cells)
        self._seen += 1
        return self._seen <= WARM_UP or share > 0

    def _begin(self, grey: Grey) -> None:
        self._mean = grey.copy()
        self._noise = np.full(grey.shape, _LEAST / _DEVIATIONS, np.float32)
        self._seen = 1


def small_grey(image: UInt8) -> Grey:
    """Return an RGB image as (h, w) grey, averaged over cells."""
    height, width = image.shape[:2]
    cells = max(1, min(MOST_WIDTH, width // CELL_PX))
    size = (cells, max(1, round(height * cells / width)))
    # By every second or so pixel first: averaging all of a large image would cost more than the rest together.
    sampled = cv2.resize(image, (2 * size[0], 2 * size[1]), interpolation=cv2.INTER_NEAREST)
    shrunk = cv2.resize(sampled, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(shrunk, cv2.COLOR_RGB2GRAY), dtype=np.float32)
