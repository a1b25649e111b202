"""An opened stream of any kind: packets with their timestamps, and the images decoded from them.

Errors of FFmpeg name the URL with its password; none of them leaves this file, as text, cause or context.
"""

import math
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from reid_stream.config.settings import Ingest
from reid_stream.errors import StreamError
from reid_stream.ingest.codec import CHANGING_FORMATS, changed_codec
from reid_stream.ingest.ffmpeg_errors import explain
from reid_stream.ingest.ffmpeg_interrupt import limited_to
from reid_stream.ingest.ffmpeg_options import MAX_PIXELS
from reid_stream.ingest.relay import Relay
from reid_stream.ingest.stream_steps import FileSteps, StreamSteps
from reid_stream.ingest.url import Address

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

RAW_FORMATS = frozenset({"h264", "hevc", "vvc", "obu", "m4v", "mpegvideo", "h263", "vc1", "mjpeg_2000"})
"""Video without a container, and so without timestamps."""
_UNTIMED_FORMATS = frozenset({"mpjpeg", "mjpeg", "jpeg_pipe", "image2"}) | RAW_FORMATS
"""FFmpeg makes up the timestamps of these (25 per second or a rate in the video): of live streams they mean nothing."""
DEFAULT_FPS = 25.0
"""Frames per second of files that state no rate, as FFmpeg has it."""
KEY_WAIT_S = 120.0
"""Longest wait for the first key frame of a connection while packets arrive; cameras with "smart" codecs send one
every 10 to 60 s."""
MOST_REJECTED = 3
"""JPEG images that the decoder rejects as damaged before it takes a camera's for what they are."""
_PRFT = struct.Struct("<qi")
"""FFmpeg's AVProducerReferenceTime: UTC in microseconds, flags."""

Wanted = Callable[[float | None, bool], bool]
"""(stream seconds, is a key frame) -> decode this packet?"""


@dataclass(frozen=True, slots=True)
class DecodedPacket:
    """A packet and the images that left the decoder after it (often its own, sometimes earlier ones)."""

    stream_s: float | None
    """Timestamp in seconds from an arbitrary origin; None where the stream has no timestamps."""
    camera_at: float | None
    """The camera's wall clock at this timestamp, UTC seconds; None before the first RTCP report."""
    frames: "list[VideoFrame]"
    is_skipped: bool = False
    """Not wanted, so not decoded."""


class VideoSource:
    """An open stream; close it, or use it in a `with` block."""

    is_polled = False
    """Each image is a separate request."""

    def __init__(
        self, where: Address, container: "InputContainer", stream: "VideoStream", settings: Ingest, relay: Relay | None
    ) -> None:
        self.where, self.container, self.stream = where, container, stream
        self.settings, self.relay = settings, relay
        self.is_recorded = where.is_local
        """Whether it is a file: it ends, and is played at its own pace, though it could be read faster.

        Only a path is a file. What a server sends is live, even if it announces a duration: a camera that answers with
        a finite video once must not count as ended for good.
        """
        self._decoder: VideoCodecContext = stream.codec_context
        self._steps = StreamSteps()
        self._file_steps = FileSteps()
        self._corrupt = self._repaired = 0
        self._rejected: int | None = 0
        """Images that could not be decoded; None once one could."""
        self._is_damaged = False
        """An image since the last key frame was damaged: those after it build on it."""
        self.has_key = False
        """A key frame has arrived on this connection; nothing can be decoded before it."""
        self.needs: Callable[[float], bool] | None = None
        """Stream seconds -> whether the image may be used. Others are decoded only if further ones refer to them."""
        self.is_keys_alone = False
        """Only key frames are decoded: each image leaves the decoder at once, which would wait for B frames else."""
        self.decode_s: float | None = None
        """Decoding time of the newest packet, on the axis of `DecodedPacket.stream_s`; None if unknown or untrusted."""

    @property
    def name(self) -> str:
        """Address without secrets."""
        return self.where.name

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec, such as `h264`."""
        return self._decoder.name

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels as announced; (0, 0) before the first image of some streams."""
        return self._decoder.width, self._decoder.height

    @property
    def rate(self) -> float | None:
        """Frames per second as announced."""
        # Of raw video, FFmpeg takes its default for the average, even where the video states a rate.
        average = None if self._is_raw else self.stream.average_rate
        rate = average or self.stream.guessed_rate
        return float(rate) if rate else None

    @property
    def assumed_fps(self) -> float | None:
        """Frames per second at which a file without timestamps is played; None for all others."""
        return (self.rate or DEFAULT_FPS) if self.is_recorded and self._is_raw else None

    @property
    def _is_raw(self) -> bool:
        return self.container.format.name in RAW_FORMATS

    @property
    def on_hardware(self) -> bool:
        """Whether FFmpeg decodes on a GPU."""
        return bool(self._decoder.is_hwaccel)

    def seconds(self, picture: "VideoFrame") -> float | None:
        """Return an image's timestamp, on the same axis as `DecodedPacket.stream_s`."""
        pts = picture.pts if picture.pts is not None else picture.dts
        return self._seconds(pts, picture.time_base)

    def read(self, wanted: Wanted) -> Iterator[DecodedPacket]:
        """Yield packets as they arrive, decoded where `wanted`, until the file or stream ends.

        Raises:
            StreamError: nothing, or nothing that can be decoded, arrived for `read_timeout_s`, or no key frame for
                `KEY_WAIT_S`; the connection broke.
        """
        import av

        limit_s = self.settings.read_timeout_s
        usable_at = video_at = time.monotonic()
        packets = cast("Iterator[Packet[VideoStream]]", self.container.demux())
        while True:
            began = time.monotonic()
            failure: StreamError | None = None
            try:
                # PyAV's timeout restarts with each packet of a stream that it leaves out.
                with limited_to(None if self.is_recorded else limit_s):
                    packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError) as error:
                failure = explain(error, self.where, time.monotonic() - began, limit_s, opened=True)
            if failure is not None:  # raised outside of `except`, so that FFmpeg's error is not its context
                raise failure
            now = time.monotonic()
            decoded = self._decode(packet, wanted)
            if decoded is not None:
                video_at = now
                usable_at = now if decoded.frames or decoded.is_skipped else usable_at
                yield decoded
            if self.is_recorded:
                continue
            if now - began >= limit_s:
                # FFmpeg's wait timed out, but it returns the packet that its parser still held.
                raise StreamError(f"{self.name} has sent nothing for {limit_s:g} s", "silent")
            self._check_usable(now - usable_at, now - video_at)

    def _check_usable(self, unusable_s: float, without_video_s: float) -> None:
        """Raise StreamError if data arrives, but for too long nothing that can be decoded."""
        limit_s = self.settings.read_timeout_s
        if unusable_s <= limit_s:
            return
        if without_video_s > limit_s:
            raise StreamError(f"{self.name} sends data, but no video for {limit_s:g} s", "silent")
        if self.has_key:
            raise StreamError(
                f"{self.name} sends data, but no picture that can be decoded (at most {MAX_PIXELS / 1e6:.0f} "
                f"megapixels) for {limit_s:g} s",
                "silent",
            )
        if unusable_s > KEY_WAIT_S:
            raise StreamError(
                f"{self.name} must send a key frame within {KEY_WAIT_S:g} s, found none: set a shorter key frame "
                "interval (I-frame interval, GOP) in the camera",
                "silent",
            )

    def _decode(self, packet: "Packet[VideoStream]", wanted: Wanted) -> DecodedPacket | None:
        """Decode a packet; None if it is of another stream (sound)."""
        import av

        if packet.stream_index != self.stream.index:
            return None
        is_flush = packet.size == 0
        stream_s = None if is_flush else self._trusted(packet)
        if packet.is_keyframe and not is_flush:
            self.has_key = True
            if self.container.format.name in CHANGING_FORMATS:
                self._follow_codec()
        if not is_flush and not wanted(stream_s, packet.is_keyframe):
            return DecodedPacket(stream_s, self._camera_at(packet), [], is_skipped=True)
        if self.needs is not None:
            # Nothing refers to the images that this leaves out, so all others stay as they are, bit by bit.
            is_needed = is_flush or stream_s is None or self.needs(stream_s)
            self._decoder.skip_frame = "DEFAULT" if is_needed else "NONREF"
        try:
            pictures = self._decoder.decode(packet)
            if self.is_keys_alone and not is_flush:
                pictures += self._decoder.decode(None)
                self._decoder.flush_buffers()
        except (av.FFmpegError, ValueError):
            self._corrupt += self.has_key
            self._is_damaged = True
            if self._rejected is not None:
                self._rejected += 1
                if self._rejected == MOST_REJECTED:
                    self.accept_damaged()
            return DecodedPacket(stream_s, self._camera_at(packet), [])
        self._rejected = None if pictures else self._rejected
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

    def accept_damaged(self) -> None:
        """Decode JPEG images from here on even if a part of them is missing or odd."""
        import av

        if self._decoder.options.get("err_detect"):
            options = {name: value for name, value in self._decoder.options.items() if name != "err_detect"}
            self._decoder = cast("VideoCodecContext", av.CodecContext.create(self.codec, "r"))
            bound_decoder(self._decoder, is_local=self.where.is_local)
            self._decoder.options = options

    def _trusted(self, packet: "Packet[VideoStream]") -> float | None:
        """Return a packet's timestamp; one that may be wrong is removed from it, and so from its image."""
        stream_s = self._seconds(packet.pts, packet.time_base)
        self.decode_s = self._seconds(packet.dts, packet.time_base)
        if self.is_recorded:
            return self._continuous(packet, stream_s)
        if stream_s is None:
            return None
        trusted = self._steps.trusted(stream_s, time.monotonic(), self.decode_s)
        if trusted is None:
            packet.pts = packet.dts = self.decode_s = None
        return trusted

    def _continuous(self, packet: "Packet[VideoStream]", stream_s: float | None) -> float | None:
        """Return the timestamp of a file's packet without the steps before it, and give it to its image as well."""
        self._file_steps.add(stream_s, self.decode_s)
        shift_s, base = self._file_steps.shift_s, packet.time_base
        if not shift_s or stream_s is None or not base:
            return stream_s
        shift = round(shift_s / base)
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = None if packet.dts is None else packet.dts + shift
        return stream_s + shift_s

    def _is_whole(self, picture: "VideoFrame") -> bool:
        """Return False for damaged images, True for those that build on them.

        Measured over UDP with 5 % of the packets lost: waiting for the next key frame left 2 frames of 124.
        """
        self._is_damaged = picture.is_corrupt or (self._is_damaged and not picture.key_frame)
        self._corrupt += picture.is_corrupt
        self._repaired += self._is_damaged and not picture.is_corrupt
        return not picture.is_corrupt

    def _seconds(self, stamp: int | None, base: Fraction | None) -> float | None:
        if stamp is None or not base or (self.container.format.name in _UNTIMED_FORMATS and not self.is_recorded):
            return None
        return float(stamp * base)

    def _camera_at(self, packet: "Packet[VideoStream]") -> float | None:
        if self.where.kind != "rtsp" or not packet.has_sidedata("prft"):
            return None
        microseconds, _ = _PRFT.unpack_from(bytes(packet.get_sidedata("prft")))
        return float(microseconds) / 1e6

    @property
    def steps(self) -> int:
        """Steps of the stream's timestamps so far."""
        return self._steps.count

    def take_corrupt(self) -> int:
        """Return how many packets and images could not be used since the last call."""
        corrupt, self._corrupt = self._corrupt, 0
        return corrupt

    def take_repaired(self) -> int:
        """Return how many images since the last call build on a damaged one and show part of its damage."""
        repaired, self._repaired = self._repaired, 0
        return repaired

    def rewind(self) -> None:
        """Go back to the beginning of a file.

        Raises:
            StreamError: the file cannot be rewound, or is gone.
        """
        import av

        failure: StreamError | None = None
        try:
            self._go_to_start()
        except (av.FFmpegError, OSError) as error:
            failure = explain(error, self.where, 0.0, 1.0, opened=False)
        if failure is not None:
            raise StreamError(f"{failure}, so it cannot be played again", failure.cause)

    def _go_to_start(self) -> None:
        import av

        self._file_steps = FileSteps()
        if not self._is_raw:
            with suppress(av.FFmpegError, OSError):  # as for files without timestamps
                self.container.seek(0)
                self._decoder.flush_buffers()
                return
        self._open_again()

    def _open_again(self) -> None:
        import av

        again = av.open(self.where.secret, format=self.container.format.name, options={"protocol_whitelist": "file"})
        self.container.close()
        self.container, self.stream = again, again.streams.video[0]
        self._decoder = self.stream.codec_context
        bound_decoder(self._decoder, is_local=self.where.is_local)

    def close(self) -> None:
        """Disconnect."""
        self.container.close()
        if self.relay is not None:
            self.relay.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


_HALVING = frozenset({"mjpeg", "mpeg4", "mpeg2video"})
"""Codecs whose decoders can leave out the finer half of each block, which gives an image of half the size."""
_MOST_HALVINGS = 3


def bound_decoder(decoder: "VideoCodecContext", *, is_local: bool, resize: tuple[int, int] | None = None) -> None:
    """Give a decoder one thread, for what is not a file of our own a largest image, and no JPEG images that were cut.

    Images that are scaled to `resize` (width, height) are decoded at half their size or less where the codec can, as
    long as they are not smaller than `resize`.
    """
    # Threads across frames would hold back frames, and cameras already share the cores.
    decoder.thread_count = 1
    options = {} if is_local else {"max_pixels": str(MAX_PIXELS)}
    if decoder.name == "mjpeg":
        # Of an image that was cut, the decoder else fills the rest with grey or green.
        options["err_detect"] = "explode"
    if resize is not None and decoder.name in _HALVING and decoder.width and decoder.height:
        times = math.log2(min(decoder.width / resize[0], decoder.height / resize[1]))
        options["lowres"] = str(max(0, min(_MOST_HALVINGS, math.floor(times))))
    decoder.options = options
