"""Detect motion in a camera's image with a background model on a small grey copy.

Every cell of the grey image has a running mean and a running mean deviation. A cell is in motion where it differs from
its mean by more than its own noise, after light that changed for the whole image is taken off; a motion is a group of
such cells. Cells in motion are learned slowly, so that people who stop stay foreground a while, and a parked car does
not stay it for ever. This is the running Gaussian average of Wren et al., "Pfinder" (IEEE PAMI 19(7), 1997), with the
mean deviation in place of the variance (Stauffer & Grimson's mixture, CVPR 1999, costs ten times as much).

Letters: h and w cells of the grey image.
"""

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from reid_stream.images import UInt8
from reid_stream.ingest.convert import DecodedImage

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

Floats = npt.NDArray[np.float32]

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
_LEAST = 8.0
"""Levels of luma: below it a difference is noise, whatever the cell has learned."""
_DEVIATIONS = 4.0
"""A cell moves beyond so many times its mean deviation."""
_MOST_NOISE = 30.0
"""Grey levels: a cell that always changes (leaves, a screen) ignores changes up to 4 times this."""
_GROUP = 5
"""Cells of a 3 x 3 neighbourhood that must move together; fewer are noise, rain or a wire in the wind."""
_JOINED = np.ones((5, 5), np.uint8)
"""Motions less than 5 cells apart are one region: the legs and the head of a person."""
_MOST_REGIONS = 40
"""Most regions; more count as motion everywhere."""
_LUMA_FORMATS = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "nv21", "gray")
"""Formats whose first plane is 8-bit luma."""
_SWITCHED = 0.6
"""Share of cells in motion from which the camera itself has changed (infrared, exposure, moved): learn it again."""


class MotionDetector:
    """The background model of one camera; one thread at a time."""

    def __init__(self) -> None:
        self._mean: Grey | None = None
        self._noise: Grey = np.empty((0, 0), np.float32)
        self._seen = 0

    def regions(self, grey: Grey, size: tuple[int, int]) -> Floats | None:
        """Learn an image and return where something moves in it.

        Args:
            grey: see `small_grey`; another shape than before starts a new background.
            size: (width, height) of the frame in pixels.

        Returns:
            Boxes (n, 4) in pixels of the frame, none where nothing moves; None where everything may move: while too
            little is known, after the whole image has changed, and for too many motions.
        """
        moving = self._learn(grey)
        if moving is None:
            return None
        if not moving.any():
            return np.empty((0, 4), np.float32)
        # What lies in a hole of another region is part of it. Components with statistics take 15 times as long.
        outlines, _ = cv2.findContours(cv2.dilate(moving, _JOINED), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        if len(outlines) > _MOST_REGIONS:
            return None
        boxes = np.array([cv2.boundingRect(outline) for outline in outlines], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        cells = np.array([grey.shape[1], grey.shape[0]] * 2, np.float32)
        return np.asarray(boxes * (np.array([*size, *size], np.float32) / cells), dtype=np.float32)

    def _learn(self, grey: Grey) -> UInt8 | None:
        """Return which cells move (h, w), 0 or 1."""
        if self._mean is None or self._mean.shape != grey.shape:
            self._begin(grey)
            return None
        # The median, which people do not move, is light that changed for the whole image: clouds, exposure.
        light = float(np.median(grey[::4, ::4] - self._mean[::4, ::4]))
        distance = np.abs(grey - (self._mean + np.float32(light)))
        moving = (distance > np.maximum(self._noise * _DEVIATIONS, _LEAST)).astype(np.uint8)
        moving &= cv2.boxFilter(moving, -1, (3, 3), normalize=False) >= _GROUP
        if cv2.countNonZero(moving) > _SWITCHED * moving.size and self._seen >= WARM_UP:
            self._begin(grey)
            return None
        still = 1 - moving
        distance = np.minimum(distance, _MOST_NOISE)
        for rate, cells in ((_FAST if self._seen >= WARM_UP else 1 / (self._seen + 1), still), (_SLOW, moving)):
            cv2.accumulateWeighted(grey, self._mean, rate, cells)
            cv2.accumulateWeighted(distance, self._noise, rate, cells)
        self._seen += 1
        return None if self._seen <= WARM_UP else moving

    def _begin(self, grey: Grey) -> None:
        self._mean = grey.copy()
        self._noise = np.full(grey.shape, _LEAST / _DEVIATIONS, np.float32)
        self._seen = 1


class PictureMotion:
    """Motion in the decoded images of one camera; one thread at a time."""

    def __init__(self) -> None:
        self._detector = MotionDetector()

    def __call__(self, image: DecodedImage, size: tuple[int, int]) -> Floats | None:
        """Learn an image and return what moves, in pixels of its frame of `size`; see `MotionDetector.regions`.

        None for an image on a GPU, where detecting costs less than fetching the image.
        """
        if image.is_on_gpu:
            return None
        upright = image.orientation
        shape = size if upright.turns % 2 == 0 else size[::-1]
        grey = upright.applied(small_grey(luma_of(image.picture), shape))
        return self._detector.regions(np.ascontiguousarray(grey), size)


def small_grey(luma: UInt8, size: tuple[int, int]) -> Grey:
    """Return a grey image (H, W) averaged over the cells of a frame of `size` (width, height)."""
    width, height = size
    cells = max(1, min(MOST_WIDTH, width // CELL_PX))
    shape = cells, max(1, round(height * cells / width))
    # By every second or so pixel first: averaging all of a large image would cost more than the rest together.
    sampled = cv2.resize(luma, (2 * shape[0], 2 * shape[1]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.resize(sampled, shape, interpolation=cv2.INTER_AREA), dtype=np.float32)


def luma_of(picture: "VideoFrame") -> UInt8:
    """Return the luma (h, w) of a decoded image, without a copy where its format has it as a plane of bytes."""
    if picture.format.name not in _LUMA_FORMATS:
        return np.asarray(picture.reformat(format="gray").to_ndarray(), dtype=np.uint8)
    plane = picture.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return np.asarray(rows[: picture.height, : picture.width], dtype=np.uint8)
