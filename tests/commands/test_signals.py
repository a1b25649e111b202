"""A closed terminal ends the daemon in order; SIGHUP otherwise makes it read cams.yaml again."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import redis

from benchmarks.faults.unguarded_redis import UnguardedRedis
from benchmarks.rtsp.clips import draw_clip
from tests.commands.pty import Terminal
from tests.integration.program import environment, running, write_cams

pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]


def endings(client: Any) -> tuple[list[str], dict[str, Any]]:
    """Return the types of the last events, and the data of the last one."""
    events = [json.loads(fields[b"event"]) for _, fields in client.xrange("reid:lab:events")]
    return [event["type"].removeprefix("io.reid-stream.") for event in events], events[-1]["data"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.integration.program import tiny_models

    return tiny_models(tmp_path_factory.mktemp("models"))


def test_a_closed_terminal_ends_the_daemon_in_order(models: Path, tmp_path: Path) -> None:
    clip = draw_clip(tmp_path / "a.mp4", seconds=3)
    with UnguardedRedis(tmp_path / "server") as server:
        client: Any = redis.Redis.from_url(server.url)
        cams = write_cams(tmp_path, {"a": f"{clip}, loop: true"}, redis=server.url)

        def is_seen() -> bool:
            return bool(client.keys("reid:lab:present:*"))

        terminal = Terminal("--cameras", cams, environ=environment(models, tmp_path))
        try:
            terminal.read(120, until=lambda _shown: is_seen())
            # While the terminal is there, the signal is a request to read the file again.
            terminal.process.send_signal(signal.SIGHUP)
            terminal.read(60, until=lambda shown: b"settings_applied" in shown)
            terminal.close()
            assert terminal.process.wait(60) == 0
        finally:
            terminal.kill()
        types, last = endings(client)
        assert types.count("daemon.stopped.v1") == 1
        assert last["reason"] == "stopped"
        assert types.count("identity.left.v1") == types.count("identity.entered.v1") > 0
        assert not is_seen()
        client.close()


def test_sighup_reads_cams_yaml_again_and_the_daemon_goes_on(models: Path, tmp_path: Path) -> None:
    clip = draw_clip(tmp_path / "a.mp4", seconds=3)
    cams = write_cams(tmp_path, {"a": f"{clip}, loop: true"})
    with running("--cameras", cams, "--plain", models=models, home=tmp_path) as daemon:
        daemon.until(lambda: "camera a up" in daemon.out)
        write_cams(tmp_path, {"a": f"{clip}, loop: true", "b": f"{clip}, loop: true"})
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until(lambda: "camera b up" in daemon.out)
        daemon.until(lambda: "settings_applied" in daemon.err)
        daemon.until(lambda: "entered b" in daemon.out)
        ended = daemon.terminate(60)
    assert (ended.code, ended.is_plain) == (0, True)


def test_sighup_ends_a_daemon_that_has_no_file_to_read_again(models: Path, tmp_path: Path) -> None:
    with running("--cameras", "rtsp://127.0.0.1:9/x", "--plain", models=models, home=tmp_path) as daemon:
        daemon.until(lambda: "camera_down" in daemon.err)
        daemon.process.send_signal(signal.SIGHUP)
        ended = daemon.wait(60)
    assert (ended.code, ended.is_plain) == (0, True)


def test_under_nohup_the_daemon_stays(models: Path, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        clip = draw_clip(tmp_path / "a.mp4", seconds=3)
        cams = write_cams(tmp_path, {"a": f"{clip}, loop: true"})
        with running("--cameras", cams, "--plain", models=models, home=tmp_path) as daemon:
            daemon.until(lambda: "camera a up" in daemon.out)
            daemon.process.send_signal(signal.SIGHUP)
            daemon.until(lambda: "entered a" in daemon.out)
            ended = daemon.terminate(60)
        assert ended.code == 0
    finally:
        signal.signal(signal.SIGHUP, before)
