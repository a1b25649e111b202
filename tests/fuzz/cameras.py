"""Fuzz targets: cams.yaml, and the answers of a hostile camera."""

import functools
import tempfile
import time
from pathlib import Path

from benchmarks.rtsp.hostile import PART, HostileServer
from reid_stream.config import docs  # noqa: F401 (what atheris is to look into is imported before it starts)
from reid_stream.config.cams_yaml import load
from reid_stream.config.settings import Camera, Ingest
from reid_stream.errors import ConfigError, StreamError
from reid_stream.ingest.camera import CameraThread  # noqa: F401 (as above)
from reid_stream.ingest.connection import open_source

CONFIGS = Path(__file__).parents[2] / "configs"
SECRET = "hunter2-secret"
QUICK = Ingest(open_timeout_s=0.5, read_timeout_s=0.3)
_FOLDER = Path(tempfile.mkdtemp(prefix="reid-stream-fuzz-"))


@functools.cache
def _hostile() -> HostileServer:
    """One for all inputs; its threads end with the process."""
    return HostileServer().__enter__()


def cams(data: bytes) -> None:
    """A cams.yaml loads or is a ConfigError that names the file; what it shows of secrets is tested elsewhere."""
    path = _FOLDER / "cams.yaml"
    path.write_bytes(data)
    try:
        load(path, {"DOOR_PASSWORD": SECRET})
    except ConfigError as error:
        assert "cams.yaml" in str(error)


def rtsp(data: bytes) -> None:
    """A camera that answers anything gives packets or a StreamError that shows no password, and in time."""
    # A native crash leaves no trace but this.
    (_FOLDER / "last").write_bytes(data)
    server = _hostile()
    server.script = data
    began = time.monotonic()
    camera = Camera.model_validate({"id": "a", "url": server.url, "username": "u", "password": SECRET})
    try:
        with open_source(camera, QUICK) as source:
            for packet in source.read(lambda _stamp, _is_key: True):
                assert source.name == server.url
                if packet.frames or time.monotonic() - began > 1.5:
                    break
    except StreamError as error:
        assert SECRET not in f"{error!r} {error.__cause__!r} {error.__context__!r}"
    assert time.monotonic() - began < 10


SDP = b"""v=0\r
o=- 1 1 IN IP4 127.0.0.1\r
s=x\r
c=IN IP4 0.0.0.0\r
t=0 0\r
a=control:*\r
m=video 0 RTP/AVP 96\r
a=rtpmap:96 H264/90000\r
a=fmtp:96 packetization-mode=1;profile-level-id=42c00d;sprop-parameter-sets=Z0LADdoFB+wEQAAAAwBAAAADAoPFCqg=,aM4PyA==\r
a=control:stream=0\r
"""
OPTIONS = b"RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nPublic: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n"
DESCRIBE = (
    b"RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nContent-Type: application/sdp\r\nContent-Base: rtsp://127.0.0.1:{port}/x/\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(SDP), SDP)
)
SETUP = (
    b"RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nSession: 1;timeout=60\r\n"
    b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=00000001\r\n\r\n"
)
RTP = b"".join(
    b"$\x00\x00\x11\x80\xe0\x00" + bytes([n, 0, 0, n, 0, 0, 0, 0, 1]) + b"\x65\x88\x84\x00\x10" for n in range(8)
)
RTCP = b"$\x01\x00\x1c\x80\xc8\x00\x06\x00\x00\x00\x01" + bytes(20)
PLAY = b"RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nSession: 1\r\nRange: npt=0-\r\n\r\n"
REFUSED = b'RTSP/1.0 401 Unauthorized\r\nCSeq: {cseq}\r\nWWW-Authenticate: Digest realm="x", nonce="1"\r\n\r\n'
MOVED = b"RTSP/1.0 302 Moved\r\nCSeq: {cseq}\r\nLocation: rtsp://127.0.0.1:{port}/y\r\n\r\n"
TALKS = [
    PART.join([OPTIONS, DESCRIBE, SETUP, PLAY + RTP + RTCP]),
    PART.join([OPTIONS, REFUSED, DESCRIBE, SETUP, PLAY + RTCP + RTP]),
    PART.join([OPTIONS, MOVED, OPTIONS, MOVED]),
    PART.join([OPTIONS, DESCRIBE.replace(b"H264/90000", b"H265/90000"), SETUP, PLAY + RTP]),
    PART.join([OPTIONS, DESCRIBE.replace(b"H264/90000", b"JPEG/90000").replace(b" 96\r", b" 26\r"), SETUP, PLAY + RTP]),
]
YAML = [path.read_bytes() for path in sorted(CONFIGS.glob("*.yaml")) if "train" not in path.name]
YAML.append(
    b"""site: shop
redis: {url: "redis://u:hunter2-secret@localhost:6379/0"}
cameras:
  - {id: door, url: "rtsp://u:hunter2-secret@10.0.0.5/s?password=hunter2-secret"}
  - id: till
    url: rtsp://10.0.0.6/s
    username: viewer
    password: ${DOOR_PASSWORD}
    ignore: [[[0.8, 0.0], [1.0, 0.0], [1.0, 0.4]]]
"""
)
TARGETS = {"cams": (cams, YAML), "rtsp": (rtsp, TALKS)}
