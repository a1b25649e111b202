"""Camera processes get no secret of the environment, no module of the working folder, and bounded memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.rtsp.clips import draw_clip
from reid_stream.config.environment import child_environment
from reid_stream.ingest.camera_process_main import MEMORY_BYTES, OOM_SCORE

pytestmark = pytest.mark.timeout(120)
DAEMON = """
import sys, time
from reid_stream.config.settings import Camera, Ingest
from reid_stream.ingest.camera_process import CameraProcess
from reid_stream.ingest.inbox import Inbox

if __name__ == "__main__":
    camera = CameraProcess(
        Camera.model_validate({"id": "a", "url": sys.argv[1], "loop": True}), Ingest(), Inbox(), lambda _: None
    )
    camera.start()
    while camera.stats.state != "up":
        time.sleep(0.01)
    print(camera.process.pid, flush=True)
    sys.stdin.readline()
"""


def test_variables_that_may_be_secrets_are_left_out() -> None:
    environ = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "OMP_NUM_THREADS": "1",
        "DOOR": "hunter2",
        "REID_STREAM_DOOR_PASSWORD": "hunter2",
        "PYTHONX": "redis://:hunter2@host",
    }
    assert child_environment(environ) == {"PATH": "/bin", "LC_ALL": "C", "OMP_NUM_THREADS": "1"}


def test_a_cameras_process_is_confined(tmp_path: Path) -> None:
    clip = draw_clip(tmp_path / "a.mp4", seconds=1)
    program = tmp_path / "bin" / "daemon.py"
    program.parent.mkdir()
    program.write_text(DAEMON)
    work = tmp_path / "work"
    work.mkdir()
    for name in ("secrets", "av", "signal"):
        (work / f"{name}.py").write_text(
            f"open({str(tmp_path / 'imported')!r}, 'a').write('{name} ')\nraise ImportError"
        )
    environ = {**os.environ, "DOOR_PASSWORD": "hunter2-secret", "UNKNOWN": "hunter3-secret"}
    daemon = subprocess.Popen(
        [sys.executable, str(program), str(clip)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=work,
        env=environ,
    )
    assert daemon.stdout is not None
    try:
        process = Path("/proc") / daemon.stdout.readline().strip()
        assert int((process / "oom_score_adj").read_text()) == OOM_SCORE
        limits = (process / "limits").read_text()
        (line,) = (line for line in limits.splitlines() if line.startswith("Max address space"))
        assert MEMORY_BYTES < int(line.split()[3]) < MEMORY_BYTES + (4 << 30)
        parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
        for child in (process, Path("/proc") / str(parent)):
            seen = (child / "environ").read_bytes()
            assert b"hunter" not in seen
        assert not (tmp_path / "imported").exists()
    finally:
        daemon.communicate("\n", timeout=30)
