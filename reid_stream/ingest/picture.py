"""Decoded pictures to RGB, scaled on the way: arrays in main memory, or left on the GPU that decoded them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from reid_stream.pictures import OnDevice, Picture, UInt8

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

TakeOver = Callable[["VideoFrame", tuple[int, int] | None], OnDevice]
"""A picture in a GPU's memory and the size (width, height) to scale it to -> RGB there."""


class Converter:
    """Turns one camera's pictures into RGB; keeps FFmpeg's scaler between calls, which is dear to make."""

    def __init__(self, size: tuple[int, int] | None, take_over: TakeOver | None = None) -> None:
        """Convert to one size.

        Args:
            size: (width, height) in pixels to scale to, none to leave it.
            take_over: for what lies on a GPU; without, nothing may.
        """
        from av.video.reformatter import VideoReformatter

        self._size, self._take_over = size, take_over
        self._reformatter = VideoReformatter()

    def __call__(self, picture: "VideoFrame") -> Picture:
        """(h, w, 3) RGB; limited and full range YUV alike become 0..255."""
        if self._take_over is not None and picture.sw_format is not None:
            return self._take_over(picture, self._size)
        return self._here(picture)

    def _here(self, picture: "VideoFrame") -> UInt8:
        width, height = self._size or (picture.width, picture.height)
        # AREA averages where it shrinks, so that far people do not alias; without scaling it changes nothing.
        scaler = "AREA" if (width, height) != (picture.width, picture.height) else "BILINEAR"
        rgb = self._reformatter.reformat(
            picture, width=width, height=height, format="rgb24", interpolation=scaler, threads=1
        )
        return np.ascontiguousarray(rgb.to_ndarray(), dtype=np.uint8)
