"""An embedded Redis that ends or hangs is restarted, on the same data at the same address."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from benchmarks.ports import free_port
from reid_stream.config.settings import Redis
from reid_stream.publish.embedded_redis import EmbeddedRedis, running_url
from reid_stream.publish.redis_client import connect
from reid_stream.publish.redis_server import newest_binary
from reid_stream.publish.redis_sink import RedisSink
from reid_stream.publish.spool import Spool
from tests.publish.shop import visit


def until(condition: Callable[[], Any], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def sequences(url: str) -> list[int]:
    with connect(Redis(), url=url) as client:
        entries: Any = client.xrange("reid:shop:events")
        return [int(fields[b"event"].partition(b'"sequence":"')[2][:12]) for _, fields in entries]


@pytest.mark.slow
@pytest.mark.parametrize("by_port", [False, True])
def test_a_killed_server_is_back_with_its_data_and_the_events_that_waited(tmp_path: Path, by_port: bool) -> None:
    with capture_logs() as logs, EmbeddedRedis(tmp_path / "redis", free_port() if by_port else 0) as server:
        url, first = server.url, server.pid
        client = connect(Redis(), url=url, timeout_s=1.0)
        sink = RedisSink(client, where=url, site="shop", run="run", spool=Spool(tmp_path / "spool"))
        sink.server_fault = lambda: server.fault
        sink.publish(visit(0))
        assert sink.flush(5)
        assert sink.ready() == (True, "redis")
        os.kill(first, signal.SIGKILL)
        until(lambda: server.fault is not None)
        assert sink.ready() == (False, "the embedded Redis killed by SIGKILL")
        sink.publish(visit(1))
        until(lambda: server.fault is None)
        assert server.pid != first
        assert (server.url, running_url(tmp_path / "redis")) == (url, url)
        assert sink.flush(10)
        assert sink.ready() == (True, "redis")
        assert sequences(url) == list(range(6))
        assert sink.close(5)
    ended = next(entry for entry in logs if entry["event"] == "embedded_redis_ended")
    assert (ended["log_level"], ended["reason"]) == ("error", "killed by SIGKILL")
    assert [entry["event"] for entry in logs].count("embedded_redis_started") == 2
    assert not Path(f"/proc/{server.pid}").exists()


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["frozen", "no socket"])
def test_a_server_that_runs_and_cannot_be_reached_is_replaced(tmp_path: Path, fault: str) -> None:
    with EmbeddedRedis(tmp_path / "redis", hung_s=1.0) as server:
        first = server.pid
        with connect(Redis(), url=server.url) as client:
            client.set("a", 1)
        if fault == "frozen":
            os.kill(first, signal.SIGSTOP)
            until(lambda: server.fault is not None and "does not answer" in server.fault)
        else:
            Path(server.url.removeprefix("unix://")).unlink()
        until(lambda: server.pid != first and server.fault is None, 20)
        with connect(Redis(), url=server.url) as client:
            assert client.get("a") == b"1"


@pytest.mark.slow
def test_a_slow_answer_is_no_reason_to_replace_a_server(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis", hung_s=3.0) as server:
        first = server.pid
        os.kill(first, signal.SIGSTOP)
        time.sleep(1.0)
        os.kill(first, signal.SIGCONT)
        until(lambda: server.fault is None)
        time.sleep(2.5)
        assert server.pid == first


@pytest.mark.slow
def test_a_server_that_cannot_start_again_is_tried_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "redis-server"
    real = newest_binary().path
    program.write_text(f'#!/bin/sh\ncase $1 in --version) echo Redis server v=99.0.0;; *) exec {real} "$@";; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with capture_logs() as logs, EmbeddedRedis(tmp_path / "redis") as server:
        assert server.binary.path == str(program)
        first = server.pid
        program.write_text("#!/bin/sh\ncase $1 in --version) echo Redis server v=99.0.0;; *) exit 3;; esac\n")
        os.kill(first, signal.SIGKILL)
        until(lambda: [entry["event"] for entry in logs].count("embedded_redis_start_failed") >= 2)
        assert server.fault is not None
        assert "does not start" in server.fault
        program.write_text(
            f'#!/bin/sh\ncase $1 in --version) echo Redis server v=99.0.0;; *) exec {real} "$@";; esac\n'
        )
        until(lambda: server.fault is None, 20)
        waits = [entry["wait_s"] for entry in logs if "wait_s" in entry]
        assert waits[0] < waits[-1]


def test_the_end_does_not_wait_for_a_server_that_does_not_start(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        (tmp_path / "redis" / "redis.version").write_text("99.0\n")
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: server.fault is not None and "99.0 or newer" in server.fault)
        began = time.monotonic()
    assert time.monotonic() - began < 1.0


def test_the_system_server_is_found_behind_that_of_an_active_virtual_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, version in (("venv", "6.2.14"), ("system", "98.0.0")):
        program = tmp_path / name / "redis-server"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho Redis server v={version}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'venv'}{os.pathsep}{tmp_path / 'system'}")
    assert newest_binary().path == str(tmp_path / "system" / "redis-server")
