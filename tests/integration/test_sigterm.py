"""SIGTERM ends the daemon in order whatever its cameras are doing."""

import signal
import time
from pathlib import Path

import pytest

from benchmarks.faults.cameras_sick import listening
from benchmarks.rtsp.clips import draw_clip
from tests.integration.program import running, write_cams

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("isolate", ["true", "false"])
def test_a_stop_while_cameras_are_being_opened_takes_a_moment(isolate: str, models: Path, tmp_path: Path) -> None:
    with listening(b"") as mute:
        cams = write_cams(
            tmp_path,
            {"mute": f"rtsp://127.0.0.1:{mute}/x", "nameless": "rtsp://host.invalid/x", "dead": "rtsp://127.0.0.1:1/x"},
            more=f"ingest: {{open_timeout_s: 60, isolate: {isolate}}}\nobserve: {{port: null}}",
        )
        with running("--cameras", cams, "--plain", models=models, home=tmp_path) as daemon:
            daemon.until(
                lambda: "dead" in daemon.out + daemon.err and "refused" in daemon.out + daemon.err, timeout_s=200
            )
            began = time.monotonic()
            ended = daemon.terminate(timeout_s=40)
    assert ended.code == 0
    assert ended.is_plain
    # Far from the camera's time-out of 60 s, on a busy machine, too.
    assert time.monotonic() - began < 20


def test_a_stop_of_the_whole_group_is_no_crash_of_a_camera(models: Path, tmp_path: Path) -> None:
    clip = draw_clip(tmp_path / "a.mp4", seconds=2)
    cams = write_cams(tmp_path, {"a": f"{clip}, loop: true"})
    with running("--cameras", cams, "--plain", models=models, home=tmp_path) as daemon:
        daemon.until(lambda: "camera_up" in daemon.err, timeout_s=200)
        # As a service manager does: the daemon and all its processes at once.
        for pid in _descendants(daemon.process.pid):
            _signal(pid)
        ended = daemon.terminate(timeout_s=40)
    assert ended.code == 0
    assert ended.is_plain
    assert "crashed" not in ended.err + ended.out


def _descendants(pid: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    # The embedded Redis is told to end by the daemon.
    return [one for one in family - {pid} if b"redis" not in Path(f"/proc/{one}/cmdline").read_bytes()]


def _signal(pid: int) -> None:
    import os

    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
