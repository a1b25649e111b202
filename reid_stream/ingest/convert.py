"""Decoded images to RGB, scaled on the way: arrays in main memory, or left on the GPU that decoded them."""

from typing import TYPE_CHECKING, Protocol

import numpy as np

from reid_stream.images import OnDevice, Picture, UInt8

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


class GpuConverter(Protocol):
    """Makes RGB of images where the GPU that decoded them keeps them."""

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
    """Turns one camera's images into RGB; keeps FFmpeg's scaler between calls, which is dear to make."""

    def __init__(self, size: tuple[int, int] | None, take_over: GpuConverter | None = None) -> None:
        """Convert to one size.

        Args:
            size: (width, height) in pixels to scale to, none to leave it.
            take_over: for what lies on a GPU; without, nothing may.
        """
        from av.video.reformatter import VideoReformatter

        self._size, self._take_over = size, take_over
        self.fell_back = False
        """An image that should lie on a GPU did not: the decoder has given it up, as it may for any stream."""
        self._reformatter = VideoReformatter()

    def __call__(self, picture: "VideoFrame") -> Picture:
        """Return (h, w, 3) RGB, upright; limited and full range YUV alike become 0..255."""
        if self._take_over is not None and picture.format.name == "cuda" and not quarter_turns(picture):
            return self._take_over(picture, self._size)
        self.fell_back = self._take_over is not None
        return self._here(picture)

    def _here(self, picture: "VideoFrame") -> UInt8:
        turns = quarter_turns(picture)
        width, height = self._size or (picture.width, picture.height)
        if self._size is not None and turns % 2:
            width, height = height, width
        # AREA averages where it shrinks, so that far people do not alias; without scaling it changes nothing.
        scaler = "AREA" if (width, height) != (picture.width, picture.height) else "BILINEAR"
        rgb = self._reformatter.reformat(
            picture, width=width, height=height, format="rgb24", interpolation=scaler, threads=1
        )
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), turns), dtype=np.uint8)


def quarter_turns(picture: "VideoFrame") -> int:
    """Return how often an image must be turned by 90 degrees counterclockwise to be upright (0 to 3).

    Phones and body cameras note it beside the image (display matrix). Other angles are left as they are.
    """
    angle = picture.rotation
    return angle // 90 % 4 if angle % 90 == 0 else 0


def upright_size(picture: "VideoFrame") -> tuple[int, int]:
    """Return (width, height) in pixels of the upright image."""
    width, height = picture.width, picture.height
    return (height, width) if quarter_turns(picture) % 2 else (width, height)
