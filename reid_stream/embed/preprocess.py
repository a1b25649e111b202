"""Crop -> network input; the one file that training and serving share (pure).

A network learns with the pixels this file makes and is served with the pixels this file makes, so the two cannot
drift apart: the trainer imports it, the daemon imports it, and a bundle stores nothing but its settings.

Letters: b images, h and w pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """Input format of a re-ID network."""

    height: int
    """Pixels."""
    width: int
    """Pixels."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Subtracted per channel, in [0, 1], in `colour` order."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Divides each channel after the mean is taken off, in `colour` order."""
    colour: Literal["rgb", "bgr"] = "rgb"
    """Channel order of the network; crops are always RGB."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"input size must be positive, got {self.height} x {self.width}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        if self.colour not in ("rgb", "bgr"):
            raise ValueError(f"colour must be rgb or bgr, got {self.colour!r}")


def resize(crop: UInt8, height: int, width: int) -> UInt8:
    """Stretch an RGB crop (h, w, 3) to the network's size.

    Area averaging when the crop shrinks (no aliasing of fine clothing patterns), bilinear when it grows.
    """
    if crop.ndim != 3 or crop.shape[2] != 3 or crop.dtype != np.uint8 or 0 in crop.shape:
        raise ValueError(f"a crop must be (h, w, 3) uint8 with h, w > 0, got {crop.shape} {crop.dtype}")
    if crop.shape[:2] == (height, width):
        return crop
    shrinks = crop.shape[0] * crop.shape[1] > height * width
    resized = cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)


def normalise(images: UInt8, spec: InputSpec) -> Floats:
    """Turn resized RGB images (b, h, w, 3) uint8 into network input (b, 3, h, w) float32."""
    mean = np.asarray(spec.mean, dtype=np.float32) * np.float32(255)
    scale = np.float32(1) / (np.asarray(spec.std, dtype=np.float32) * np.float32(255))
    ordered = images if spec.colour == "rgb" else images[..., ::-1]
    return np.ascontiguousarray(((ordered - mean) * scale).transpose(0, 3, 1, 2), dtype=np.float32)


def prepare(crops: Sequence[UInt8], spec: InputSpec) -> Floats:
    """Turn RGB crops of any size into one network input (b, 3, height, width) float32; b may be 0."""
    images = np.empty((len(crops), spec.height, spec.width, 3), dtype=np.uint8)
    for index, crop in enumerate(crops):
        images[index] = resize(crop, spec.height, spec.width)
    return normalise(images, spec)
