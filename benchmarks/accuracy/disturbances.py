"""Footage of bad cameras and bad weather: filters over the images of a clip, and over its truth where they move.

Each filter is a function of the image's number and of random numbers with a fixed seed, so a clip is always filtered
the same. Letters: h and w pixels.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from reid_stream import boxes as box_maths
from reid_stream.evaluation.align import Boxes
from reid_stream.images import UInt8

Doubles = npt.NDArray[np.float64]
Size = tuple[int, int]
"""Size of an image: (width, height), pixels."""
Change = Callable[[UInt8, int, np.random.Generator], UInt8]
"""Filter: RGB image (h, w, 3), its number from 0, random numbers -> the image as the camera gives it."""
Move = Callable[[int, Size, np.random.Generator], Doubles]
"""Motion of the camera: number of an image, its size, random numbers -> affine matrix (2, 3) from where a point was to
where the camera shows it."""

_LEAST_INSIDE = 0.5
"""Share of a true box that must stay inside the image for it to count."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Filter, motion of the camera and encoder options of one disturbance of a clip."""

    change: Change = lambda image, _number, _random: image
    move: Move | None = None
    options: Mapping[str, str] = field(default_factory=lambda: {"crf": "20", "g": "20"})
    """Options of the encoder libx264."""


def _night(image: UInt8, _number: int, random: np.random.Generator) -> UInt8:
    dark = 102 * np.power(image.astype(np.float32) / 255, np.float32(1.8))
    return _clipped(dark + _grain(image, 7.0, random))


def _noise(image: UInt8, _number: int, random: np.random.Generator) -> UInt8:
    return _clipped(image.astype(np.float32) + _grain(image, 15.0, random))


def _rain(image: UInt8, _number: int, random: np.random.Generator) -> UInt8:
    height, width = image.shape[:2]
    drops = np.zeros((height, width), np.uint8)
    for x, y, length in zip(
        random.integers(0, width, 250), random.integers(0, height, 250), random.integers(10, 40, 250), strict=True
    ):
        cv2.line(drops, (int(x), int(y)), (int(x) + int(length) // 6, int(y + length)), 90, 1, cv2.LINE_AA)
    soft = np.asarray(cv2.GaussianBlur(image, (3, 3), 0), dtype=np.float32)
    return _clipped(soft + np.asarray(cv2.blur(drops, (2, 3)), dtype=np.float32)[..., None])


def _flicker(image: UInt8, number: int, _random: np.random.Generator) -> UInt8:
    """Bands of mains light in a rolling shutter whose rate is no divisor of 50 Hz."""
    rows = np.arange(image.shape[0], dtype=np.float32) / image.shape[0]
    light = 1 + 0.1 * np.sin(2 * math.pi * (1.5 * rows + 0.37 * number))
    return _clipped(image * light[:, None, None].astype(np.float32))


def _infrared(image: UInt8, number: int, random: np.random.Generator) -> UInt8:
    """Change to infrared light and back every 40 images: grey, harder contrast, grain."""
    if number // 40 % 2 == 0:
        return image
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    return _clipped(np.repeat(1.3 * grey - 10, 3, axis=2) + _grain(image, 4.0, random))


def _blink(image: UInt8, number: int, _random: np.random.Generator) -> UInt8:
    """A lamp that shines on a quarter of the image, on and off every five images."""
    lit = image.copy()
    if number // 5 % 2:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        lit[:height, :width] = _clipped(image[:height, :width].astype(np.float32) + 60)
    return lit


def _leaves(image: UInt8, number: int, _random: np.random.Generator) -> UInt8:
    """Swing the upper third, the more the higher."""
    height, width = image.shape[0] // 3, image.shape[1]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    swing = 5 * np.sin(0.9 * number + x / 37 + y / 23) * (1 - y / height)
    moved = image.copy()
    moved[:height] = cv2.remap(image, x + swing, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return moved


def _shake(_number: int, size: Size, random: np.random.Generator) -> Doubles:
    dx, dy, turn = random.normal(0, (3.0, 3.0, 0.3))
    return _about_centre(size, 1.0, turn, dx, dy)


def _zoom(number: int, size: Size, _random: np.random.Generator) -> Doubles:
    return _about_centre(size, 1.2 - 0.2 * math.cos(2 * math.pi * number / 60), 0, 0, 0)


def _turn(number: int, size: Size, _random: np.random.Generator) -> Doubles:
    return _about_centre(size, 1.0, 0, 0.1 * size[0] * math.sin(2 * math.pi * number / 80), 0)


DISTURBANCES: Mapping[str, Disturbance] = {
    "none": Disturbance(),
    "night": Disturbance(_night),
    "rain": Disturbance(_rain),
    "flicker": Disturbance(_flicker),
    "infrared": Disturbance(_infrared),
    "blink": Disturbance(_blink),
    "leaves": Disturbance(_leaves),
    "noise": Disturbance(_noise),
    "compression": Disturbance(options={"crf": "42", "g": "10"}),
    "shake": Disturbance(move=_shake),
    "zoom": Disturbance(move=_zoom),
    "turn": Disturbance(move=_turn),
}
"""Disturbances by name."""


def write(images: Iterable[UInt8], truth: Boxes, disturbance: Disturbance, path: Path, rate: Fraction) -> Boxes:
    """Write filtered images as H.264.

    Args:
        images: RGB (h, w, 3), of even height and width.
        truth: frames from 1.
        disturbance: what to do to them.
        path: of the video.
        rate: frames per second.

    Returns:
        The truth of that video.
    """
    moves: dict[int, Doubles] = {}
    size = (0, 0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=rate, options={"bf": "0", "preset": "veryfast", **disturbance.options}
        )
        stream.pix_fmt = "yuv420p"
        for number, image in enumerate(_filtered(images, disturbance, moves)):
            size = image.shape[1], image.shape[0]
            if not number:
                stream.width, stream.height = size
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return _moved(truth, moves, size) if moves else truth


def _filtered(images: Iterable[UInt8], disturbance: Disturbance, moves: dict[int, Doubles]) -> Iterator[UInt8]:
    random = np.random.default_rng(7)
    for number, image in enumerate(images):
        shown = image
        if disturbance.move is not None:
            size = image.shape[1], image.shape[0]
            moves[number + 1] = disturbance.move(number, size, random)
            moved = cv2.warpAffine(image, moves[number + 1], size, borderMode=cv2.BORDER_REPLICATE)
            shown = np.asarray(moved, dtype=np.uint8)
        yield np.ascontiguousarray(disturbance.change(shown, number, random))


def _moved(truth: Boxes, moves: Mapping[int, Doubles], size: Size) -> Boxes:
    """Return the truth where the camera shows it, without people who are mostly outside."""
    boxes = truth.boxes.astype(np.float32)
    for row, frame in enumerate(truth.frames.tolist()):
        matrix = moves[frame]
        x1, y1, x2, y2 = truth.boxes[row]
        corners = np.array([[x1, y1, 1], [x2, y1, 1], [x2, y2, 1], [x1, y2, 1]]) @ matrix.T
        boxes[row] = [*corners.min(axis=0), *corners.max(axis=0)]
    inside = box_maths.area(box_maths.clip(boxes, size)) >= _LEAST_INSIDE * box_maths.area(boxes)
    placed = Boxes(truth.frames, truth.people, boxes.astype(np.float64))
    return placed.at(inside)


def _about_centre(size: Size, scale: float, degrees: float, dx: float, dy: float) -> Doubles:
    matrix = np.asarray(cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), degrees, scale), dtype=np.float64)
    matrix[:, 2] += dx, dy
    return matrix


def _grain(image: UInt8, sigma: float, random: np.random.Generator) -> npt.NDArray[np.float32]:
    return random.standard_normal(image.shape, dtype=np.float32) * np.float32(sigma)


def _clipped(image: npt.NDArray[np.floating[Any]]) -> UInt8:
    return np.asarray(np.clip(image, 0, 255), dtype=np.uint8)
