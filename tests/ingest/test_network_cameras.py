"""Cameras over HTTP and TLS: certificates are verified, redirects stay on the host, unusual streams play."""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.rtsp.clips import draw_clip
from benchmarks.rtsp.hostile import PART, HostileServer
from benchmarks.rtsp.web import HttpResponse, TlsFront, WebCamera, make_certificates, mjpeg, moved, snapshot, whole
from reid_stream.config.settings import Camera, Ingest
from reid_stream.errors import StreamError
from reid_stream.events import CameraDown, CameraUp
from reid_stream.ingest.camera_set import CameraSet
from reid_stream.ingest.changes import CameraChange
from reid_stream.ingest.connection import open_source
from reid_stream.ingest.probe import CameraFailure, CameraReport, probe
from reid_stream.ingest.stats import CameraStats
from reid_stream.records import CameraId, Frame
from tests.fuzz.cameras import MOVED, OPTIONS, TALKS

pytestmark = pytest.mark.timeout(60)
QUICK = Ingest(open_timeout_s=3, read_timeout_s=2, backoff_first_s=0.1, backoff_max_s=0.5, isolate=False)
SECRET = "hunter2-secret"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_clip(tmp_path_factory.mktemp("clips") / "a.mp4", seconds=1)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificates(tmp_path_factory.mktemp("ca"))


def jpeg(width: int = 320, height: int = 240) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(out, "JPEG")
    return out.getvalue()


def camera(url: str, **options: object) -> Camera:
    return Camera.model_validate({"id": "a", "url": url, **options})


class Running:
    def __init__(self, one: Camera) -> None:
        self.changes: list[CameraChange] = []
        self.frames: list[Frame] = []
        self.live = CameraSet([one], QUICK, self.changes.append)

    @property
    def stats(self) -> CameraStats:
        return self.live.stats[CameraId("a")]

    def until(self, holds: Callable[[], bool], timeout_s: float = 20) -> None:
        end = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < end, f"{self.changes} {self.stats}"
            self.frames += self.live.take_frames(0.05) or []


@contextmanager
def running(one: Camera) -> Iterator[Running]:
    run = Running(one)
    run.live.start()
    try:
        yield run
    finally:
        run.live.stop()


def test_a_network_camera_that_answers_with_a_finite_video_comes_back(clip: Path) -> None:
    with WebCamera({"/a.mp4": whole(clip)}) as web, running(camera(web.url("/a.mp4"))) as run:
        run.until(lambda: sum(isinstance(change, CameraUp) for change in run.changes) >= 2)
        assert run.stats.state != "ended"
        assert any(isinstance(change, CameraDown) for change in run.changes)


def test_parts_of_jpeg_without_a_boundary_before_the_first_play() -> None:
    for has_first_boundary in (True, False):
        with (
            WebCamera({"/video": mjpeg(jpeg(), has_first_boundary=has_first_boundary)}) as web,
            running(camera(web.url("/video"))) as run,
        ):
            run.until(lambda: len(run.frames) > 5)
            assert len(run.changes) == 1


@pytest.mark.slow
def test_a_snapshot_url_is_polled_and_stays_up() -> None:
    with WebCamera({"/shot.jpg": snapshot(jpeg())}) as web:
        with running(camera(web.url("/shot.jpg"), max_fps=5)) as run:
            run.until(lambda: len(run.frames) > 2)
            began, before = time.monotonic(), len(run.frames)
            run.until(lambda: len(run.frames) >= before + 10)
            assert time.monotonic() - began == pytest.approx(2.0, abs=0.7)
            assert [type(change) for change in run.changes] == [CameraUp]
            web.answers.clear()
            run.until(lambda: run.stats.state == "waiting")
            assert "404" in run.stats.reason
        report = probe(camera(web.url("/shot.jpg")), QUICK)
        assert isinstance(report, CameraFailure)
        web.answers["/shot.jpg"] = snapshot(jpeg())
        report = probe(camera(web.url("/shot.jpg"), max_fps=2), QUICK)
        assert isinstance(report, CameraReport)
        assert report.is_polled
        assert report.rate == pytest.approx(2, abs=0.5)


@pytest.mark.slow
def test_a_snapshot_that_cannot_be_decoded_is_said_and_no_hung_decoder() -> None:
    whole_image = jpeg()
    size = whole_image.index(b"\xff\xc0") + 5
    huge = whole_image[:size] + (65500).to_bytes(2, "big") * 2 + whole_image[size + 4 :]
    with WebCamera({"/shot.jpg": snapshot(huge)}) as web, running(camera(web.url("/shot.jpg"), max_fps=5)) as run:
        run.until(lambda: run.stats.state == "waiting")
        assert "no picture that can be decoded (at most" in run.stats.reason
        assert run.stats.cause == "silent"
        web.answers["/shot.jpg"] = snapshot(whole_image)
        run.until(lambda: len(run.frames) > 2)
        web.answers["/shot.jpg"] = snapshot(huge)
        run.until(lambda: run.stats.state == "waiting")
        assert [type(change) for change in run.changes].count(CameraUp) == 1


@pytest.mark.slow
def test_parts_and_images_of_other_types_play() -> None:
    def parts() -> Iterator[bytes]:
        while True:
            yield b"--frame\r\nContent-Type: image/jpg\r\n\r\n" + jpeg() + b"\r\n"
            time.sleep(0.1)

    out = io.BytesIO()
    Image.fromarray(np.full((240, 320, 3), 90, np.uint8)).save(out, "PNG")
    length = ("Content-Length", str(len(jpeg())))
    answers = {
        "/parts": HttpResponse(200, (("Content-Type", "multipart/x-mixed-replace;boundary=frame"),), parts),
        "/untyped": HttpResponse(200, (length,), lambda: [jpeg()]),
        "/png": HttpResponse(200, (("Content-Type", "image/png"),), lambda: [out.getvalue()]),
    }
    with WebCamera(answers) as web:
        for path in answers:
            with running(camera(web.url(path), max_fps=5)) as run:
                run.until(lambda run=run: len(run.frames) > 5)  # type: ignore[misc]
                assert [type(change) for change in run.changes] == [CameraUp]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image/jpeg", "video/x-motion-jpeg", "application/octet-stream"])
def test_pictures_one_after_another_play_as_they_come(kind: str) -> None:
    def pictures() -> Iterator[bytes]:
        while True:
            yield jpeg()
            time.sleep(0.05)

    with (
        WebCamera({"/all": HttpResponse(200, (("Content-Type", kind),), pictures)}) as web,
        running(camera(web.url("/all"), max_fps=5)) as run,
    ):
        run.until(lambda: len(run.frames) > 5, 5)
        assert [type(change) for change in run.changes] == [CameraUp]
        assert len(web.requests) == 1


def test_a_redirect_on_the_host_is_followed_and_one_to_another_host_is_not() -> None:
    with WebCamera({"/video": mjpeg(jpeg())}) as web:
        web.answers["/near"] = moved("/video")
        with open_source(camera(web.url("/near"), username="u", password=SECRET), QUICK) as source:
            assert source.codec == "mjpeg"
        web.requests.clear()
        web.answers["/far"] = moved(f"http://localhost:{web.port}/video")
        with pytest.raises(StreamError, match="redirects to another place, which is not followed"):
            open_source(camera(web.url("/far"), username="u", password=SECRET), QUICK)
        assert [path for path, _ in web.requests] == ["/far"]
        web.answers["/round"] = moved("/round")
        with pytest.raises(StreamError, match="redirects more than 3 times"):
            open_source(camera(web.url("/round")), QUICK)


def test_an_rtsp_redirect_to_another_host_gets_no_password() -> None:
    with HostileServer(TALKS[0]) as elsewhere:
        there = elsewhere.url.replace("127.0.0.1", "localhost").encode()
        script = PART.join([OPTIONS, MOVED.replace(b"rtsp://127.0.0.1:{port}/y", there)])
        with HostileServer(script) as server, pytest.raises(StreamError, match="is not followed"):
            open_source(camera(server.url, username="u", password=SECRET), QUICK)
        assert elsewhere.received == []


def test_rtsp_redirects_to_itself_end_soon() -> None:
    server = HostileServer(PART.join([MOVED, MOVED]))
    with server, pytest.raises(StreamError, match="redirects more than 3 times"):
        open_source(camera(server.url), QUICK)
    assert len(server.received) < 10


def test_a_playlist_that_names_other_hosts_is_no_camera() -> None:
    with WebCamera({}) as other, WebCamera({}) as web:
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{other.url('/a.ts')}\n".encode()
        web.answers["/list.m3u8"] = snapshot(playlist)
        with pytest.raises(StreamError):
            open_source(camera(web.url("/list.m3u8")), QUICK)
        assert other.requests == []


def test_an_https_camera_must_show_a_certificate_that_can_be_verified(certificates: tuple[Path, Path]) -> None:
    authority, certificate = certificates
    with WebCamera({"/video": mjpeg(jpeg())}, certificate) as web:

        def opened(**options: object) -> str:
            try:
                with open_source(camera(web.url("/video"), username="u", password=SECRET, **options), QUICK) as source:
                    return source.codec
            except StreamError as error:
                assert error.cause == "untrusted"
                return str(error)

        reason = opened()
        assert "must show a certificate that can be verified" in reason
        assert SECRET not in reason
        assert web.requests == []  # nothing was asked, so no password was sent
        fingerprint = reason.rpartition("fingerprint: ")[2]
        assert opened(fingerprint=fingerprint) == "mjpeg"
        assert opened(ca_file=str(authority)) == "mjpeg"
        assert opened(tls="unverified") == "mjpeg"
        assert "another one" in opened(fingerprint="00" * 32)


def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    authority, certificate = make_certificates(tmp_path, names="DNS:other.example")
    web = WebCamera({"/video": mjpeg(jpeg())}, certificate)
    with web, pytest.raises(StreamError, match="not valid for '127"):
        open_source(camera(web.url("/video"), ca_file=str(authority)), QUICK)


@pytest.mark.slow
def test_an_rtsps_camera_is_verified_too(certificates: tuple[Path, Path]) -> None:
    authority, certificate = certificates
    with HostileServer(TALKS[0]) as server, TlsFront(server.port, certificate) as front:
        url = f"rtsps://127.0.0.1:{front.port}/x"
        with pytest.raises(StreamError, match="certificate that can be verified"):
            open_source(camera(url, username="u", password=SECRET), QUICK)
        assert front.received == []
        with open_source(camera(url, ca_file=str(authority)), QUICK) as source:
            assert source.codec == "h264"
            assert source.name == url


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("453 Not Enough Bandwidth", "no bandwidth left for another viewer"),
        ("503 Service Unavailable", "too busy"),
        ("410 Gone", "look at the path"),
        ("462 Destination Unreachable", "set transport to tcp"),
        ("459 Aggregate Operation Not Allowed", "answers with status 459"),
        ("551 Option not supported", "answers with status 551"),
        ('401 Unauthorized\r\nWWW-Authenticate: Digest realm="x", nonce="y", algorithm=SHA-256', "SHA-256"),
    ],
)
def test_what_a_camera_answers_is_put_in_words(status: str, words: str) -> None:
    answer = f"RTSP/1.0 {status}\r\nCSeq: {{cseq}}\r\n\r\n".encode()
    with HostileServer(PART.join([OPTIONS, answer])) as server, pytest.raises(StreamError, match=words):
        open_source(camera(server.url, username="u", password=SECRET), QUICK)


@pytest.mark.slow
def test_images_beyond_8k_are_refused() -> None:
    with WebCamera({"/video": mjpeg(jpeg(16000, 2400), fps=5)}) as web:
        report = probe(camera(web.url("/video")), QUICK)
    assert isinstance(report, CameraFailure)
    assert "at most 33 megapixels" in report.reason
