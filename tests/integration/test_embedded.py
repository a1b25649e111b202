"""The daemon with the embedded Redis: found by the commands, private, and with the same IDs after a restart."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from benchmarks.ports import free_port
from benchmarks.rtsp.clips import draw_clip
from tests.integration.program import Running, call, running, tiny_models, write_cams

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
MORE = (
    "observe: {port: null}\nspool: {directory: spool}\nstore: {folder: store}\n"
    "match: {similarity: 0.5}\nstate: {snapshot_s: 0.5, lease_s: 3}"
)


@pytest.mark.parametrize("by_port", [False, True])
def test_commands_find_it_and_the_id_outlives_a_kill(tmp_path: Path, by_port: bool) -> None:
    models = tiny_models(tmp_path / "models")
    clip = draw_clip(tmp_path / "a.mp4", seconds=5)
    cams = write_cams(tmp_path, {"a": f"{clip}, loop: true"}, more=MORE)
    if by_port:
        cams.write_text(cams.read_text().replace("url: 'embedded'", f"url: embedded, port: {free_port()}"))

    def reads(command: str, *rest: str) -> str:
        ended = call(*command.split(), "--cameras", cams, *rest, models=models, home=tmp_path)
        assert ended.code == 0, ended.err
        return ended.out

    def times_entered() -> int:
        return reads("events", "--json", "--type", "identity.entered").count('"subject":"lab-1"')

    for life in range(2):
        with running("--cameras", cams, "--plain", models=models, home=tmp_path) as daemon:
            daemon.until(lambda: "entered a" in daemon.out, 60)
            # The terminal shows an event before Redis has it.
            daemon.until(lambda: times_entered() > life, 30)  # noqa: B023
            assert "lab-1" in reads("identity list")
            assert_private(daemon, tmp_path / "redis", by_port)
            if life == 0:
                daemon.process.send_signal(signal.SIGKILL)
                daemon.process.wait()
            else:
                assert "identities_restored" in daemon.err
                lines = reads("events", "--json", "--type", "identity")
                assert daemon.terminate(timeout_s=60).code == 0
    kept = [path for name in ("store", "spool") for path in (tmp_path / name, *(tmp_path / name).rglob("*"))]
    assert any(path.suffix == ".jpg" for path in kept)
    assert [path for path in kept if path.stat().st_mode & 0o077] == []
    assert '"person":"lab-1"' in lines
    assert '"person":"lab-2"' not in lines
    away = call("events", "--cameras", cams, models=models, home=tmp_path)
    assert away.code == 4, away.err
    assert "start the daemon" in away.err
    assert away.is_plain


def assert_private(daemon: Running, folder: Path, by_port: bool) -> None:
    """The log shows server and address, never the password; another user has no access."""
    assert "embedded_redis_started" in daemon.err
    assert "redis-server " in daemon.err
    if by_port:
        assert str(folder / "redis.password") in daemon.err
        assert (folder / "redis.password").read_text().strip() not in daemon.err + daemon.out
    else:
        assert f"unix://{folder}/redis.sock" in daemon.err
    if os.geteuid() == 0 and shutil.which("setpriv") is not None:
        other_user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        look = subprocess.run([*other_user, "ls", str(folder)], capture_output=True, check=False)
        assert look.returncode != 0
