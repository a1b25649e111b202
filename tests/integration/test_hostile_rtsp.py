"""A camera that misbehaves, floods or redirects ends in a StreamError: no hang, no password shown, bounded memory."""

import resource
import time

import pytest

from benchmarks.rtsp.hostile import PART, HostileServer
from reid_stream.config.settings import Camera, Ingest
from reid_stream.errors import StreamError
from reid_stream.ingest.connection import open_source
from reid_stream.ingest.probe import CameraFailure, probe
from tests.fuzz.cameras import DESCRIBE, MOVED, OPTIONS, PLAY, REFUSED, RTP, SDP, SETUP, TALKS, rtsp

pytestmark = pytest.mark.timeout(60)
LIMITS = Ingest(open_timeout_s=1.5, read_timeout_s=1.0)
SECRET = "hunter2-secret"
MOST_MB = 300


def described(sdp: bytes, length: int | None = None) -> bytes:
    head = b"RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n"
    return head % (len(sdp) if length is None else length) + sdp


def codec(name: bytes) -> bytes:
    return DESCRIBE.replace(b"H264/90000", name + b"/90000")


def to(where: bytes) -> bytes:
    return MOVED.replace(b"rtsp://127.0.0.1:{port}/y", where)


LIES = {
    "noise": bytes(range(256)) * 200,
    "headers without end": OPTIONS[:-4] + b"\r\nX: y" * 5000,
    "a line without end": b"RTSP/1.0 200 OK\r\nX: " + b"y" * 300_000,
    "a length below zero": PART.join([OPTIONS, described(SDP, -1)]),
    "a length beyond memory": PART.join([OPTIONS, described(SDP, 2**62)]),
    "a length of 2 GB": PART.join([OPTIONS, described(SDP, 2**31 - 1)]),
    "less than was announced": PART.join([OPTIONS, described(SDP, len(SDP) + 1000)]),
    "ten thousand streams": PART.join([OPTIONS, described(SDP + b"m=video 0 RTP/AVP 96\r\na=control:s\r\n" * 10_000)]),
    "an SDP of 4 MB": PART.join([OPTIONS, described(SDP + b"a=x:" + b"y" * (4 << 20))]),
    "parameter sets of 1 MB": PART.join([OPTIONS, described(SDP.replace(b"Z0LA", b"Z0LA" * 250_000))]),
    "no stream at all": PART.join([OPTIONS, described(b"v=0\r\n")]),
    "an unknown codec": PART.join([OPTIONS, codec(b"NONSENSE"), SETUP, PLAY + RTP]),
    "no codec": PART.join([OPTIONS, DESCRIBE.replace(b"rtpmap", b"rtpoap"), SETUP, PLAY + RTP]),
    "itself as another place, for ever": PART.join([MOVED, MOVED]),
    "a file as another place": PART.join([OPTIONS, to(b"file:///etc/passwd")]),
    "a dead host as another place": PART.join([OPTIONS, to(b"rtsp://127.0.0.1:1/x")]),
    "a refusal, for ever": PART.join([REFUSED, REFUSED]),
    "a session of nonsense": PART.join([OPTIONS, DESCRIBE, SETUP.replace(b"interleaved=0-1", b"interleaved=-1--1")]),
    "nothing after the beginning": PART.join([OPTIONS, DESCRIBE, SETUP, PLAY]),
    "pictures that are none": PART.join([OPTIONS, DESCRIBE, SETUP, PLAY + RTP * 50]),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_camera_that_answers_with(lie: str) -> None:
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.monotonic()
    with HostileServer(LIES[lie]) as server:
        camera = Camera.model_validate({"id": "a", "url": server.url, "username": "u", "password": SECRET})
        answer = probe(camera, LIMITS)
    assert isinstance(answer, CameraFailure), answer
    assert SECRET not in repr(answer)
    assert SECRET not in repr((answer.error.__cause__, answer.error.__context__))
    # Both limits, and the last look of FFmpeg at its clock.
    assert time.monotonic() - began < LIMITS.open_timeout_s + LIMITS.read_timeout_s + 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before_mb < MOST_MB


def test_headers_that_are_sent_for_ever_end_with_the_time_out() -> None:
    script = b"RTSP/1.0 200 OK\r\n" + b"X: y\r\n" * 1000
    with HostileServer(script, repeat=1 << 30) as server, pytest.raises(StreamError):
        open_source(Camera.model_validate({"id": "a", "url": server.url}), LIMITS)


def test_a_stream_that_is_right_is_opened_and_read() -> None:
    # So that the scripts above are refused for their lies, not for their form.
    with HostileServer(TALKS[0]) as server:
        camera = Camera.model_validate({"id": "a", "url": server.url})
        with open_source(camera, LIMITS) as source:
            assert source.codec == "h264"
            packet = next(iter(source.read(lambda _stamp, _is_key: True)))
    assert not packet.is_skipped


def test_a_redirect_to_a_host_that_asks_for_a_digest_shows_it_no_password() -> None:
    with HostileServer(PART.join([REFUSED, REFUSED])) as elsewhere:
        script = PART.join([OPTIONS, to(elsewhere.url.encode())])
        with HostileServer(script) as server:
            camera = Camera.model_validate({"id": "a", "url": server.url, "username": "u", "password": SECRET})
            assert isinstance(probe(camera, LIMITS), CameraFailure)
        received = b"".join(elsewhere.received)
    assert received
    assert SECRET.encode() not in received


@pytest.mark.parametrize("seed", range(len(TALKS)))
def test_the_seeds_of_the_fuzzer_are_no_findings(seed: int) -> None:
    rtsp(TALKS[seed])
