"""Fit any image into the network's input without changing its aspect ratio, and map boxes back (pure).

    image (h, w) -> scaled to fit -> grey bars -> network;   boxes of the network -> boxes of the image

The image is scaled to whole pixels, so the factor differs a little between the axes; the way back uses the factors
that were really applied and is exact. Networks that take any size get bars only up to the next multiple of their
stride: a 16:9 camera costs 640x384, not 640x640.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Placement of an image in the network's input; all in pixels."""

    source: tuple[int, int]
    """(width, height) of the image."""
    network: tuple[int, int]
    """(width, height) of the network's input."""
    scaled: tuple[int, int]
    """(width, height) of the image within it."""
    left: int
    """Bar on the left."""
    top: int
    """Bar above."""

    def draw(self, image: UInt8, canvas: UInt8, pad: int) -> None:
        """Write an image (h, w, 3) and its bars into `canvas`, of the network's size."""
        width, height = self.scaled
        right, bottom = self.left + width, self.top + height
        canvas[: self.top] = pad
        canvas[bottom:] = pad
        canvas[self.top : bottom, : self.left] = pad
        canvas[self.top : bottom, right:] = pad
        target = canvas[self.top : bottom, self.left : right]
        if self.scaled == self.source:
            target[:] = image
        else:
            cv2.resize(image, self.scaled, dst=target, interpolation=cv2.INTER_LINEAR)

    def to_input(self, boxes: Floats) -> Floats:
        """Map boxes (n, 4) from the image's pixels to the network's."""
        return np.asarray(boxes * self._factor() + self._offset(), dtype=np.float32)

    def to_picture(self, boxes: Floats) -> Floats:
        """Map boxes (n, 4) from the network's pixels to the image's, unclipped."""
        return np.asarray((boxes - self._offset()) / self._factor(), dtype=np.float32)

    def _factor(self) -> Floats:
        across, down = self.scaled[0] / self.source[0], self.scaled[1] / self.source[1]
        return np.array([across, down, across, down], dtype=np.float32)

    def _offset(self) -> Floats:
        return np.array([self.left, self.top, self.left, self.top], dtype=np.float32)


def fit(
    source: tuple[int, int], limit: tuple[int, int], *, stride: int | None = None, is_centred: bool = True
) -> Letterbox:
    """Lay out an image of `source` (width, height) in at most `limit` (width, height).

    Args:
        source: (width, height) of the image.
        limit: (width, height) that it must fit in; multiples of `stride`.
        stride: bars end at the next multiple of it; none fills up to `limit`.
        is_centred: bars on both sides (Ultralytics), else on the right and below only (YOLOX).
    """
    if min(*source, *limit) < 1:
        raise ValueError(f"sizes must be positive, got {source} in {limit}")
    factor = min(limit[0] / source[0], limit[1] / source[1])
    width, height = (min(most, max(1, round(side * factor))) for side, most in zip(source, limit, strict=True))
    network = limit
    if stride is not None:
        network = min(limit[0], -(-width // stride) * stride), min(limit[1], -(-height // stride) * stride)
    left, top = ((network[0] - width) // 2, (network[1] - height) // 2) if is_centred else (0, 0)
    return Letterbox(source=source, network=network, scaled=(width, height), left=left, top=top)
