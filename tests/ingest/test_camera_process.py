"""A camera in its own process gives the same as one on a thread, and its crash affects no other."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from benchmarks.rtsp.clips import draw_clip
from reid_stream.config.settings import Camera, Ingest
from reid_stream.events import CameraDown, CameraUp
from reid_stream.events.packed import PackedEvent
from reid_stream.images import Detail, host
from reid_stream.ingest import frame_ipc
from reid_stream.ingest.camera_process import CameraProcess
from reid_stream.ingest.camera_set import CameraSet
from reid_stream.ingest.changes import CameraChange, unpack_change
from reid_stream.ingest.inbox import Inbox
from reid_stream.ingest.stats import CameraStats
from reid_stream.records import CameraId, Frame

pytestmark = pytest.mark.timeout(120)
QUICK = Ingest(backoff_first_s=0.05, backoff_max_s=0.1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_clip(tmp_path_factory.mktemp("clips") / "a.mp4", seconds=1)


def camera(url: Path | str, **options: object) -> Camera:
    return Camera.model_validate({"id": "a", "url": str(url), "max_fps": None, **options})


class Running:
    def __init__(self, settings: Camera, ingest: Ingest = QUICK) -> None:
        self.changes: list[CameraChange] = []
        self.frames: list[Frame] = []
        self.live = CameraSet([settings], ingest, self.changes.append)
        self.live.start()

    @property
    def camera(self) -> CameraProcess:
        (thread,) = self.live.threads
        assert isinstance(thread, CameraProcess)
        return thread

    def until(self, holds: Callable[[], bool], timeout_s: float = 60) -> None:
        end = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < end, f"{self.changes} {self.camera.stats}"
            self.frames += self.live.take_frames(0.05) or []

    def stop(self) -> None:
        self.live.stop()
        assert self.camera.join(0)
        assert self.camera.process is None


def signalled(run: Running, number: signal.Signals) -> int:
    run.until(lambda: run.camera.process is not None and run.camera.stats.state == "up")
    process = run.camera.process
    assert process is not None
    assert process.pid is not None
    os.kill(process.pid, number)
    return process.pid


@pytest.mark.slow
def test_a_file_gives_the_same_images_as_on_a_thread_and_ends(clip: Path) -> None:
    pictures = []
    for isolate in (True, False):
        changes: list[CameraChange] = []
        live = CameraSet([camera(clip)], Ingest(isolate=isolate), changes.append)
        live.start()
        frames: list[Frame] = []
        while (batch := live.take_frames(0.5)) is not None:
            frames += batch
        live.stop()
        assert [type(change) for change in changes] == [CameraUp, CameraDown]
        stats = live.stats[CameraId("a")]
        assert (stats.state, stats.read, stats.codec) == ("ended", 10, "h264")
        pictures.append({frame.sequence: frame.pixels for frame in frames})
    shared = pictures[0].keys() & pictures[1].keys()
    assert len(shared) > 3
    assert all((pictures[0][n] == pictures[1][n]).all() for n in shared)


def test_a_crash_is_reported_counted_and_survived_and_numbers_and_times_keep_rising(clip: Path) -> None:
    run = Running(camera(clip, loop=True))
    before = signalled(run, signal.SIGSEGV)
    run.until(lambda: any(isinstance(change, CameraDown) for change in run.changes))
    (down,) = (change for change in run.changes if isinstance(change, CameraDown))
    assert down.reason == f"{clip} lost its decoder's process: it crashed (SIGSEGV)"
    begin = len(run.frames)
    run.until(lambda: len(run.frames) > begin + 3)
    assert run.camera.process is not None
    assert run.camera.process.pid != before
    assert run.camera.stats.failures == {"crashed": 1}
    assert run.camera.stats.cause == "crashed"
    run.stop()
    assert (np.diff([frame.captured_at for frame in run.frames]) > 0).all()
    assert (np.diff([frame.sequence for frame in run.frames]) > 0).all()


def test_a_process_that_hangs_is_ended_and_started_again(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid_stream.ingest.camera_process.STUCK_S", 1.0)
    run = Running(camera(clip, loop=True))
    signalled(run, signal.SIGSTOP)
    run.until(lambda: any(isinstance(change, CameraDown) for change in run.changes))
    (down,) = (change for change in run.changes if isinstance(change, CameraDown))
    assert "hung in its decoder" in down.reason
    run.until(lambda: run.camera.stats.state == "up")
    assert run.camera.stats.failures == {"stuck": 1}
    run.stop()


DAEMON = """
import sys, time
from reid_stream.config.settings import Camera, Ingest
from reid_stream.ingest.inbox import Inbox
from reid_stream.ingest.camera_process import CameraProcess

if __name__ == "__main__":
    url = {"id": "a", "url": sys.argv[1], "loop": True}
    camera = CameraProcess(Camera.model_validate(url), Ingest(), Inbox(), lambda _: None)
    camera.start()
    while camera.stats.state != "up":
        time.sleep(0.01)
    print(camera.process.pid, flush=True)
    time.sleep(60)
"""


def test_a_process_ends_with_the_daemon_even_if_that_is_killed(clip: Path, tmp_path: Path) -> None:
    program = tmp_path / "daemon.py"
    program.write_text(DAEMON)
    daemon = subprocess.Popen([sys.executable, str(program), str(clip)], stdout=subprocess.PIPE, text=True)
    assert daemon.stdout is not None
    process = Path("/proc") / daemon.stdout.readline().strip()
    assert process.is_dir()
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    end = time.monotonic() + 20
    while process.is_dir() and "Z" not in (process / "stat").read_text().rsplit(")", 1)[1][:3]:
        assert time.monotonic() < end, "it lives on"
        time.sleep(0.02)


def test_a_stop_while_the_process_starts_or_waits_takes_a_moment(tmp_path: Path) -> None:
    run = Running(camera(tmp_path / "missing.mp4"), Ingest(backoff_first_s=30, backoff_max_s=60))
    run.until(lambda: run.camera.stats.state == "waiting")
    run.stop()
    assert run.camera.stats.state == "stopped"
    again = Running(camera(tmp_path / "missing.mp4"))
    again.stop()


def test_a_password_is_on_no_command_line(clip: Path) -> None:
    settings = camera(clip, loop=True)
    run = Running(settings.model_copy(update={"username": "viewer", "password": SecretStr("hunter2-secret")}))
    run.until(lambda: run.camera.stats.state == "up")
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)]
    assert not any(b"hunter2-secret" in line for line in lines)
    run.stop()


def test_frames_and_words_come_out_as_they_went_in() -> None:
    near, far = frame_ipc.pair()
    stats = CameraStats(CameraId("a"), "rtsp://host/x", skew_s=0.25, dropped={"rate": 3})
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    frame = Frame(CameraId("a"), 7, 1.5, "rtcp", image)
    assert frame_ipc.send_frame(far, frame, stats)
    gone = CameraDown(camera=CameraId("a"), changed_at=2.0, reason="gone")
    frame_ipc.send(far, frame_ipc.ChangeMessage(stats, PackedEvent.of(gone)))
    far.close()
    message, pixels, detail = frame_ipc.receive(near) or (None, None, None)
    assert isinstance(message, frame_ipc.FrameMessage)
    assert pixels is not None
    got = frame_ipc.frame_of(CameraId("a"), message, pixels, detail)
    assert (got.sequence, got.captured_at, got.clock, got.size) == (7, 1.5, "rtcp", (6, 4))
    assert (got.pixels == image).all()
    assert got.pixels.flags.writeable
    assert message.stats == stats
    message, pixels, detail = frame_ipc.receive(near) or (None, None, None)
    assert isinstance(message, frame_ipc.ChangeMessage)
    assert unpack_change(message.change) == gone
    assert frame_ipc.receive(near) is None
    near.close()


def test_a_larger_image_crosses_with_its_frame_and_own_size() -> None:
    near, far = frame_ipc.pair()
    large = np.random.default_rng(1).integers(0, 255, (12, 18, 3), np.uint8)
    frame = Frame(CameraId("a"), 7, 1.5, "rtcp", np.ones((4, 6, 3), np.uint8), detail=Detail(1.25, large))
    assert frame_ipc.send_frame(far, frame, CameraStats(CameraId("a"), "x"))
    message, pixels, detail = frame_ipc.receive(near) or (None, None, None)
    assert isinstance(message, frame_ipc.FrameMessage)
    assert pixels is not None
    got = frame_ipc.frame_of(CameraId("a"), message, pixels, detail)
    assert got.detail is not None
    assert (got.size, got.detail.captured_at) == ((6, 4), 1.25)
    assert np.array_equal(host(got.detail.image), large)
    near.close()
    far.close()


def test_a_daemon_that_is_busy_loses_frames_and_the_camera_continues() -> None:
    near, far = frame_ipc.pair()
    stats = CameraStats(CameraId("a"), "x")
    frame = Frame(CameraId("a"), 0, 1.0, "rtcp", np.zeros((4, 6, 3), np.uint8))
    taken = [frame_ipc.send_frame(far, frame, stats) for _ in range(200)]
    assert taken[0]
    assert not taken[-1]
    files = len(list(Path("/proc/self/fd").iterdir()))
    while taken.pop(0):
        frame_ipc.receive(near)
    assert frame_ipc.send_frame(far, frame, stats)
    assert len(list(Path("/proc/self/fd").iterdir())) <= files
    near.close()
    far.close()


def test_threads_of_cameras_in_processes_end() -> None:
    inbox = Inbox()
    before = threading.active_count()
    cameras = [CameraProcess(camera("rtsp://127.0.0.1:1/x"), QUICK, inbox, lambda _: None) for _ in range(3)]
    for one in cameras:
        one.start()
    for one in cameras:
        one.stop()
    assert all(one.join(20) for one in cameras)
    assert threading.active_count() == before
