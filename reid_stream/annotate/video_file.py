"""Write frames as H.264 in an MP4 file, which browsers play; the finished file is put in place by a rename."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np

from reid_stream.errors import ConfigError
from reid_stream.images import UInt8

_BASE = 90_000
"""Ticks per second of the timestamps, as in MPEG."""


class VideoFile:
    """A video that is written frame by frame; the first frame sets its size."""

    def __init__(self, path: Path, fps: float) -> None:
        """Write to `path`; `fps` is the nominal rate, each frame has a time of its own."""
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._container = self._open(path)
        self._stream = self._container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        self._stream.options = {"crf": "23", "preset": "veryfast"}
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _BASE)
        self._size: tuple[int, int] | None = None
        self._last = -1
        self.frames = 0
        """Number of frames written."""

    def _open(self, path: Path) -> av.container.OutputContainer:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return av.open(str(self._part), "w", format="mp4", options={"movflags": "+faststart"})
        except OSError as error:
            raise ConfigError(
                f"a folder that can be written is needed for videos, {path.parent}: {error.strerror}"
            ) from error

    def add(self, frame: UInt8, seconds: float) -> None:
        """Add a frame (h, w, 3) BGR at a time from the beginning; times rise."""
        if self._size is None:
            # H.264 in 4:2:0 has even sides.
            self._size = frame.shape[1] // 2 * 2, frame.shape[0] // 2 * 2
            self._stream.width, self._stream.height = self._size
        width, height = self._size
        if (
            frame.shape[1] < width
            or frame.shape[0] < height
            or frame.shape[1] > width + 1
            or frame.shape[0] > height + 1
        ):
            frame = np.asarray(cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="bgr24")
        self._last = max(round(seconds * _BASE), self._last + 1)
        picture.pts, picture.time_base = self._last, Fraction(1, _BASE)
        self._container.mux(self._stream.encode(picture))
        self.frames += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        try:
            if self._size is not None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()
        if kind is None and self.frames:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)
