"""One opened stream, whatever its kind: packets with their timestamps, and the pictures decoded from them.

Errors of FFmpeg name the URL with its password; none of them leaves this file, as text, cause or context.
"""

import contextlib
import functools
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from reid_stream.config.settings import Camera, Ingest
from reid_stream.errors import StreamError
from reid_stream.ingest.codec import CHANGING_FORMATS, changed_codec
from reid_stream.ingest.ffmpeg_errors import explain
from reid_stream.ingest.ffmpeg_options import FORMATS, MAX_PIXELS, options_for
from reid_stream.ingest.relay import Relay
from reid_stream.ingest.stream_steps import StreamSteps
from reid_stream.ingest.url import Address, address, redirected

if TYPE_CHECKING:
    from av.codec.hwaccel import HWAccel
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from reid_stream.ingest.convert import GpuConverter

UNTIMED_FORMATS = frozenset({"mpjpeg", "mjpeg", "jpeg_pipe", "image2"})
"""FFmpeg makes up the timestamps of these (25 per second), so they say nothing."""
_PRFT = struct.Struct("<qi")
"""FFmpeg's AVProducerReferenceTime: UTC in microseconds, flags."""

_MOST_REDIRECTS = 3

Wanted = Callable[[float | None, bool], bool]
"""(stream seconds, is a key frame) -> decode this packet?"""


@dataclass(frozen=True, slots=True)
class DecodedPacket:
    """A packet and the pictures that came out of the decoder after it (often its own, sometimes earlier ones)."""

    stream_s: float | None
    """Timestamp in seconds from an origin of the stream's own; none where it has none."""
    camera_at: float | None
    """The camera's wall clock for this timestamp, UTC seconds, once RTCP has told."""
    frames: "list[VideoFrame]"
    is_skipped: bool = False
    """Not wanted, so not decoded."""


class VideoSource:
    """An open stream; close it, or use it in a `with` block."""

    is_polled = False
    """Asked for picture by picture."""

    def __init__(
        self, where: Address, container: "InputContainer", stream: "VideoStream", settings: Ingest, relay: Relay | None
    ) -> None:
        self.where, self.container, self.stream = where, container, stream
        self.settings, self.relay = settings, relay
        self._decoder: VideoCodecContext = stream.codec_context
        self._steps = StreamSteps()
        self._corrupt = self._repaired = 0
        self._is_damaged = False
        """A picture since the last key frame was damaged: those after it are built upon it."""

    @property
    def name(self) -> str:
        """The address without secrets."""
        return self.where.name

    @property
    def codec(self) -> str:
        """Such as `h264`."""
        return self._decoder.name

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels as announced; (0, 0) before the first picture of some streams."""
        return self._decoder.width, self._decoder.height

    @property
    def rate(self) -> float | None:
        """Frames per second as announced."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return float(rate) if rate else None

    @property
    def is_recorded(self) -> bool:
        """A file: it has an end, and a pace of its own that must be kept, since it can be read faster.

        Only a path is a file. What a server sends is live, even if it announces a duration: a camera that answers with
        a finite video once must not be over for good.
        """
        return self.where.is_local

    @property
    def on_hardware(self) -> bool:
        """Whether FFmpeg decodes on a GPU."""
        return bool(self._decoder.is_hwaccel)

    def seconds(self, picture: "VideoFrame") -> float | None:
        """A picture's timestamp, on the same axis as `DecodedPacket.stream_s`."""
        pts = picture.pts if picture.pts is not None else picture.dts
        return self._seconds(pts, picture.time_base)

    def read(self, wanted: Wanted) -> Iterator[DecodedPacket]:
        """Packets as they come, decoded where `wanted`; ends at the end of the file or stream.

        Raises:
            StreamError: nothing came, or nothing that can be decoded, for `read_timeout_s`; the connection broke.
        """
        import av

        seen_at = time.monotonic()
        limit_s = self.settings.read_timeout_s
        packets = cast("Iterator[Packet[VideoStream]]", self.container.demux())
        while True:
            began = time.monotonic()
            failure: StreamError | None = None
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError) as error:
                failure = explain(error, self.where, time.monotonic() - began, limit_s, opened=True)
            if failure is not None:  # raised outside of `except`, so that FFmpeg's own is not its context
                raise failure
            now = time.monotonic()
            decoded = self._hear(packet, wanted)
            if decoded is not None:
                seen_at = now if decoded.frames or decoded.is_skipped else seen_at
                yield decoded
            if self.is_recorded:
                continue
            if now - began >= limit_s:
                # FFmpeg gave up waiting, but hands out the packet that its parser still held.
                raise StreamError(f"{self.name} has sent nothing for {limit_s:g} s", "silent")
            if now - seen_at > limit_s:
                bound = f"no picture that can be decoded (at most {MAX_PIXELS / 1e6:.0f} megapixels)"
                kind = "no video" if decoded is None else bound
                raise StreamError(f"{self.name} sends data, but {kind} for {limit_s:g} s", "silent")

    def _hear(self, packet: "Packet[VideoStream]", wanted: Wanted) -> DecodedPacket | None:
        """Decode a packet; None if it is of another stream (sound), which says nothing about the picture."""
        import av

        if packet.stream_index != self.stream.index:
            return None
        is_flush = packet.size == 0
        stream_s = None if is_flush else self._trusted(packet)
        if packet.is_keyframe and self.container.format.name in CHANGING_FORMATS:
            self._follow_codec()
        if not is_flush and not wanted(stream_s, packet.is_keyframe):
            return DecodedPacket(stream_s, self._camera_at(packet), [], is_skipped=True)
        try:
            pictures = self._decoder.decode(packet)
        except (av.FFmpegError, ValueError):
            self._corrupt += 1
            self._is_damaged = True
            return DecodedPacket(stream_s, self._camera_at(packet), [])
        return DecodedPacket(
            stream_s, self._camera_at(packet), [picture for picture in pictures if self._is_whole(picture)]
        )

    def _follow_codec(self) -> None:
        """Decode in software from here on if the codec of the stream has changed."""
        import av

        codec = changed_codec(self.stream, self.codec)
        if codec is not None:
            self._decoder = cast("VideoCodecContext", av.CodecContext.create(codec, "r"))
            bound_decoder(self._decoder, is_local=self.where.is_local)

    def _trusted(self, packet: "Packet[VideoStream]") -> float | None:
        """Return a packet's timestamp; one that may be wrong is taken off it, and off its picture."""
        stream_s = self._seconds(packet.pts, packet.time_base)
        if stream_s is None or self.is_recorded:
            return stream_s
        trusted = self._steps.trusted(stream_s, time.monotonic())
        if trusted is None:
            packet.pts = packet.dts = None
        return trusted

    def _is_whole(self, picture: "VideoFrame") -> bool:
        """Leave out damaged pictures, not those built upon them.

        Measured over UDP with 5 % of the packets lost: waiting for the next key frame left 2 frames of 124.
        """
        self._is_damaged = picture.is_corrupt or (self._is_damaged and not picture.key_frame)
        self._corrupt += picture.is_corrupt
        self._repaired += self._is_damaged and not picture.is_corrupt
        return not picture.is_corrupt

    def _seconds(self, stamp: int | None, base: Fraction | None) -> float | None:
        if stamp is None or not base or (self.container.format.name in UNTIMED_FORMATS and not self.is_recorded):
            return None
        return float(stamp * base)

    def _camera_at(self, packet: "Packet[VideoStream]") -> float | None:
        if self.where.kind != "rtsp" or not packet.has_sidedata("prft"):
            return None
        microseconds, _ = _PRFT.unpack_from(bytes(packet.get_sidedata("prft")))
        return float(microseconds) / 1e6

    @property
    def steps(self) -> int:
        """How often the stream's timestamps have stepped."""
        return self._steps.count

    def take_corrupt(self) -> int:
        """How many packets and pictures could not be used since the last call."""
        corrupt, self._corrupt = self._corrupt, 0
        return corrupt

    def take_repaired(self) -> int:
        """How many pictures since the last call are built upon a damaged one and show a part of its damage."""
        repaired, self._repaired = self._repaired, 0
        return repaired

    def rewind(self) -> None:
        """Go back to the beginning of a file.

        Raises:
            StreamError: it cannot be rewound.
        """
        import av

        failed = False
        try:
            self.container.seek(0)
            self._decoder.flush_buffers()
        except (av.FFmpegError, OSError):
            failed = True
        if failed:
            raise StreamError(f"{self.name} cannot be played again: it cannot be rewound")

    def close(self) -> None:
        """Disconnect."""
        self.container.close()
        if self.relay is not None:
            self.relay.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_source(camera: Camera, settings: Ingest, take_over: "GpuConverter | None" = None) -> VideoSource:
    """Connect to a camera or open a file and find its video.

    Args:
        camera: whose address is opened.
        settings: time limits, and whether the GPU decodes.
        take_over: takes what an NVIDIA GPU decodes and leaves it in its memory; none has it brought to main memory.

    Raises:
        StreamError: it cannot be reached, refuses us, or has no video; the message says which, `cause` for programs.
    """
    first = address(camera)
    asked: Camera | None = camera
    for _ in range(_MOST_REDIRECTS + 1):
        assert asked is not None
        where = replace(address(asked), name=first.name)
        opened = _open(where, camera, settings, take_over)
        if not isinstance(opened, str):
            return _polled(opened, camera, settings) if _is_snapshot(opened) else opened
        asked = redirected(asked, opened)
        if asked is None:
            raise StreamError(
                f"{first.name} redirects to another place, which is not followed: a password is for the host in the "
                "settings alone; where that place is right, make it the url",
                "unreadable",
            )
    raise StreamError(f"{first.name} redirects more than {_MOST_REDIRECTS} times", "unreadable")


def bound_decoder(decoder: "VideoCodecContext", *, is_local: bool) -> None:
    """Give a decoder one thread and, for what others send, a largest picture."""
    # Threads across frames would hold back frames, and cameras already share the cores.
    decoder.thread_count = 1
    if not is_local:
        decoder.options = {"max_pixels": str(MAX_PIXELS)}


def _is_snapshot(source: VideoSource) -> bool:
    """Whether the answer was one picture and no stream."""
    answers = source.relay.answers if source.where.kind == "http" and source.relay is not None else None
    return answers is not None and answers.content_type.startswith("image/")


def _polled(first: VideoSource, camera: Camera, settings: Ingest) -> VideoSource:
    from reid_stream.ingest.snapshots import DEFAULT_FPS, SnapshotSource

    def reopen() -> VideoSource:
        again = _open(first.where, camera, settings, None)
        if isinstance(again, str):
            raise StreamError(f"{first.name} redirects to another place, though it gave a picture before", "unreadable")
        return again

    return SnapshotSource(first, reopen, camera.max_fps or DEFAULT_FPS)


def _open(where: Address, camera: Camera, settings: Ingest, take_over: "GpuConverter | None") -> VideoSource | str:
    """Open one place; return where it sends us, if it does."""
    import av

    relay = None
    if where.endpoint is not None and where.kind in ("rtsp", "http"):
        relay = Relay(where.endpoint, "rtsp" if where.kind == "rtsp" else "http", where.name, settings.open_timeout_s)
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
        if answers is not None and answers.redirect is not None:
            return answers.redirect
        took_s = time.monotonic() - began
        failure = explain(error, where, took_s, settings.open_timeout_s, opened=False, answers=answers)
    else:
        stream = next(iter(container.streams.video), None)
        # Without a decoder there is no context, whatever the library's types say.
        has_decoder = stream is not None and cast("object", stream.codec_context) is not None
        if stream is not None and has_decoder:
            bound_decoder(stream.codec_context, is_local=where.is_local)
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
    raise failure


@functools.cache
def _device() -> str | None:
    """Name a kind of device that decodes H.264 here; none where the driver is missing, which FFmpeg would not survive.

    FFmpeg lists what it was built for. Only making a device tells what the machine has, so one is made, once a process.
    """
    import av
    from av.codec.hwaccel import HWAccel, hwdevices_available

    for device in ("cuda", "vaapi", "qsv"):
        if device in hwdevices_available():
            with contextlib.suppress(av.FFmpegError, OSError, NotImplementedError):
                HWAccel(device_type=device).create(av.Codec("h264", "r"))
                return device
    return None


def hardware(take_over: "GpuConverter | None" = None) -> "HWAccel | None":
    """What decodes on this machine besides its processor; with `take_over` an NVIDIA GPU keeps its pictures."""
    from av.codec.hwaccel import HWAccel

    device = _device()
    if device == "cuda" and take_over is not None:
        take_over.prepare()
        # In the context that torch uses as well, for memory of another one could not be read. It is this thread's now;
        # FFmpeg refuses to ask for it by its other name, since torch has set it up otherwise than FFmpeg would.
        options: dict[str, object] = {"primary_ctx": "0", "current_ctx": "1"}
        return HWAccel(device_type=device, allow_software_fallback=True, options=options, is_hw_owned=True)
    return None if device is None else HWAccel(device_type=device, allow_software_fallback=True)
