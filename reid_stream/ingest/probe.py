"""Test a camera for `reid-stream check`."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from reid_stream.config import settings as config
from reid_stream.errors import StreamError
from reid_stream.images import UInt8, host
from reid_stream.ingest.clock import StreamClock
from reid_stream.ingest.connection import open_source
from reid_stream.ingest.convert import Converter, DecodedImage
from reid_stream.ingest.rate_limit import KeyframePolicy
from reid_stream.ingest.stats_log import KEY_NEWS_S
from reid_stream.ingest.stream import KEY_WAIT_S
from reid_stream.records import CameraId, ClockQuality

LOOK_S = 3.0
"""Time to watch a live camera for its rate and its clock, which comes with the first RTCP report, seconds."""

BURST_S = 0.3
"""Frames this soon after the first one do not count for the rate."""


@dataclass(frozen=True, slots=True)
class CameraReport:
    """A camera that works."""

    camera: CameraId
    name: str
    """Address without secrets."""
    codec: str
    size: tuple[int, int]
    """(width, height) in pixels, before `resize`."""
    rate: float
    """Frames per second, as measured; of a file, as announced."""
    first_frame_s: float
    """Seconds from the start of the attempt to the first decoded image."""
    clock: ClockQuality
    skew_s: float | None
    """The camera's wall clock less ours, seconds; None if it sends none."""
    is_polled: bool
    """Each image is a request, so it is polled."""
    assumed_fps: float | None
    """Frames per second at which a file without timestamps is played; None for all others."""
    is_used: bool
    """False: its clock is too far off, frames are stamped on arrival."""
    main_size: tuple[int, int] | None = None
    """(width, height) in pixels of the main stream, where the rest is of the one at `detect_url`."""


@dataclass(frozen=True, slots=True)
class CameraFailure:
    """A camera that does not work."""

    camera: CameraId
    reason: str
    error: StreamError


def probe(
    camera: config.Camera,
    settings: config.Ingest,
    look_s: float = LOOK_S,
    on_wait: Callable[[CameraId, float], None] = lambda *_: None,
    on_image: Callable[[UInt8], None] | None = None,
) -> CameraReport | CameraFailure:
    """Open one camera, both its streams if it has two, watch it for `look_s` seconds after its first image, close it.

    Args:
        camera: which one.
        settings: time limits.
        look_s: seconds.
        on_wait: called with the longest wait in seconds if the camera sends video but no key frame yet.
        on_image: called with the first image, (h, w, 3) RGB; None for no conversion.
    """
    try:
        if camera.detect_url is None:
            return _look(camera, settings, look_s, on_wait, on_image)
        main = _look(camera.model_copy(update={"detect_url": None}), settings, 0.0, on_wait, on_image)
        sub = camera.model_copy(update={"url": camera.detect_url, "detect_url": None})
        return replace(_look(sub, settings, look_s, on_wait, None), main_size=main.size)
    except StreamError as error:
        return CameraFailure(CameraId(camera.id), str(error), error)


def probe_all(
    cameras: Sequence[config.Camera],
    settings: config.Ingest,
    look_s: float = LOOK_S,
    on_wait: Callable[[CameraId, float], None] = lambda *_: None,
) -> list[CameraReport | CameraFailure]:
    """Probe all cameras at once; the results are in the order of `cameras`. `on_wait` is called on other threads."""
    with ThreadPoolExecutor(max_workers=max(1, min(64, len(cameras))), thread_name_prefix="probe") as pool:
        return list(pool.map(lambda camera: probe(camera, settings, look_s, on_wait), cameras))


def _look(
    camera: config.Camera,
    settings: config.Ingest,
    look_s: float,
    on_wait: Callable[[CameraId, float], None],
    on_image: Callable[[UInt8], None] | None,
) -> CameraReport:
    began = time.monotonic()
    clock = StreamClock()
    quality: ClockQuality = "arrival"
    size: tuple[int, int] | None = None
    first_s = 0.0
    steady: list[float] = []
    is_announced = False
    with open_source(camera, settings) as source:
        for packet in source.read(KeyframePolicy(None).wants):
            now = time.time()
            clock.observe(packet.stream_s, now, packet.camera_at)
            passed_s = time.monotonic() - began
            if not source.has_key and not is_announced and passed_s > KEY_NEWS_S:
                is_announced = True
                on_wait(CameraId(camera.id), KEY_WAIT_S)
            for picture in packet.frames:
                image = DecodedImage.read(picture)
                if on_image is not None and size is None:
                    on_image(host(Converter(camera.resize)(image)))
                first_s = first_s or passed_s
                size = image.size
                quality = clock.stamp(source.seconds(picture), now).clock
                steady.append(passed_s)
            if steady and (source.is_recorded or passed_s - first_s >= look_s):
                break
        if size is None:
            raise StreamError(f"{source.name} must be a video, no picture of it can be decoded")
        # The first images come at once, since they waited while FFmpeg looked at the stream.
        steady = [at for at in steady if at > first_s + BURST_S]
        rate = source.rate or 0.0
        if not source.is_recorded and len(steady) > 2:
            rate = (len(steady) - 1) / (steady[-1] - steady[0])
        return CameraReport(
            camera=CameraId(camera.id),
            name=source.name,
            codec=source.codec,
            size=size,
            rate=rate,
            first_frame_s=first_s,
            clock="file" if source.is_recorded else quality,
            skew_s=clock.skew_s,
            is_polled=source.is_polled,
            assumed_fps=source.assumed_fps,
            is_used=clock.skew_s is None or quality == "rtcp",
        )
