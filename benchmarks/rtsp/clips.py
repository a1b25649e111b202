"""Serve clips and live images over real RTSP, for drills, tests and measurements.

with serve_clips({"a": clip}) as server:
    server.url("a")     # rtsp://127.0.0.1:PORT/a
    server.kill(); server.start()   # same port
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream

PYTHON = "/usr/bin/python3"
"""The system's Python, which has GStreamer's bindings."""
_PROGRAM = Path(__file__).with_name("server.py")
_CHECK = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


def why_not() -> str | None:
    """Return why no RTSP server can be run here; None if one can."""
    if not Path(PYTHON).exists():
        return f"{PYTHON} with GStreamer's RTSP server is needed"
    if subprocess.run([PYTHON, "-c", _CHECK], capture_output=True, check=False).returncode:
        return "GStreamer's RTSP server is needed (apt-get install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-bad)"
    return None


def draw_clip(
    path: Path,
    *,
    seconds: float,
    fps: int = 10,
    size: tuple[int, int] = (320, 240),
    codec: str = "libx264",
    is_busy: bool = False,
) -> Path:
    """Make an MP4 without B frames, with a square that moves: one key frame a second.

    `is_busy` puts noise behind the square, so that a frame fills many packets.
    """
    noise = np.random.default_rng(1)
    width, height = size
    with av.open(str(path), "w") as container:
        options = {"bf": "0", "preset": "ultrafast", "tune": "zerolatency"}
        if codec == "libx265":
            options["x265-params"] = "log-level=none"
        stream = cast("VideoStream", container.add_stream(codec, rate=fps, options=options))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = fps
        for n in range(round(seconds * fps)):
            image = np.full((height, width, 3), 60, np.uint8)
            if is_busy:
                image[: height // 16 * 16, : width // 16 * 16] = np.kron(
                    noise.integers(40, 90, (height // 16, width // 16, 1), np.uint8), np.ones((16, 16, 1), np.uint8)
                )
            left = n * 7 % (width - 40)
            image[height // 3 : height // 3 + 40, left : left + 40] = (200, n % 255, 40)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def changing_clip(path: Path, sizes: Sequence[tuple[int, int]], *, seconds: float, fps: int = 10) -> Path:
    """Make an MPEG-TS (`.ts`) of H.264 whose size changes on the way: so many seconds of each (width, height)."""
    options = {"bf": "0", "preset": "ultrafast", "tune": "zerolatency"}
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height = sizes[0]
        n = 0
        for width, height in sizes:
            encoder = av.CodecContext.create("libx264", "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            encoder.time_base, encoder.framerate, encoder.gop_size = Fraction(1, fps), Fraction(fps), fps
            encoder.options = options
            image = np.full((height, width, 3), 60, np.uint8)
            for _ in range(round(seconds * fps)):
                image[height // 3 : height // 2] = n % 255
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = n, Fraction(1, fps)
                n += 1
                for packet in encoder.encode(frame):
                    packet.stream = stream
                    container.mux(packet)
    return path


def cut_clip(source: Path, path: Path, *, seconds: float) -> Path:
    """Copy the first `seconds` of a clip without encoding them again; an end within a group of pictures is kept."""
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        video = given.streams.video[0]
        stream = container.add_stream_from_template(video)
        for packet in given.demux(video):
            if packet.dts is not None and packet.dts * packet.time_base < seconds:
                packet.stream = stream
                container.mux(packet)
    return path


def color_clip(path: Path, rgb: tuple[int, int, int], *, seconds: float, fps: int = 5, side: int = 128) -> Path:
    """Encode a square clip of a single color, with one key frame a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
        stream.codec_context.gop_size = fps
        image = np.full((side, side, 3), rgb, np.uint8)
        for n in range(round(seconds * fps)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def loop_clip(source: Path, path: Path, *, seconds: float, fps: int = 10, height: int | None = None) -> Path:
    """Encode a real clip without B frames at `fps`, repeated until it is `seconds` long.

    Args:
        source: a video file.
        path: file to write, MP4.
        seconds: length of the result.
        fps: frames per second of the result; frames are repeated or left out to get it.
        height: pixels, the width in proportion; by default that of the source.
    """
    once = path.with_suffix(".once.mp4")
    count = _encode(source, once, fps, height)
    with av.open(str(path), "w") as container:
        stream = None
        for turn in range(-(-round(seconds * fps) // count)):
            with av.open(str(once)) as given:
                stream = stream or container.add_stream_from_template(given.streams.video[0])
                for n, packet in enumerate(given.demux(video=0), start=turn * count):
                    if packet.size and n < seconds * fps:
                        packet.stream, packet.time_base = stream, Fraction(1, fps)
                        packet.pts = packet.dts = n
                        packet.duration = 1
                        container.mux(packet)
    once.unlink()
    return path


def write_film(source: Path, path: Path, size: tuple[int, int], frames: int) -> str:
    """Write the first images of a clip at `size` (width, height) for a film; return its `320x240@10=PATH`."""
    with av.open(str(source)) as given, path.open("wb") as file:
        video = given.streams.video[0]
        for _, picture in zip(range(frames), given.decode(video), strict=False):
            file.write(picture.reformat(*size, "yuv420p").to_ndarray().tobytes())
        return f"{size[0]}x{size[1]}@{round(float(video.average_rate or 10))}={path}"


def _encode(source: Path, path: Path, fps: int, height: int | None) -> int:
    """Encode a clip as H.264 without B frames at `fps`; return the number of frames."""
    n = 0
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        video = given.streams.video[0]
        tall = height or video.height
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = round(video.width * tall / video.height / 2) * 2, tall, "yuv420p"
        stream.codec_context.gop_size = fps
        for picture in given.decode(video):
            due = int(picture.time * fps) + 1
            if n >= due:
                continue
            frame = picture.reformat(stream.width, stream.height, "yuv420p")
            frame.pict_type = av.video.frame.PictureType.NONE
            while n < due:
                frame.pts, frame.time_base = n, Fraction(1, fps)
                container.mux(stream.encode(frame))
                n += 1
        container.mux(stream.encode())
    return n


@dataclass
class RtspServer:
    """A server process that can be killed, frozen and started again on its port."""

    clips: dict[str, str]
    """Name in the URL to path, with `:h265` behind it where the clip is HEVC."""
    lives: dict[str, str] = field(default_factory=dict)
    """Name in the URL to `320x240@10`, or with `:h265`: images that show their capture time (`timecode`)."""
    films: dict[str, str] = field(default_factory=dict)
    """Name in the URL to `320x240@10=PATH`: images (I420) shown by the time of day."""
    user: str | None = None
    password: str = ""
    port: int = 0
    process: "subprocess.Popen[str] | None" = field(default=None, init=False)

    def url(self, name: str, *, user: str | None = None, password: str = "") -> str:
        """Return the URL of a clip."""
        auth = "" if user is None else f"{user}:{password}@"
        return f"rtsp://{auth}127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Start serving; returns once it listens."""
        command = [PYTHON, str(_PROGRAM), "--port", str(self.port)]
        for name, clip in self.clips.items():
            command += ["--clip", f"{name}={clip}"]
        for name, live in self.lives.items():
            command += ["--live", f"{name}={live}"]
        for name, film in self.films.items():
            command += ["--film", f"{name}={film}"]
        if self.user is not None:
            command += ["--user", self.user, "--password", self.password]
        environment = {**os.environ, "GST_DEBUG": "0"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().split()
        if line[:1] != ["ready"]:
            raise RuntimeError(f"the RTSP server did not start on port {self.port}: {' '.join(line)}")
        self.port = int(line[1])

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None

    def freeze(self) -> None:
        """Stop the process: connections stay open, nothing is sent."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue after `freeze`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def serve_clips(
    clips: Mapping[str, Path | str],
    *,
    lives: Mapping[str, str] = MappingProxyType({}),
    films: Mapping[str, str] = MappingProxyType({}),
    user: str | None = None,
    password: str = "",
    port: int = 0,
) -> Iterator[RtspServer]:
    """Serve clips (name to MP4 path; `path:h265` for HEVC), live images (name to `320x240@10`) and films (name to
    `320x240@10=PATH`) while the block runs; port 0 takes a free one.
    """
    named = {name: str(clip) for name, clip in clips.items()}
    server = RtspServer(named, dict(lives), dict(films), user, password, port)
    server.start()
    try:
        yield server
    finally:
        server.kill()
