"""Real RTSP cameras come up, give their time, fail in plain words, and come back."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from benchmarks.rtsp.clips import changing_clip
from reid_stream.config.settings import Camera, Ingest
from reid_stream.events import CameraChanged, CameraDown, CameraUp
from reid_stream.ingest.camera import CameraThread
from reid_stream.ingest.camera_set import CameraSet
from reid_stream.ingest.changes import CameraChange
from reid_stream.ingest.inbox import Inbox
from reid_stream.ingest.probe import CameraFailure, CameraReport, probe_all
from reid_stream.ingest.stats import CameraStats
from reid_stream.ingest.url import address
from reid_stream.records import CameraId, Frame
from tests.integration.rtsp import draw_clip, serve_clips, why_not

reason = why_not()
pytestmark = [pytest.mark.skipif(reason is not None, reason=reason or ""), pytest.mark.timeout(120)]

QUICK = Ingest(open_timeout_s=3, read_timeout_s=1, backoff_first_s=0.2, backoff_max_s=0.5)
PASSWORD = "s3 cr@t/x"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_clip(tmp_path_factory.mktemp("clips") / "a.mp4", seconds=120)


@pytest.fixture(scope="module")
def other_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_clip(tmp_path_factory.mktemp("clips") / "b.mp4", seconds=60, size=(480, 272), codec="libx265")


class Site:
    """Live cameras with their events."""

    def __init__(self, cameras: list[Camera], settings: Ingest = QUICK) -> None:
        self.changes: list[CameraChange] = []
        self.frames: list[Frame] = []
        self.live = CameraSet(cameras, settings, self.changes.append)

    def stats(self, camera: str) -> CameraStats:
        return self.live.stats[CameraId(camera)]

    def ups(self, camera: str) -> list[CameraUp]:
        return [change for change in self.changes if isinstance(change, CameraUp) and change.camera == camera]

    def downs(self, camera: str) -> list[CameraDown]:
        return [change for change in self.changes if isinstance(change, CameraDown) and change.camera == camera]

    def until(self, holds: Callable[[], bool], timeout_s: float = 20) -> None:
        """Take frames until something holds."""
        end = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < end, f"not within {timeout_s} s: {self.changes} {self.live.stats}"
            self.frames += self.live.take_frames(0.1) or []


@contextmanager
def running(cameras: list[Camera], settings: Ingest = QUICK) -> Iterator[Site]:
    site = Site(cameras, settings)
    site.live.start()
    try:
        yield site
    finally:
        site.live.stop()
        assert all(thread.join(0) for thread in site.live.threads)


def camera(name: str, url: str, **options: object) -> Camera:
    return Camera.model_validate({"id": name, "url": url, **options})


def test_four_cameras_give_frames_stamped_by_their_own_clocks(clip: Path) -> None:
    with serve_clips(dict.fromkeys("abcd", clip)) as server:
        with running([camera(name, server.url(name)) for name in "abcd"]) as site:
            site.until(lambda: all(stats.clock == "rtcp" for stats in site.live.stats.values()))
            site.frames.clear()
            site.until(lambda: len(site.frames) >= 40)
        for name in "abcd":
            own = [frame for frame in site.frames if frame.camera == name]
            steps = np.diff([frame.captured_at for frame in own])
            assert len(own) >= 8
            assert steps.min() > 0
            assert np.median(steps) == pytest.approx(0.1, abs=0.01)
            assert abs(own[-1].captured_at - time.time()) < 3
            assert own[-1].size == (320, 240)
        assert all(abs(stats.skew_s or 9) < 0.5 for stats in site.live.stats.values())
        assert [len(site.ups(name)) for name in "abcd"] == [1] * 4
        assert all(change.clock == "rtcp" for change in site.changes if isinstance(change, CameraChanged))


def test_a_camera_whose_size_changes_while_it_is_up_reports_it_and_stays_up(tmp_path: Path) -> None:
    changing = changing_clip(tmp_path / "c.ts", [(320, 240), (480, 272)], seconds=6)
    with serve_clips({"a": changing}) as server, running([camera("a", server.url("a"))]) as site:
        site.until(lambda: site.stats("a").size == (480, 272))
        sizes = [change for change in site.changes if isinstance(change, CameraChanged)]
        sizes = [change for change in sizes if change.frame_size != change.previous_frame_size]
        assert [(one.previous_frame_size, one.frame_size) for one in sizes] == [((320, 240), (480, 272))]
        assert len(site.ups("a")) == 1
        assert not site.downs("a")


def test_a_server_that_is_killed_and_started_again_gets_its_camera_back(clip: Path) -> None:
    with serve_clips({"a": clip}) as server, running([camera("a", server.url("a"))]) as site:
        for round_ in range(3):
            site.until(lambda: site.stats("a").state == "up")
            server.kill()
            site.until(lambda: site.stats("a").state != "up")
            assert "closed the connection" in site.downs("a")[-1].reason or "refused" in site.downs("a")[-1].reason
            server.start()
            began = time.monotonic()
            site.until(lambda: site.stats("a").state == "up")
            # Twice the longest wait, and the time the server needs to begin a stream.
            assert time.monotonic() - began < 2 * QUICK.backoff_max_s + 2
            assert site.stats("a").reconnects == round_ + 1


def test_a_frozen_camera_goes_down_and_comes_back(clip: Path) -> None:
    with serve_clips({"a": clip}) as server, running([camera("a", server.url("a"))]) as site:
        site.until(lambda: bool(site.ups("a")))
        server.freeze()
        site.until(lambda: bool(site.downs("a")))
        assert "has sent nothing for 1 s" in site.downs("a")[0].reason
        server.thaw()
        site.until(lambda: site.stats("a").state == "up")


def test_a_camera_that_returns_with_another_size_and_codec_continues(clip: Path, other_clip: Path) -> None:
    with serve_clips({"a": clip}) as server, running([camera("a", server.url("a"))]) as site:
        site.until(lambda: bool(site.ups("a")))
        server.kill()
        server.clips = {"a": f"{other_clip}:h265"}
        server.start()
        site.until(lambda: site.ups("a")[-1].codec == "hevc")
        assert site.ups("a")[0].codec == "h264"
        assert site.ups("a")[-1].frame_size == (480, 272)


def test_a_dead_a_frozen_and_a_garbage_camera_do_not_touch_a_healthy_one(clip: Path) -> None:
    with garbage() as port, silent() as mute, serve_clips({"a": clip}) as server:
        cameras = [
            camera("a", server.url("a")),
            camera("dead", "rtsp://127.0.0.1:1/x"),
            camera("mute", f"rtsp://127.0.0.1:{mute}/x"),
            camera("junk", f"rtsp://127.0.0.1:{port}/x"),
        ]
        with running(cameras) as site:
            site.until(lambda: site.stats("a").read >= 60)
            stats = site.stats("a")
            assert len(site.ups("a")) <= 2
            assert not site.downs("a")
            assert stats.rate == pytest.approx(10, rel=0.1)
            assert all(site.downs(name) for name in ("dead", "mute", "junk"))
            assert "did not answer within 3 s" in site.downs("mute")[0].reason


def test_stopping_a_camera_that_is_being_opened_takes_a_moment_only() -> None:
    with silent() as port:
        thread = CameraThread(
            camera("a", f"rtsp://127.0.0.1:{port}/x"), Ingest(open_timeout_s=60), Inbox(), lambda change: None
        )
        thread.start()
        connected.wait(10)
        began = time.monotonic()
        thread.stop()
        assert thread.join(2)
        assert time.monotonic() - began < 1


def test_check_tells_each_camera_apart_and_no_message_holds_a_password(clip: Path) -> None:
    with serve_clips({"a": clip, "b": clip}, user="me", password=PASSWORD) as server:
        inside = server.url("b", user="me", password="s3%20cr%40t%2Fx")
        cameras = [
            camera("right", server.url("a"), username="me", password=PASSWORD),
            camera("udp", inside, transport="udp"),
            camera("wrong", server.url("a"), username="me", password="secret-but-wrong"),
            camera("anonymous", server.url("a")),
            camera("nowhere", server.url("zz"), username="me", password=PASSWORD),
            camera("refused", "rtsp://me:hunter2@127.0.0.1:1/x?password=hunter2"),
            camera("nameless", "rtsp://me:hunter2@host.invalid/x"),
        ]
        results = {str(result.camera): result for result in probe_all(cameras, QUICK, look_s=2.5)}
        for name in ("right", "udp"):
            found = results[name]
            assert isinstance(found, CameraReport), found
            assert (found.codec, found.size, found.clock) == ("h264", (320, 240), "rtcp")
            assert found.rate == pytest.approx(10, rel=0.2)
            assert found.first_frame_s < 3
        words = {name: result.reason for name, result in results.items() if isinstance(result, CameraFailure)}
        assert "refuses the user name or password" in words["wrong"]
        assert "asks for a user name and a password" in words["anonymous"]
        assert "has no such stream (404)" in words["nowhere"]
        assert "connection refused" in words["refused"]
        assert "is the host name right" in words["nameless"]
        assert isinstance(results["wrong"], CameraFailure)
        assert results["wrong"].error.cause == "refused"
        messages = repr(results) + "".join(
            repr(chain(r.error)) for r in results.values() if isinstance(r, CameraFailure)
        )
        for secret in ("secret-but-wrong", "hunter2", "s3%20cr", PASSWORD):
            assert secret not in messages


def test_a_password_file_is_read_and_its_faults_are_reported(clip: Path, tmp_path: Path) -> None:
    right, empty = tmp_path / "right", tmp_path / "empty"
    right.write_text(PASSWORD + "\n")
    empty.write_text("")
    with serve_clips({"a": clip}, user="me", password=PASSWORD) as server:
        cameras = [
            camera("right", server.url("a"), username="me", password_file=right),
            camera("empty", server.url("a"), username="me", password_file=empty),
            camera("missing", server.url("a"), username="me", password_file=tmp_path / "missing"),
        ]
        fine, bad, gone = probe_all(cameras, QUICK, look_s=0)
    assert isinstance(fine, CameraReport)
    assert isinstance(bad, CameraFailure)
    assert "it is empty" in bad.reason
    assert isinstance(gone, CameraFailure)
    assert "No such file" in gone.reason


def test_a_refused_password_is_not_tried_again_in_haste(clip: Path) -> None:
    with serve_clips({"a": clip}, user="me", password=PASSWORD) as server:
        settings = Ingest(backoff_first_s=0.01, backoff_max_s=60)
        with running([camera("a", server.url("a"), username="me", password="no")], settings) as site:
            site.until(lambda: site.stats("a").state == "waiting")
            assert site.stats("a").cause == "refused"
            assert not site.live.threads[0].join(1)
            assert len(site.downs("a")) == 1


def test_a_camera_read_once_a_second_decodes_key_frames_alone(clip: Path) -> None:
    with serve_clips({"a": clip}) as server, running([camera("a", server.url("a"), max_fps=1)]) as site:
        site.until(lambda: site.stats("a").keys_only)
        before = site.stats("a").read
        site.until(lambda: site.stats("a").used >= 7)
        assert site.stats("a").read - before < 12


connected = threading.Event()


@contextmanager
def silent() -> Iterator[int]:
    """A server that accepts connections and sends nothing."""
    with _listening(b"") as port:
        yield port


@contextmanager
def garbage() -> Iterator[int]:
    """A server that answers everything with noise."""
    with _listening(bytes(range(256)) * 64) as port:
        yield port


@contextmanager
def _listening(answer: bytes) -> Iterator[int]:
    connected.clear()
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as pool:
        server.settimeout(0.1)

        def serve() -> None:
            clients = []
            while not over.is_set():
                try:
                    client, _ = server.accept()
                except TimeoutError:
                    continue
                connected.set()
                clients.append(client)
                if answer:
                    client.sendall(answer)
                    client.close()
            for client in clients:
                client.close()

        serving = pool.submit(serve)
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            serving.result(timeout=5)


def chain(error: BaseException | None) -> list[str]:
    """The texts of an error and of all it came from."""
    texts = []
    while error is not None:
        texts.append(f"{error!r} {error} {vars(error)}")
        error = error.__cause__ or error.__context__
    return texts


def test_an_address_shows_no_secret_when_printed() -> None:
    where = address(Camera(id="a", url=SecretStr("rtsp://u:hunter2@host/x?token=hunter2"), username=None))
    assert where.name == "rtsp://host/x"
    assert "hunter2" not in repr(where)
    assert where.secret == "rtsp://u:hunter2@host/x?token=hunter2"
