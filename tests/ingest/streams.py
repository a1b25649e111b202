"""Live streams over HTTP for tests: MPEG-TS at real pace, and cameras that read them."""

import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream

from benchmarks.rtsp.web import HttpResponse
from reid_stream.config.settings import Camera, Ingest
from reid_stream.ingest.camera_set import CameraSet
from reid_stream.ingest.changes import CameraChange
from reid_stream.ingest.stats import CameraStats
from reid_stream.records import CameraId, Frame

FPS = 10
QUICK = Ingest(open_timeout_s=8, read_timeout_s=1.5, backoff_first_s=0.1, backoff_max_s=0.3)
_OPTIONS = {
    "libx264": {"bf": "0", "tune": "zerolatency", "preset": "ultrafast"},
    "libx265": {"tune": "zerolatency", "preset": "ultrafast", "x265-params": "log-level=none:bframes=0"},
}


def transport_stream(
    first_s: float,
    seconds: float,
    *,
    size: tuple[int, int] = (320, 240),
    codec: str = "libx264",
    key_every: int = FPS,
    pid: int = 256,
) -> list[bytes]:
    """One piece of MPEG-TS a frame.

    Args:
        first_s: timestamp of the first frame, seconds.
        seconds: length.
        size: (width, height) in pixels.
        codec: name of FFmpeg's encoder.
        key_every: frames from one key frame to the next.
        pid: number of the stream of packets.
    """
    out, pieces, done = io.BytesIO(), [], 0
    options = {"flush_packets": "1", "mpegts_start_pid": str(pid)}
    with av.open(out, "w", format="mpegts", options=options) as container:
        stream = cast("VideoStream", container.add_stream(codec, rate=FPS, options=_OPTIONS.get(codec, {})))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = key_every
        for n in range(round(seconds * FPS)):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), n % 200, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round((first_s + n / FPS) * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
            pieces.append(out.getvalue()[done:])
            done = len(out.getvalue())
        container.mux(stream.encode(None))
        pieces.append(out.getvalue()[done:])
    return pieces


def paced(pieces: Sequence[bytes], content_type: str = "video/mp2t") -> HttpResponse:
    """HttpResponse with the pieces, a frame's time apart."""

    def body() -> Iterator[bytes]:
        for piece in pieces:
            yield piece
            time.sleep(1 / FPS)

    return HttpResponse(200, (("Content-Type", content_type),), body)


class RunningCamera:
    """A camera `a` with what it gave."""

    def __init__(self, url: str, settings: Ingest, **options: object) -> None:
        self.changes: list[CameraChange] = []
        self.frames: list[Frame] = []
        one = Camera.model_validate({"id": "a", "url": url, "max_fps": FPS, **options})
        self.live = CameraSet([one], settings, self.changes.append)

    @property
    def stats(self) -> CameraStats:
        return self.live.stats[CameraId("a")]

    def of(self, *kinds: type[CameraChange]) -> list[CameraChange]:
        return [change for change in self.changes if isinstance(change, kinds)]

    def until(self, holds: Callable[[], bool], timeout_s: float = 20) -> None:
        end = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < end, f"not within {timeout_s} s: {self.changes} {self.stats}"
            self.frames += self.live.take_frames(0.05) or []


@contextmanager
def running(url: str, settings: Ingest = QUICK, **options: object) -> Iterator[RunningCamera]:
    """Read a camera while the block runs."""
    run = RunningCamera(url, settings, **options)
    run.live.start()
    try:
        yield run
    finally:
        run.live.stop()
