"""Decoded pictures to RGB arrays, scaled on the way."""

from typing import TYPE_CHECKING

import numpy as np

from reid_stream.records import UInt8

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


class Converter:
    """Turns one camera's pictures into RGB; keeps FFmpeg's scaler between calls, which is dear to make."""

    def __init__(self, size: tuple[int, int] | None) -> None:
        """`size`: (width, height) in pixels to scale to, none to leave it."""
        from av.video.reformatter import VideoReformatter

        self._size = size
        self._reformatter = VideoReformatter()

    def __call__(self, picture: "VideoFrame") -> UInt8:
        """(h, w, 3) RGB, C-contiguous; limited and full range YUV alike become 0..255."""
        width, height = self._size or (picture.width, picture.height)
        # AREA averages where it shrinks, so that far people do not alias; without scaling it changes nothing.
        scaler = "AREA" if (width, height) != (picture.width, picture.height) else "BILINEAR"
        rgb = self._reformatter.reformat(
            picture, width=width, height=height, format="rgb24", interpolation=scaler, threads=1
        )
        return np.ascontiguousarray(rgb.to_ndarray(), dtype=np.uint8)
