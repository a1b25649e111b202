"""Protocols of inference engines, whichever library runs them.

An engine is built once from a model file and called with numpy arrays. It knows nothing of people: shapes in, shapes
out. Engines are called from one thread at a time, those with many lanes from two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from reid_stream.images import OnDevice, Picture, UInt8

Floats = npt.NDArray[np.float32]
Channels = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Pixels:
    """Normalization of 8-bit RGB: (value - mean) / scale, per channel in `colour` order."""

    mean: Channels = (0.0, 0.0, 0.0)
    """Mean of each channel, in [0, 255]."""
    scale: Channels = (255.0, 255.0, 255.0)
    """Divisor of each channel, in [0, 255]."""
    colour: Literal["rgb", "bgr"] = "rgb"
    """Channel order of the network."""


class Engine(Protocol):
    """Run one network."""

    @property
    def name(self) -> str:
        """Library, device and precision, for logs and metrics: `openvino cpu bf16`."""
        ...

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of the network's input (b, c, h, w); None where any size is accepted."""
        ...

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Shape of the network's output; None where the size follows the input."""
        ...

    def __call__(self, batch: Floats) -> Floats:
        """Run a batch (b, c, h, w) float32 and return its first output, float32, b rows, owned by the caller.

        Raises:
            ModelError: the batch does not fit the network, or the library refused it.
        """
        ...


@runtime_checkable
class PixelEngine(Engine, Protocol):
    """An engine that normalizes 8-bit images itself: a quarter of the memory traffic, no pass in numpy."""

    @property
    def pixels(self) -> Pixels | None:
        """Normalization applied by `images`; None when the engine was built without."""
        ...

    def images(self, batch: UInt8) -> Floats:
        """Run RGB images (b, h, w, 3) uint8; the answer is that of `__call__` on `(batch - mean) / scale`.

        Raises:
            ModelError: as `__call__`, or the engine was built without `pixels`.
        """
        ...


class ImagePlacement(Protocol):
    """Placement of an image in the network's input, in pixels; `detect.letterbox.Letterbox`."""

    @property
    def network(self) -> tuple[int, int]:
        """(width, height) of the input."""
        ...

    @property
    def scaled(self) -> tuple[int, int]:
        """(width, height) of the image within it."""
        ...

    @property
    def left(self) -> int:
        """Bar on the left."""
        ...

    @property
    def top(self) -> int:
        """Bar above."""
        ...


@dataclass(frozen=True, slots=True)
class DetectRequest:
    """Parameters of one detection call."""

    places: Sequence[ImagePlacement]
    """Placement of each image; all of one network size."""
    pad: int
    """Grey of the bars, out of 255."""
    family: Literal["yolo", "yolo_end2end", "yolox"]
    """Layout of its output; see `detect.decoders`."""
    person: int
    """Index of the class."""
    classes: int
    """Number of classes."""
    score: float
    """Weaker boxes are dropped."""
    iou: float
    """Largest overlap of two boxes; of those that overlap more, the best is kept."""
    most: int
    """Boxes of an image that are looked at, the best ones."""
    cells: Floats | None = None
    """Column, row and stride (n, 3) of each cell, for YOLOX."""


@runtime_checkable
class DeviceEngine(Protocol):
    """An engine that also letterboxes and decodes on its device, a GPU.

    Images go there once, if they are not there yet, and boxes and vectors come back.
    """

    @property
    def runs_on_device(self) -> bool:
        """Whether it can do so now."""
        ...

    def people(self, pictures: Sequence[Picture], asked: DetectRequest) -> list[tuple[Floats, Floats]]:
        """Letterbox, detect, suppress: corner boxes (k, 4) in the network's pixels and scores (k,), best first.

        Raises:
            ModelError: as `Engine.__call__`.
        """
        ...

    def vectors(self, crops: Sequence[OnDevice], size: tuple[int, int]) -> Floats:
        """Stretch crops to (height, width) and run them; the network's answer, n rows.

        Raises:
            ModelError: as `Engine.__call__`.
        """
        ...

    def letterboxed(self, pictures: Sequence[Picture], asked: DetectRequest) -> UInt8:
        """Network input that `people` makes (b, h, w, 3), in main memory."""
        ...

    def stretched(self, crops: Sequence[OnDevice], size: tuple[int, int]) -> UInt8:
        """Network input that `vectors` makes (n, h, w, 3), in main memory."""
        ...


def device_engine(engine: Engine, pixels: Pixels | None) -> DeviceEngine | None:
    """Return the engine if it does this preprocessing on its device, else None."""
    if not isinstance(engine, PixelEngine) or engine.pixels != pixels:
        return None
    return engine if isinstance(engine, DeviceEngine) and engine.runs_on_device else None


@runtime_checkable
class MultiLaneEngine(Protocol):
    """An engine that two threads may call at once, with a gain in throughput."""

    @property
    def lanes(self) -> int:
        """Images that run side by side, each in a lane; with one there is nothing to gain."""
        ...


def lanes_of(engine: Engine) -> int:
    """Return how many images an engine runs side by side, 1 where only one thread may call it."""
    return engine.lanes if isinstance(engine, MultiLaneEngine) else 1


def to_numbers(batch: UInt8, pixels: Pixels) -> Floats:
    """Turn RGB images (b, h, w, 3) into network input (b, 3, h, w) float32 (pure)."""
    mean, scale = np.asarray(pixels.mean, np.float32), np.float32(1) / np.asarray(pixels.scale, np.float32)
    ordered = batch if pixels.colour == "rgb" else batch[..., ::-1]
    return np.ascontiguousarray(((ordered - mean) * scale).transpose(0, 3, 1, 2), dtype=np.float32)


def run_images(engine: Engine, batch: UInt8, pixels: Pixels) -> Floats:
    """Run RGB images (b, h, w, 3) uint8 on any engine, directly if it takes pixels in this format."""
    if isinstance(engine, PixelEngine) and engine.pixels == pixels:
        return engine.images(batch)
    return engine(to_numbers(batch, pixels))
