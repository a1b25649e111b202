"""Processes that the daemon starts inherit no secret, and temporary folders of one that was killed are deleted."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from benchmarks.rtsp.clips import draw_clip
from reid_stream.commands.web_process import WebProcess
from reid_stream.config.settings import Web
from reid_stream.engines.build import run_builder
from reid_stream.engines.build_worker import BuildJob
from reid_stream.errors import ModelError
from reid_stream.ingest.scratch_folder import PREFIX
from reid_stream.publish.redis_server import newest_binary
from tests.engines.test_plan_cache import KEY
from tests.integration.program import running, write_cams
from tests.integration.test_secrets import family

pytestmark = pytest.mark.timeout(240)
SECRET = "hunter2-secret"


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_PASSWORD", SECRET)
    monkeypatch.setenv("UNKNOWN", SECRET)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@proxy:1")


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Give a folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_bytes().decode()


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_no_child_of_the_daemon_inherits_a_secret_and_its_folder_is_swept_after_a_kill(
    tmp_path: Path, models: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(temporary))
    clip = draw_clip(tmp_path / "a.mp4", seconds=2)
    cams = write_cams(
        tmp_path, {"a": f"{clip}, loop: true", "b": f"{clip}, loop: true"}, more="observe: {port: null}\nworkers: 2"
    )

    def scratch() -> set[Path]:
        return set(temporary.glob("*"))

    with running("--cameras", cams, "--plain", models=models, home=tmp_path) as daemon:
        daemon.until(lambda: daemon.err.count("camera_up") >= 2, timeout_s=150)
        children = family(daemon.process.pid)[1:]
        names = [name_of(pid) for pid in children]
        for kind in ("redis-server", "worker 1", "worker 2", "forkserver"):
            assert any(kind in name for name in names), names
        assert len(children) >= 7  # also a camera's process for each worker
        assert [name for pid, name in zip(children, names, strict=True) if SECRET in environment_of(pid)] == []
        assert SECRET in environment_of(daemon.process.pid)
        (killed,) = scratch()
        assert killed.name.startswith(PREFIX)
        assert killed.stat().st_mode & 0o777 == 0o700
        daemon.process.kill()
        daemon.process.wait()
    assert scratch() == {killed}
    with running("--cameras", cams, "--plain", models=models, home=tmp_path) as daemon:
        daemon.until(lambda: daemon.err.count("camera_up") >= 2, timeout_s=150)
        (living,) = scratch()
        assert living != killed
        # Another process of ours leaves the folder of one that lives.
        os.spawnv(
            os.P_WAIT,
            sys.executable,
            [sys.executable, "-c", "from reid_stream.ingest.scratch_folder import *; scratch_folder()"],
        )
        assert scratch() == {living}
        assert daemon.terminate(timeout_s=60).code == 0
    assert scratch() == set()


def test_what_builds_an_engine_inherits_no_secret(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    spy = f"open({str(seen)!r}, 'wb').write(open('/proc/self/environ', 'rb').read())"
    with pytest.raises(ModelError):
        run_builder(
            BuildJob(key=KEY, model="m.onnx", timing_cache=""), lambda _: None, command=(sys.executable, "-c", spy)
        )
    assert b"PATH=" in seen.read_bytes()
    assert SECRET.encode() not in seen.read_bytes()


def test_a_redis_server_that_is_asked_for_its_version_sees_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tmp_path / "bin" / "redis-server"
    server.parent.mkdir()
    server.write_text(f"#!/bin/sh\nenv > {tmp_path}/seen\necho Redis server v=99.0.0\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", f"{server.parent}:{os.environ['PATH']}")
    assert newest_binary().path == str(server)
    assert SECRET not in (tmp_path / "seen").read_text()


def test_the_web_console_inherits_the_secrets_that_cams_yaml_names_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_WORD", "needed-by-the-console")
    cams = tmp_path / "cams.yaml"
    cams.write_text("site: lab\nredis: {url: 'redis://127.0.0.1:1', password: '${REDIS_WORD}'}\ncameras: []\n")
    console = WebProcess(cams, Web())
    with console:
        while console._process is None:
            threading.Event().wait(0.01)
        while not (seen := environment_of(console._process.pid)):  # empty until the program has begun
            threading.Event().wait(0.01)
    assert "REDIS_WORD=needed-by-the-console" in seen
    assert SECRET not in seen


def test_a_console_that_cannot_be_started_now_is_started_later(tmp_path: Path) -> None:
    console = WebProcess(tmp_path / "none.yaml", Web())
    program = tmp_path / "python"
    console._command = [str(program)]
    with capture_logs() as logs, console:
        while not logs:
            threading.Event().wait(0.01)
        program.symlink_to("/bin/true")
        while console._process is None:
            threading.Event().wait(0.01)
    assert logs[0]["event"] == "web_start_failed"


CHILDREN = """
import os, sys, threading
from pathlib import Path
from reid_stream.bundles import trial
from reid_stream.commands.web_process import WebProcess
from reid_stream.config.home import ensure_safe_imports
from reid_stream.config.settings import Web

if __name__ == "__main__":
    os.environ["PYTHONPATH"] += os.pathsep  # an empty part names the working folder
    ensure_safe_imports()
    assert trial.run(os.getpid, what="a network") != os.getpid()
    with WebProcess(Path("none.yaml"), Web()) as console:
        console._thread.join(60)  # until the console has refused its cams.yaml
"""


@pytest.mark.slow
def test_no_child_imports_modules_of_the_working_folder(tmp_path: Path) -> None:
    work, imported = tmp_path / "work", tmp_path / "imported"
    work.mkdir()
    for name in ("secrets", "signal", "socket", "multiprocessing", "numpy", "reid_stream", "sitecustomize"):
        (work / f"{name}.py").write_text(f"open({str(imported)!r}, 'a').write('{name} ')\nraise ImportError")
    program = tmp_path / "program.py"
    program.write_text(CHILDREN)
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "web_not_started" in done.stdout + done.stderr
    assert not imported.exists(), imported.read_text()
