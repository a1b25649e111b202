"""Detect the current codec of a stream, which a transport stream may change while it is read.

FFmpeg's demuxer follows such a change; PyAV keeps the decoder that it made when the stream was opened, and shows the
demuxer's codec nowhere. Bitstream filters accept one codec each and look at the demuxer's: whether one can be made
identifies the codec.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.video.stream import VideoStream

CHANGING_FORMATS = frozenset({"mpegts"})
"""Formats whose streams may change their codec."""
_FILTERS = {
    "h264": "h264_metadata",
    "hevc": "hevc_metadata",
    "mpeg2video": "mpeg2_metadata",
    "mpeg4": "mpeg4_unpack_bframes",
    "av1": "av1_metadata",
}
"""A bitstream filter for each codec that cameras send in transport streams."""


def changed_codec(stream: "VideoStream", decoding: str) -> str | None:
    """Return the codec that `stream` has now if it is another known one than `decoding`, else None."""
    if decoding not in _FILTERS or _is(decoding, stream):
        return None
    return next((codec for codec in _FILTERS if _is(codec, stream)), None)


def _is(codec: str, stream: "VideoStream") -> bool:
    import av
    from av.bitstream import BitStreamFilterContext

    try:
        BitStreamFilterContext(_FILTERS[codec], in_stream=stream)
    except (av.FFmpegError, ValueError):
        return False
    return True
