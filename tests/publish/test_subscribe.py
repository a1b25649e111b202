"""The typed client and `reid-stream events`, on a real Redis."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
import typer
from typer.testing import CliRunner

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream import subscribe
from reid_stream.commands.events import events as events_command
from reid_stream.config.settings import Redis
from reid_stream.errors import BrokerError, ConfigError
from reid_stream.events import IdentityEntered
from reid_stream.publish.cloudevents import encode
from reid_stream.publish.embedded_redis import EmbeddedRedis, default_directory
from reid_stream.publish.redis_client import connect
from reid_stream.publish.redis_sink import RedisSink
from reid_stream.publish.spool import Spool
from tests.publish.shop import entered, visit


@pytest.fixture
def sink(server: UnguardedRedis, tmp_path: Path) -> Iterator[RedisSink]:
    client = connect(Redis(), url=server.url)
    running = RedisSink(client, where=server.url, site="shop", run="run", spool=Spool(tmp_path / "spool"))
    yield running
    running.close(5)


def test_events_come_typed_and_a_position_resumes(server: UnguardedRedis, sink: RedisSink) -> None:
    sink.publish(visit(1) + visit(2))
    assert sink.flush(5)
    first = list(subscribe(server.url, site="shop", start="0", block_s=0))
    assert [event.data for event in first] == visit(1) + visit(2)
    assert first[0].id == "run-0"
    assert first[0].type == "io.reid-stream.identity.entered.v1"
    rest = list(subscribe(server.url, site="shop", start=first[2].position, block_s=0))
    assert rest == first[3:]


def test_the_embedded_redis_of_a_site_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    with pytest.raises(BrokerError, match="start the daemon"):
        subscribe("embedded", site="shop")
    with EmbeddedRedis(default_directory("shop")) as server:
        running = RedisSink(
            connect(Redis(), url=server.url), where="here", site="shop", run="run", spool=Spool(tmp_path / "spool")
        )
        running.publish(visit(1))
        assert running.close(5)
        assert [event.data for event in subscribe("embedded", site="shop", start="0", block_s=0)] == visit(1)


def test_dollar_means_from_the_call_on(server: UnguardedRedis, sink: RedisSink) -> None:
    sink.publish(visit(1))
    assert sink.flush(5)
    subscription = subscribe(server.url, site="shop", block_s=5)
    sink.publish(visit(2))
    assert next(subscription).data == visit(2)[0]


def test_types_cameras_and_times_choose(server: UnguardedRedis, sink: RedisSink) -> None:
    sink.publish([*visit(1), entered("shop-2", camera="till")])
    assert sink.flush(5)

    def count(**options: Any) -> int:
        return len(list(subscribe(server.url, site="shop", block_s=0, **{"start": "0"} | options)))

    assert count(types=["identity.entered"]) == 2
    assert count(types=["identity"]) == 4
    assert count(types=["io.reid-stream.identity.left.v1"]) == 1
    assert count(cameras=["till"]) == 1
    assert count(start="2020-01-01") == 4
    assert count(start=datetime(2199, 1, 1, tzinfo=UTC)) == 0
    with pytest.raises(ConfigError, match="identity.entered"):
        count(types=["nonsense"])
    with pytest.raises(ConfigError, match="ISO"):
        count(start="yesterday")


def test_a_subscriber_outlives_a_kill_9_of_redis(tmp_path: Path) -> None:
    first = EmbeddedRedis(tmp_path / "redis")
    client = connect(Redis(), url=first.url)
    sink = RedisSink(client, where=first.url, site="shop", run="run", spool=Spool(tmp_path / "spool"))
    subscription = subscribe(first.url, site="shop", block_s=15)
    got: list[int] = []

    def read() -> None:
        for event in subscription:
            got.append(event.sequence)
            if len(got) == 60:
                return

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(10):
        sink.publish(visit(number))
    assert sink.flush(5)
    os.kill(first.pid, signal.SIGKILL)
    first.stop()
    for number in range(10):
        sink.publish(visit(number))
    with EmbeddedRedis(tmp_path / "redis", port=first.port):
        reader.join(20)
        assert got == list(range(60))
        assert subscription.missed == 0
        assert sink.close(5)


def test_entries_that_are_no_events_are_skipped_and_counted(server: UnguardedRedis, sink: RedisSink) -> None:
    client = redis.Redis.from_url(server.url)
    for body in (
        b"{",
        b"[" * 100_000,
        encode(visit(1)[0], site="shop", run="r", sequence=0).replace(b"{", b'{"\xff":1,', 1),
    ):
        client.xadd("reid:shop:events", {"event": body})
    sink.publish(visit(1))
    assert sink.flush(5)
    subscription = subscribe(server.url, site="shop", start="0", block_s=0)
    assert len(list(subscription)) == 3
    assert subscription.malformed == 3


def test_a_subscriber_without_redis_gets_an_error_with_the_address() -> None:
    with pytest.raises(BrokerError, match="127.0.0.1:1"):
        subscribe("redis://:sesame@127.0.0.1:1")


def test_the_command_writes_json_lines_in_a_pipe(server: UnguardedRedis, sink: RedisSink) -> None:
    sink.publish(visit(1) + visit(2))
    assert sink.flush(5)
    app = typer.Typer()
    app.command()(events_command)
    result = CliRunner().invoke(
        app, ["--url", server.url, "--site", "shop", "--type", "identity.entered", "--count", "1"]
    )
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    assert json.loads(line)["data"]["person"] == "shop-1"
    assert isinstance(visit(1)[0], IdentityEntered)


def test_the_command_finds_redis_by_cams_yaml_so_that_no_password_is_typed(
    server: UnguardedRedis, sink: RedisSink, tmp_path: Path
) -> None:
    sink.publish(visit(1))
    assert sink.flush(5)
    admin: Any = redis.Redis.from_url(server.url)
    admin.execute_command("ACL", "SETUSER", "reader", "on", ">geheim", "~*", "&*", "+@all")
    cams = tmp_path / "cams.yaml"
    login = f"url: '{server.url}', username: reader, password: geheim"
    cams.write_text(f"site: shop\nredis: {{{login}}}\ncameras: [{{id: a, url: 'rtsp://h/s'}}]\n")
    app = typer.Typer()
    app.command()(events_command)
    result = CliRunner().invoke(app, ["--cameras", str(cams)])
    assert len(result.stdout.splitlines()) == 3
