"""Shape and dtype checks that all engines share, for networks of one image input."""

from pathlib import Path

import numpy as np

from reid_stream.engines.protocol import Floats, Pixels
from reid_stream.errors import ModelError
from reid_stream.images import UInt8

Shape = tuple[int | None, ...]


def check_network(model: Path, inputs: list[Shape], outputs: int) -> None:
    """Raise ModelError unless the network takes one image batch (b, 3, h, w) and answers."""
    if len(inputs) != 1 or len(inputs[0]) != 4 or inputs[0][1] not in (3, None) or outputs < 1:
        found = ", ".join(str(shape) for shape in inputs) or "none"
        raise ModelError(f"{model} must have one input (b, 3, h, w) and an output, found {found}; export it again")


def check_batch(batch: Floats, shape: Shape) -> None:
    """Raise ModelError unless the batch is (b, 3, h, w) float32 of a size that the network takes."""
    fits = batch.ndim == 4 and batch.dtype == np.float32 and batch.shape[1] == 3
    fits = fits and all(want in (None, got) for want, got in zip(shape[2:], batch.shape[2:], strict=True))
    if not fits:
        raise ModelError(f"a batch must be {_words(shape)} float32, got {batch.shape} {batch.dtype}")


def check_images(batch: UInt8, shape: Shape) -> None:
    """Raise ModelError unless the batch is (b, h, w, 3) uint8 of a size that the network takes."""
    fits = batch.ndim == 4 and batch.dtype == np.uint8 and batch.shape[3] == 3
    fits = fits and all(want in (None, got) for want, got in zip(shape[2:], batch.shape[1:3], strict=True))
    if not fits:
        wanted = _words((shape[0], shape[2], shape[3], 3))
        raise ModelError(f"a batch of images must be {wanted} uint8, got {batch.shape} {batch.dtype}")


def _words(shape: Shape) -> str:
    return "(b, " + ", ".join("any" if size is None else str(size) for size in shape[1:]) + ")"


def first_line(error: Exception) -> str:
    """Shorten a library's error to its informative line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (kept or lines or [type(error).__name__])[0][:300]


class EngineBase:
    """The part of `protocol.PixelEngine` that does not depend on the library."""

    _path: Path
    _pixels: Pixels | None
    _input: Shape
    _output: Shape

    @property
    def input_shape(self) -> Shape:
        """(b, c, h, w); any b is accepted, whatever the file states."""
        return (None, *self._input[1:])

    @property
    def output_shape(self) -> Shape:
        """Shape of the first output; any b."""
        return (None, *self._output[1:])

    @property
    def pixels(self) -> Pixels | None:
        """Preprocessing by `images`."""
        return self._pixels

    def _checked(self, pictures: UInt8) -> Pixels:
        """Check images and return their normalization.

        Raises:
            ModelError: they do not fit the network, or it was loaded without pixels.
        """
        if self._pixels is None:
            raise ModelError(f"{self._path} was loaded without pixels; give load_engine what the network expects")
        check_images(pictures, self._input)
        return self._pixels

    def _nothing(self) -> Floats:
        """Return the answer to an empty batch."""
        return np.empty((0, *(size or 0 for size in self._output[1:])), dtype=np.float32)
