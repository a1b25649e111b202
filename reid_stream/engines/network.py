"""What all engines answer in the same words: of one network of one picture input, as its file says."""

from pathlib import Path

import numpy as np

from reid_stream.engines.protocol import Floats, Pixels
from reid_stream.engines.shapes import Shape, check_images
from reid_stream.errors import ModelError
from reid_stream.pictures import UInt8


class OneNetwork:
    """The part of `protocol.PixelEngine` that does not depend on the library."""

    _path: Path
    _pixels: Pixels | None
    _input: Shape
    _output: Shape

    @property
    def input_shape(self) -> Shape:
        """(b, c, h, w); any b is taken, whatever the file says."""
        return (None, *self._input[1:])

    @property
    def output_shape(self) -> Shape:
        """Of the first output; any b."""
        return (None, *self._output[1:])

    @property
    def pixels(self) -> Pixels | None:
        """What `images` does first."""
        return self._pixels

    def _checked(self, pictures: UInt8) -> Pixels:
        """Make sure that pictures can be taken; return what is done to them first.

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
