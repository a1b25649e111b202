"""Workers end in order with the daemon, however it ends."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.rtsp.clips import draw_clip
from reid_stream.bench.procfs import family
from tests.integration.program import Running, running, write_cams

pytestmark = pytest.mark.timeout(300)


def cams(folder: Path) -> Path:
    clip = draw_clip(folder / "a.mp4", seconds=2)
    cameras: dict[str, str | Path] = dict.fromkeys(("a", "b"), f"{clip}, loop: true, max_fps: 3")
    return write_cams(folder, cameras, more="workers: 2\nobserve: {port: null}")


def workers(daemon: Running) -> list[int]:
    """All processes of the daemon but the embedded Redis, which it ends itself."""
    return [pid for pid in family(daemon.process.pid)[1:] if "redis" not in _command(pid)]


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


def test_a_stop_of_the_whole_group_is_no_crash_of_a_worker(models: Path, tmp_path: Path) -> None:
    with running("--cameras", cams(tmp_path), "--plain", models=models, home=tmp_path) as daemon:
        daemon.until(lambda: daemon.err.count("camera_up") == 2, timeout_s=200)
        for pid in workers(daemon):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        ended = daemon.terminate(timeout_s=60)
    assert ended.code == 0
    assert ended.is_plain
    assert "worker_lost" not in ended.err
    assert "event=daemon_stopped" in ended.err


def test_nothing_is_left_of_a_daemon_that_is_killed(models: Path, tmp_path: Path) -> None:
    with running("--cameras", cams(tmp_path), "--plain", models=models, home=tmp_path) as daemon:
        daemon.until(lambda: daemon.err.count("camera_up") == 2, timeout_s=200)
        left = {pid: _command(pid) for pid in workers(daemon)}
        assert len(left) >= 4
        os.kill(daemon.process.pid, signal.SIGKILL)
        daemon.process.wait(10)
    end = time.monotonic() + 60
    while any(command and _command(pid) == command for pid, command in left.items()):
        assert time.monotonic() < end, left
        time.sleep(0.05)
