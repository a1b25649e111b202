"""FFmpeg's options for each kind of address: allowed formats, probing time, largest image (pure)."""

from reid_stream.config.settings import Camera
from reid_stream.ingest.url import Address

MAX_PIXELS = 7680 * 4320
"""Largest image of a camera: 8K UHD. Beyond it a decoder takes hundreds of megabytes."""
_MEDIA = (
    "mpjpeg,mjpeg,jpeg_pipe,png_pipe,mpegts,mpeg,mpegvideo,flv,mov,matroska,avi,asf,ogg,h264,hevc,av1,obu,ivf,m4v,"
    "mjpeg_2000,rawvideo,nut,dhav,mxf,gif,apng,webp_pipe,bmp_pipe,tiff_pipe,wtv,rm,nsv,dv,yuv4mpegpipe,live_flv"
)
"""Formats that hold their video themselves; not those that name other places to open (HLS, DASH, SDP, concat)."""
FORMATS = {"device": "v4l2", "rtsp": "rtsp"}
"""The format by kind of address, where it is known before anything is read."""


def options_for(where: Address, camera: Camera) -> dict[str, str]:
    """Return the options to open a camera or a file with."""
    if where.kind == "rtsp":
        return {
            "protocol_whitelist": "rtsp,tcp,udp,rtp",
            "max_pixels": str(MAX_PIXELS),
            "rtsp_transport": camera.transport,
            "allowed_media_types": "video",
            # How long to analyse the stream before the first frame, in microseconds; FFmpeg's own is 5 s. It need not
            # find out the rate. What it saw is kept: with `nobuffer`, the first key frame would be thrown away.
            "analyzeduration": "1000000",
            "fpsprobesize": "0",
            # How long to wait for packets that overtook each other (UDP), in microseconds.
            "max_delay": "200000",
        }
    if where.kind == "http":
        return {
            "protocol_whitelist": "http,tcp",
            "format_whitelist": _MEDIA,
            "max_pixels": str(MAX_PIXELS),
            "headers": f"Host: {where.host_header}\r\n",
            "analyzeduration": "2000000",
            "fpsprobesize": "0",
            # Packets to search for a first timestamp; FFmpeg's default is 50, which are 50 s of some cameras' JPEGs.
            "max_ts_probe": "1",
        }
    if where.kind == "network":
        return {"format_whitelist": _MEDIA, "analyzeduration": "2000000", "fpsprobesize": "0"}
    # Playlists and the like, which make FFmpeg open what they name, are no video files.
    return {"protocol_whitelist": "file", "format_whitelist": _MEDIA} if where.is_local else {}
