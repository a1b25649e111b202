"""The lease of a site: who holds it, who may take it, and what happens to a daemon that lost it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from typing import Any

import msgspec
import pytest
import redis
from structlog.testing import capture_logs

from benchmarks.faults.unguarded_redis import UnguardedRedis
from benchmarks.ports import free_port
from reid_stream.config.settings import Redis
from reid_stream.errors import BrokerError, InUseError
from reid_stream.journal.lease import Lease, LeaseLostError, Owner
from reid_stream.publish.embedded_redis import EmbeddedRedis
from reid_stream.publish.redis_client import connect
from reid_stream.publish.redis_sink import RedisSink
from reid_stream.publish.spool import Spool
from reid_stream.publish.spool_row import Row
from reid_stream.publish.stream_ids import Position
from tests.publish.servers import clock_of, needs_compiler, serving
from tests.publish.shop import visit

KEY = "reid:shop:state:lease"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def raw(server: EmbeddedRedis) -> Iterator[Any]:
    client = redis.Redis.from_url(server.url)
    yield client
    client.close()


def lease(server: EmbeddedRedis, lasts_s: float = 1.0) -> Lease:
    return Lease(connect(Redis(), url=server.url), KEY, lasts_s=lasts_s, where=server.url)


def owner(**more: Any) -> bytes:
    known = {"token": "t", "host": "elsewhere", "boot": "another machine", "pid": 7, "born": "1"}
    return msgspec.json.encode(Owner(**{**known, **more}))


def test_only_the_owner_holds_it(server: EmbeddedRedis, raw: Any) -> None:
    one, other = lease(server, 0.5), lease(server, 0.5)
    one.take()
    with pytest.raises(InUseError, match="one daemon at a time: process"):
        other.take()
    assert raw.exists(KEY)
    other.give_back()
    assert raw.exists(KEY), "who never had it cannot take it away"
    one.give_back()
    assert not raw.exists(KEY)


def test_that_of_a_process_that_is_no_more_is_taken_at_once(server: EmbeddedRedis, raw: Any) -> None:
    code = (
        "import sys, os; from reid_stream.journal.lease import *; from reid_stream.config.settings import Redis\n"
        f"from reid_stream.publish.redis_client import connect; url = {server.url!r}\n"
        f"Lease(connect(Redis(), url=url), {KEY!r}, lasts_s=1000, where=url).take(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert raw.pttl(KEY) > 900_000
    one = lease(server)
    began = time.monotonic()
    one.take()
    assert time.monotonic() - began < 60  # and not 1000
    one.give_back()


def test_that_of_another_machine_is_waited_for(server: EmbeddedRedis, raw: Any) -> None:
    raw.set(KEY, owner(), px=300)
    one = lease(server)
    one.take()
    one.check()
    one.give_back()


def test_an_owner_that_lost_it_gets_an_error_and_sends_nothing_more(
    server: EmbeddedRedis, raw: Any, tmp_path: Path
) -> None:
    one = lease(server)
    one.take()
    sink = RedisSink(
        connect(Redis(), url=server.url), where=server.url, site="shop", run="r", spool=Spool(tmp_path), fence=one
    )
    sink.publish(visit(1))
    assert sink.flush(10)
    raw.set(KEY, owner())
    sink.publish(visit(2))
    assert not sink.flush(0.5)
    assert raw.xlen("reid:shop:events") == 3
    with pytest.raises(LeaseLostError, match="process 7 on elsewhere"):
        one.check()
    sink.close(0.1)
    one.give_back()
    assert raw.get(KEY) == owner()


def test_an_expired_lease_that_no_other_took_is_renewed(server: EmbeddedRedis, raw: Any, tmp_path: Path) -> None:
    one = lease(server)
    one.take()
    sink = RedisSink(
        connect(Redis(), url=server.url), where=server.url, site="shop", run="r", spool=Spool(tmp_path), fence=one
    )
    raw.delete(KEY)
    sink.publish(visit(1))
    assert sink.flush(20)
    one.check()
    sink.close(1)
    one.give_back()


def test_a_renewal_amid_a_transaction_costs_nothing(server: EmbeddedRedis, raw: Any, tmp_path: Path) -> None:
    one = lease(server)
    one.take()

    class Renewed:
        key = KEY
        epoch = one.epoch
        begin = one.begin

        def holds(self, value: bytes | None) -> None:
            one.holds(value)
            if not looks:
                raw.pexpire(KEY, 10_000)  # ends the transaction, as Redis counts that as a change
            looks.append(value)

    looks: list[bytes | None] = []
    sink = RedisSink(
        connect(Redis(), url=server.url), where=server.url, site="shop", run="r", spool=Spool(tmp_path), fence=Renewed()
    )
    sink.publish(visit(1))
    assert sink.flush(10)
    assert len(looks) > 1
    assert not sink.counters.faults
    assert raw.xlen("reid:shop:events") == 3
    sink.close(1)
    one.give_back()


def test_without_redis_there_is_none(server: EmbeddedRedis) -> None:
    one = lease(server)
    server.stop()
    with pytest.raises(BrokerError):
        one.take()


def test_a_daemon_that_was_killed_before_its_spool_knew_the_lease_makes_nothing_stale(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    first = lease(server)
    first.take()
    spool = Spool(tmp_path / "spool")
    spool.begin_epoch(first.epoch)
    first.begin()
    spool.append([Row(Position(1, 0), 3, "a", b"x")])
    first.give_back()
    killed = lease(server)
    killed.take()  # and killed before it opened the spool
    killed.give_back()
    third = lease(server)
    third.take()
    spool.begin_epoch(third.epoch)
    assert spool.waiting() == 1
    assert not spool.take_lost()
    third.begin()
    third.give_back()
    spool.close()


FORGED: dict[str, Any] = {
    "garbage without expiry": lambda raw: raw.set(KEY, "garbage"),
    "garbage with a long expiry": lambda raw: raw.set(KEY, b"\xff", ex=10**6),
    "lists in lists": lambda raw: raw.set(KEY, b'{"new":' + b"[" * 5000),
    "a list": lambda raw: raw.rpush(KEY, "x"),
    "an owner without expiry": lambda raw: raw.set(KEY, owner()),
    "an owner with a long expiry": lambda raw: raw.set(KEY, owner(lasts_ms=400), ex=10**6),
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_lease_is_replaced_after_the_duration_of_a_lease(server: EmbeddedRedis, raw: Any, how: str) -> None:
    FORGED[how](raw)
    one = lease(server, 0.5)
    with capture_logs() as logs:
        began = time.monotonic()
        one.take()
        assert time.monotonic() - began >= 0.5
    assert [line["event"] for line in logs if line["event"] == "lease_forged"] == ["lease_forged"]
    one.begin()
    assert 0 < raw.pttl(KEY) <= 500
    one.give_back()


@pytest.mark.parametrize("how", list(FORGED)[:4])
def test_a_daemon_whose_lease_is_overwritten_goes_on(server: EmbeddedRedis, raw: Any, tmp_path: Path, how: str) -> None:
    one = lease(server, 0.5)
    one.take()
    url = server.url
    spool = Spool(tmp_path / "spool")
    sink = RedisSink(connect(Redis(), url=url), where=url, site="shop", run="run", spool=spool, fence=one)
    raw.delete(KEY)
    FORGED[how](raw)
    sink.publish(visit(1))
    assert sink.close(10)
    assert raw.xlen("reid:shop:events") == 3
    one.check()
    one.give_back()


def test_a_daemon_on_standby_takes_over_when_the_lease_is_released_or_expires(server: EmbeddedRedis, raw: Any) -> None:
    one, other = lease(server, 0.5), lease(server, 0.5)
    one.take()
    holders: list[str] = []
    waiting = Thread(target=lambda: other.stand_by(lambda: False, holders.append))
    waiting.start()
    time.sleep(1.0)  # two durations of a lease that is renewed
    assert waiting.is_alive()
    assert holders == [f"process {os.getpid()} on {os.uname().nodename}"]
    one.give_back()
    waiting.join(5)
    assert msgspec.json.decode(raw.get(KEY), type=Owner).token == other.epoch.token
    other.give_back()
    raw.set(KEY, owner(), px=300)  # of a daemon on another machine that died
    third = lease(server, 0.5)
    began = time.monotonic()
    assert third.stand_by(lambda: False, holders.append)
    assert 0.2 < time.monotonic() - began < 3
    assert holders[-1] == "process 7 on elsewhere"
    third.give_back()


def test_a_daemon_on_standby_can_be_stopped(server: EmbeddedRedis) -> None:
    one, other = lease(server), lease(server)
    one.take()
    looks = iter([False, False, True])
    assert not other.stand_by(lambda: next(looks), lambda _: None)
    other.give_back()
    one.give_back()


@pytest.mark.slow
def test_where_redis_was_away_the_daemon_that_had_the_lease_gets_it_again(tmp_path: Path) -> None:
    server = UnguardedRedis(tmp_path / "redis")
    one = Lease(connect(Redis(), url=server.url), KEY, lasts_s=1.5, where=server.url)
    other = Lease(connect(Redis(), url=server.url), KEY, lasts_s=1.5, where=server.url)
    one.take()
    holders: list[str] = []
    over = Event()
    waiting = Thread(target=lambda: other.stand_by(over.is_set, holders.append))
    waiting.start()
    time.sleep(0.5)
    server.stop()
    time.sleep(2.0)  # longer than the lease
    server = UnguardedRedis(tmp_path / "again", server.port)  # empty: no lease
    client: Any = redis.Redis.from_url(server.url)
    end = time.monotonic() + 10
    while (found := client.get(KEY)) is None and time.monotonic() < end:
        time.sleep(0.02)
    assert msgspec.json.decode(found or b"", type=Owner).token == one.epoch.token
    assert waiting.is_alive()
    assert one.lost is None
    over.set()
    waiting.join(5)
    for each in (one, other):
        each.give_back()
    client.close()
    server.stop()


@pytest.mark.slow
@needs_compiler
def test_the_clock_of_redis_neither_takes_the_site_from_a_daemon_nor_keeps_it_for_a_dead_one(tmp_path: Path) -> None:
    environment, step = clock_of(tmp_path)
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with serving(tmp_path / "redis", port, "--port", str(port), environment=environment), ExitStack() as ending:
        client: Any = redis.Redis.from_url(url)
        one, other, third = (Lease(connect(Redis(), url=url), KEY, lasts_s=1.0, where=url) for _ in range(3))
        one.take()
        over = Event()
        waiting = Thread(target=lambda: other.stand_by(over.is_set, lambda _: None))
        waiting.start()
        ending.callback(waiting.join)
        ending.callback(over.set)
        time.sleep(0.5)
        step.write_text("3600")
        time.sleep(1.0)
        assert one.lost is None
        assert waiting.is_alive()
        assert msgspec.json.decode(client.get(KEY), type=Owner).token == one.epoch.token
        over.set()
        waiting.join()
        one.give_back()

        client.set(KEY, owner(lasts_ms=1000), px=1000)  # of a daemon on another machine that died
        step.write_text("0")
        began = time.monotonic()
        assert third.stand_by(lambda: time.monotonic() - began > 10, lambda _: None)
        assert time.monotonic() - began < 5  # and not an hour
        for each in (other, third):
            each.give_back()
        client.close()
