"""A real RTSP server on loopback: GStreamer's, run by the system's Python, which has its bindings.

    python3 rtsp_server.py --port 0 --clip a=/tmp/a.mp4 --clip b=/tmp/b.mp4:h265 --live c=320x240@10 [--user U ...]
        [--film d=320x240@10=/tmp/d.yuv]

Prints one line, `ready PORT`, then serves rtsp://127.0.0.1:PORT/a and so on until it is killed. Clips are MP4 without B
frames, or MPEG-TS (`.ts`), whose size may change on the way. A live camera writes the time into each picture
(`timecode`). A film shows images (I420, one after another) by the time of day, so that several show the same moment, as
the streams of one camera do. Give each client a name of its own: clients of one name share its media, and GStreamer's
server may lock up when they come and go at once.
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import gi

# The script's own folder is on the path; nothing of the package is imported, which this Python may not hold.
import timecode  # type: ignore[import-not-found]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PIPELINES = {
    "h264": "h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96",
    "h265": "h265parse config-interval=-1 ! rtph265pay name=pay0 pt=96",
}
ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast threads=1 bitrate=1500 key-int-max={fps}",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast bitrate=1500 key-int-max={fps} log-level=none",
}
START_S = 10.0
"""Time after which a pipeline that does not play has failed."""
BLOCK_PX = 16
"""Noise behind the time code, in blocks of this size: a frame then fills several packets."""


def _clip(path: str, codec: str) -> str:
    demuxer = "tsdemux" if path.endswith(".ts") else "qtdemux"
    return f"( filesrc location={path} ! {demuxer} ! {PIPELINES[codec]} )"


def _live(width: int, height: int, fps: int, codec: str) -> str:
    caps = f"video/x-raw,format=I420,width={width},height={height},framerate={fps}/1"
    source = f"appsrc name=camera is-live=true format=time do-timestamp=true caps={caps}"
    return f"( {source} ! {ENCODERS[codec].format(fps=fps)} ! {PIPELINES[codec]} )"


Draw = Callable[[float], bytes]
"""Returns the image of a time (UTC seconds), I420."""


def _feed(source: "Gst.Element", fps: int, draw: Draw) -> None:
    """Push images from when the pipeline plays until it stops."""
    # An earlier image gets no timestamp, and now and then its stream then never starts.
    until = time.monotonic() + START_S
    while source.get_state(0).state != Gst.State.PLAYING:
        if time.monotonic() > until:
            return
        time.sleep(0.005)
    due = time.monotonic()
    while True:
        if source.emit("push-buffer", Gst.Buffer.new_wrapped(draw(time.time()))) != Gst.FlowReturn.OK:
            return
        due = max(due + 1.0 / fps, time.monotonic() - 1.0)
        time.sleep(max(0.0, due - time.monotonic()))


def _noise(width: int, height: int) -> Draw:
    chroma = bytes([128]) * (width * height // 2)
    columns = -(-width // BLOCK_PX)

    def draw(at: float) -> bytes:
        luma = bytearray()
        for _ in range(-(-height // BLOCK_PX)):
            line = b"".join(bytes([64 + value // 2]) * BLOCK_PX for value in os.urandom(columns))[:width]
            luma += line * BLOCK_PX
        del luma[width * height :]
        timecode.draw(luma, width, height, at)
        return bytes(luma) + chroma

    return draw


def _film(width: int, height: int, fps: int, path: str) -> Draw:
    size = width * height * 3 // 2
    images = Path(path).read_bytes()

    def draw(at: float) -> bytes:
        first = int(at * fps) % (len(images) // size) * size
        return images[first : first + size]

    return draw


def _demand_password(
    server: "GstRtspServer.RTSPServer", factories: "list[GstRtspServer.RTSPMediaFactory]", user: str, password: str
) -> None:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    for factory in factories:
        factory.add_role_from_structure(
            Gst.Structure.new_from_string("viewer, media.factory.access=true, media.factory.construct=true")
        )


def _factory(server: "GstRtspServer.RTSPServer", name: str, launch: str) -> "GstRtspServer.RTSPMediaFactory":
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(launch)
    factory.set_shared(True)
    server.get_mount_points().add_factory(f"/{name}", factory)
    return factory


def _live_factory(
    server: "GstRtspServer.RTSPServer", name: str, size: str, codec: str, film: str = ""
) -> "GstRtspServer.RTSPMediaFactory":
    pixels, _, rate = size.partition("@")
    width, height, fps = (*map(int, pixels.split("x")), int(rate))
    factory = _factory(server, name, _live(width, height, fps, codec))
    draw = _film(width, height, fps, film) if film else _noise(width, height)

    def begin(_: object, media: "GstRtspServer.RTSPMedia") -> None:
        source = media.get_element().get_by_name("camera")
        threading.Thread(target=_feed, args=(source, fps, draw), daemon=True).start()

    factory.connect("media-configure", begin)
    return factory


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", default="0")
    parser.add_argument("--clip", action="append", default=[])
    parser.add_argument("--live", action="append", default=[])
    parser.add_argument("--film", action="append", default=[])
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    options = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    factories = []
    for clip in options.clip:
        name, _, where = clip.partition("=")
        path, _, codec = where.partition(":")
        factories.append(_factory(server, name, _clip(path, codec or "h264")))
    for live in options.live:
        name, _, where = live.partition("=")
        size, _, codec = where.partition(":")
        factories.append(_live_factory(server, name, size, codec or "h264"))
    for film in options.film:
        name, size, path = film.split("=", 2)
        factories.append(_live_factory(server, name, size, "h264", path))
    if options.user:
        _demand_password(server, factories, options.user, options.password)
    if not server.attach(None):
        sys.exit(f"port {options.port} must be free, it is taken")
    print(f"ready {server.get_bound_port()}", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
