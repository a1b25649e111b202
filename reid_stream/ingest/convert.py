"""Decoded images to RGB, scaled on the way: arrays in main memory, or left on the GPU that decoded them."""

import functools
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast

import numpy as np
import numpy.typing as npt

from reid_stream.images import OnDevice, Picture, UInt8

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

T = TypeVar("T", bound=np.generic)

_STRAIGHT = 10
"""A matrix is a quarter turn where its one term is so much larger than the other: within 6 degrees."""


class GpuConverter(Protocol):
    """Converts images to RGB in the memory of the GPU that decoded them."""

    def prepare(self) -> None:
        """Get this thread ready; before a decoder is opened on it."""
        ...

    def __call__(self, picture: "VideoFrame", size: tuple[int, int] | None, /) -> OnDevice:
        """Return RGB there, scaled to `size` (width, height).

        Raises:
            ModelError: the image is of a kind that cannot be taken over.
        """
        ...


class Converter:
    """Turns one camera's images into RGB; keeps FFmpeg's scaler between calls, which is costly to create."""

    def __init__(self, size: tuple[int, int] | None, take_over: GpuConverter | None = None) -> None:
        """Convert to one size.

        Args:
            size: (width, height) in pixels to scale to, none to leave it.
            take_over: for what lies on a GPU; without, nothing may.
        """
        from av.video.reformatter import VideoReformatter

        self._size, self._take_over = size, take_over
        self.fell_back = False
        """Whether an image expected on the GPU was not there: the decoder may fall back to the CPU for any stream."""
        self._reformatter = VideoReformatter()

    def size_of(self, image: "DecodedImage") -> tuple[int, int]:
        """Return (width, height) in pixels that an image has when it is converted."""
        return self._size or image.size

    def __call__(self, image: "DecodedImage") -> Picture:
        """Return (h, w, 3) RGB, upright; limited and full range YUV alike become 0..255."""
        if self._take_over is not None and image.is_on_gpu and image.orientation == _UPRIGHT:
            return self._take_over(image.picture, self._size)
        self.fell_back = self._take_over is not None
        return self._here(image)

    def _here(self, image: "DecodedImage") -> UInt8:
        picture, upright = image.picture, image.orientation
        width, height = self._size or (picture.width, picture.height)
        if self._size is not None and upright.turns % 2:
            width, height = height, width
        # AREA averages where it shrinks, so that far people do not alias; without scaling it changes nothing.
        scaler = "AREA" if (width, height) != (picture.width, picture.height) else "BILINEAR"
        rgb = self._reformatter.reformat(
            picture, width=width, height=height, format="rgb24", interpolation=scaler, threads=1
        )
        return np.ascontiguousarray(upright.applied(rgb.to_ndarray()), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Orientation:
    """Change that makes an image upright."""

    turns: int = 0
    """Quarter turns counterclockwise (0 to 3), after mirroring."""
    is_mirrored: bool = False
    """Whether the image must be mirrored left to right."""

    def applied(self, image: npt.NDArray[T]) -> npt.NDArray[T]:
        """Return an image (h, w) or (h, w, c) upright; a view."""
        return np.rot90(image[:, ::-1] if self.is_mirrored else image, self.turns)


_UPRIGHT = Orientation()


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An image as its decoder returned it, with its orientation, which is read once per image."""

    picture: "VideoFrame"
    orientation: Orientation

    @classmethod
    def read(cls, picture: "VideoFrame") -> Self:
        """Read the orientation of an image that is going to be used."""
        return cls(picture, _orientation(picture))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the upright image."""
        width, height = self.picture.width, self.picture.height
        return (height, width) if self.orientation.turns % 2 else (width, height)

    @property
    def is_on_gpu(self) -> bool:
        """Whether its pixels are in the memory of a GPU."""
        return bool(self.picture.format.name == "cuda")


def _orientation(picture: "VideoFrame") -> Orientation:
    """Return the orientation that a phone, body camera or H.264 stream notes beside an image (display matrix).

    Other angles than quarters of a turn are left as they are. Source: ISO 14496-12, 6.2.2 (x' = ax + cy, y' = bx + dy).
    """
    # `picture.side_data` would keep its container, and that the image: a cycle, which holds megabytes until the garbage
    # collector runs. The library's types know less of it.
    matrix = _side_data_reader()(picture).get("DISPLAYMATRIX")
    if matrix is None:
        return _UPRIGHT
    a, b, _, c, d = struct.unpack_from("=iiiii", matrix)
    is_mirrored = a * d - b * c < 0
    # Of an image whose left and right have been exchanged, x counts the other way.
    a, b = (-a, -b) if is_mirrored else (a, b)
    if abs(a) > _STRAIGHT * abs(b):
        return Orientation(0 if a > 0 else 2, is_mirrored)
    if abs(b) > _STRAIGHT * abs(a):
        return Orientation(3 if b > 0 else 1, is_mirrored)
    return _UPRIGHT


@functools.cache
def _side_data_reader() -> Any:
    """Return PyAV's reader of what is noted beside an image, made to accept notes that it has no name for.

    PyAV 18 raises ValueError where there is one of them, such as the EXIF data of a JPEG image since FFmpeg 8.
    """
    from av.sidedata import sidedata

    def unnamed(cls: Any, value: int) -> Any:
        member = object.__new__(cls)
        member._name_, member._value_ = f"UNNAMED_{value}", value
        return member

    cast("Any", sidedata.Type)._missing_ = classmethod(unnamed)
    return sidedata.SideDataContainer
