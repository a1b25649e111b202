"""Find the video of a camera by its host alone, trying the paths that makers use; take a picture of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import SecretStr

from reid_stream.config.settings import Camera, Ingest
from reid_stream.errors import StreamError
from reid_stream.images import UInt8, host
from reid_stream.ingest.connection import open_source
from reid_stream.ingest.convert import Converter, DecodedImage
from reid_stream.ingest.probe import CameraFailure, CameraReport, probe
from reid_stream.ingest.rate_limit import KeyframePolicy

PATHS = (
    ("Axis", "/axis-media/media.amp"),
    ("Hikvision", "/Streaming/Channels/101"),
    ("Dahua, Amcrest, Lorex", "/cam/realmonitor?channel=1&subtype=0"),
    ("Reolink", "/h264Preview_01_main"),
    ("TP-Link, Tapo", "/stream1"),
    ("Hanwha", "/profile2/media.smp"),
    ("Vivotek", "/live.sdp"),
    ("Foscam", "/videoMain"),
    ("Uniview", "/media/video1"),
    ("others", "/live"),
    ("others", "/"),
)
"""Maker and path of the main stream, as their manuals have it."""
_ENDS = ("refused", "unreachable", "untrusted")
"""Failures that end the search: another path would not help, and many cameras lock users out after a few refusals."""


@dataclass(frozen=True, slots=True)
class FoundCamera:
    """Result of a search at a camera's address."""

    camera: Camera
    """The camera with the URL that works, else as given."""
    report: CameraReport | CameraFailure
    maker: str = ""
    """Maker whose path it is; empty where the URL was given whole."""


def is_host(url: str) -> bool:
    """Return whether a URL names a camera's host alone, as rtsp://HOST or rtsp://HOST:PORT."""
    return url.lower().startswith("rtsp://") and "/" not in url[len("rtsp://") :].rstrip("/")


def search(
    camera: Camera,
    settings: Ingest,
    paths: Sequence[tuple[str, str]] = PATHS,
    on_try: Callable[[str], None] = lambda _path: None,
) -> FoundCamera:
    """Try the known paths below a camera's address, one after another, until one gives video.

    Args:
        camera: its `url` is rtsp://HOST or rtsp://HOST:PORT.
        settings: time limits.
        paths: (maker, path).
        on_try: called with each path before it is tried.
    """
    base = camera.url.get_secret_value().rstrip("/")
    found: FoundCamera | None = None
    for maker, path in paths:
        on_try(path)
        tried = camera.model_copy(update={"url": SecretStr(base + path)})
        report = probe(tried, settings, look_s=0.0)
        if isinstance(report, CameraReport):
            return FoundCamera(tried, report, maker)
        found = FoundCamera(camera, report)
        if report.error.cause in _ENDS:
            break
    assert found is not None
    return found


def first_picture(camera: Camera, settings: Ingest) -> UInt8:
    """Return the first picture (h, w, 3) RGB of a camera.

    Raises:
        StreamError: it gives none.
    """
    convert = Converter(camera.resize)
    with open_source(camera, settings) as source:
        for packet in source.read(KeyframePolicy(None).wants):
            for picture in packet.frames:
                return host(convert(DecodedImage.read(picture)))
    raise StreamError(f"{source.name} must be a video, no picture of it can be decoded")
