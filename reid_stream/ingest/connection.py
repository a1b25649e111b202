"""Open a camera or a file: relay, redirects, FFmpeg's options, the choice between a stream and a polled image.

Errors of FFmpeg name the URL with its password; none of them leaves this file, as text, cause or context.
"""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from reid_stream.config.settings import Camera, Ingest
from reid_stream.errors import StreamError
from reid_stream.ingest.ffmpeg_errors import explain
from reid_stream.ingest.ffmpeg_options import FORMATS, MAX_PIXELS, options_for
from reid_stream.ingest.hardware import hardware
from reid_stream.ingest.relay import Relay
from reid_stream.ingest.stream import VideoSource, bound_decoder
from reid_stream.ingest.url import Address, address, redirected

if TYPE_CHECKING:
    from reid_stream.ingest.convert import GpuConverter

_MOST_REDIRECTS = 3
_STREAM = "mpjpeg"
"""FFmpeg's demuxer of endless images."""
_PICTURES = ("gif", "apng")
"""Demuxers of single images, besides those that end with `_pipe`."""


def open_source(camera: Camera, settings: Ingest, take_over: "GpuConverter | None" = None) -> VideoSource:
    """Connect to a camera or open a file and find its video.

    Args:
        camera: whose address is opened.
        settings: time limits, and whether to decode on a GPU.
        take_over: keeps images that an NVIDIA GPU decodes in its memory; without it they are copied to main memory.

    Raises:
        StreamError: the camera cannot be reached, refuses the connection, or sends no video; the message says which,
            `cause` is for programs.
    """
    opened = _follow(camera, settings, take_over)
    return _polled(opened, camera, settings) if _is_snapshot(opened) else opened


def _follow(camera: Camera, settings: Ingest, take_over: "GpuConverter | None") -> VideoSource:
    """Open the camera's address, or the one that it redirects to."""
    first = address(camera)
    asked: Camera | None = camera
    for _ in range(_MOST_REDIRECTS + 1):
        assert asked is not None
        where = replace(address(asked), name=first.name)
        opened = _open(where, camera, settings, take_over)
        if not isinstance(opened, str):
            return opened
        if not opened.strip():
            raise StreamError(f"{first.name} redirects without saying where", "unreadable")
        asked = redirected(asked, opened)
        if asked is None:
            raise StreamError(
                f"{first.name} redirects to another place, which is not followed, since a password is for the host in "
                "the settings alone; if that place is right, make it the url",
                "unreadable",
            )
    raise StreamError(f"{first.name} redirects more than {_MOST_REDIRECTS} times", "unreadable")


def _is_snapshot(source: VideoSource) -> bool:
    """Whether the answer was one image and not a stream; not all cameras name its type."""
    answers = source.relay.answers if source.where.kind == "http" and source.relay is not None else None
    # A stream of images may be called by the type of one.
    name = source.container.format.name
    if answers is None or answers.content_type.startswith("multipart/") or name == _STREAM:
        return False
    is_picture = (name.endswith("_pipe") or name in _PICTURES) and answers.length is not None
    return is_picture or answers.content_type.startswith("image/")


def _polled(first: VideoSource, camera: Camera, settings: Ingest) -> VideoSource:
    from reid_stream.ingest.snapshots import DEFAULT_FPS, SnapshotSource

    # From the first address on: the place that it redirects to may be for one request.
    return SnapshotSource(first, lambda: _follow(camera, settings, None), camera.max_fps or DEFAULT_FPS)


def _open(where: Address, camera: Camera, settings: Ingest, take_over: "GpuConverter | None") -> VideoSource | str:
    """Open one address; return the place that it redirects to, if it does."""
    import av

    relay = None
    if where.endpoint is not None and where.kind in ("rtsp", "http"):
        relay = Relay(
            where.endpoint,
            "rtsp" if where.kind == "rtsp" else "http",
            where.name,
            settings.open_timeout_s,
        )
    began = time.monotonic()
    failure: StreamError
    try:
        container = av.open(
            where.secret if relay is None else where.through(relay.port),
            mode="r",
            format=FORMATS.get(where.kind),
            options=options_for(where, camera),
            timeout=None if where.is_local else (settings.open_timeout_s, settings.read_timeout_s),
            hwaccel=hardware(take_over) if settings.hardware_decode else None,
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        answers = None if relay is None else relay.answers
        if relay is not None:
            relay.close()
        if answers is not None and answers.refusal is None and answers.redirect is not None:
            return answers.redirect
        took_s = time.monotonic() - began
        failure = explain(error, where, took_s, settings.open_timeout_s, opened=False, answers=answers)
    else:
        stream = next(iter(container.streams.video), None)
        # Without a decoder there is no context, whatever the library's types say.
        has_decoder = stream is not None and cast("object", stream.codec_context) is not None
        if stream is not None and has_decoder:
            bound_decoder(stream.codec_context, is_local=where.is_local, resize=camera.resize)
            source = VideoSource(where, container, stream, settings, relay)
            width, height = source.size
            if width * height > MAX_PIXELS and not where.is_local:
                failure = StreamError(
                    f"{where.name} must give pictures of at most {MAX_PIXELS / 1e6:.0f} megapixels, "
                    f"found {width}x{height}"
                )
                source.close()
                raise failure
            return source
        container.close()
        if relay is not None:
            relay.close()
        found = "it holds none" if stream is None else "it holds some of a kind that FFmpeg cannot decode"
        failure = StreamError(f"{where.name} must hold video, {found}")
    raise failure  # outside of `except`, so that FFmpeg's error is not its context
