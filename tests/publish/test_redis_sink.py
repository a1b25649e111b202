"""Publishing to a real Redis that is killed, stopped, full or emptied."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream import subscribe
from reid_stream.config.settings import Redis
from reid_stream.errors import BrokerError
from reid_stream.events import DaemonStarted, IdentityMerged, IdentityRetired
from reid_stream.publish.redis_client import connect
from reid_stream.publish.redis_server import newest_binary
from reid_stream.publish.redis_sink import RedisSink
from reid_stream.publish.spool import Spool
from reid_stream.records import CameraId, GlobalId
from tests.publish.proxy import Proxy
from tests.publish.shop import entered, left, seen, visit

KEY = "reid:shop:events"


def a_sink(url: str, folder: Path, timeout_s: float = 0.5, **options: Any) -> RedisSink:
    client = connect(Redis(), url=url, timeout_s=timeout_s)
    spool = options.pop("spool", None) or Spool(folder / "spool")
    return RedisSink(client, where=url, site="shop", run="run", spool=spool, **options)


def until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def sent_numbers(url: str) -> list[int]:
    """Sequence numbers on the stream, in its order; duplicates would show."""
    client: Any = redis.Redis.from_url(url)
    found = [int(fields[b"event"].partition(b'"sequence":"')[2][:12]) for _, fields in client.xrange(KEY)]
    client.close()
    return found


def test_events_reach_stream_channel_and_live_keys(server: UnguardedRedis, tmp_path: Path) -> None:
    raw: Any = redis.Redis.from_url(server.url)
    channel = raw.pubsub(ignore_subscribe_messages=True)
    channel.subscribe(KEY)
    channel.get_message(timeout=5)
    sink = a_sink(server.url, tmp_path)
    sink.publish([entered("shop-1"), entered("shop-2")])
    assert sink.flush(5)
    (_, fields), *_ = raw.xrange(KEY)
    assert fields[b"type"] == b"identity.entered.v1"
    message = None
    while message is None:
        message = channel.get_message(timeout=5)
    assert message["data"] == fields[b"event"]
    assert raw.smembers("reid:shop:present:door") == {b"shop-1", b"shop-2"}
    assert raw.hget("reid:shop:identity:shop-1", "camera") == b"door"
    sink.publish([left("shop-1")])
    assert sink.close(5)
    assert raw.smembers("reid:shop:present:door") == {b"shop-2"}
    channel.close()
    raw.close()


def test_merged_and_retired_people_leave_the_live_keys(server: UnguardedRedis, tmp_path: Path) -> None:
    raw: Any = redis.Redis.from_url(server.url, decode_responses=True)
    raw.sadd("reid:shop:present:door", "shop-99")
    sink = a_sink(server.url, tmp_path)
    sink.publish(
        [
            DaemonStarted(run="run", told_at=0, version="1", cameras=(CameraId("door"),), model="m"),
            entered("shop-1"),
            entered("shop-2"),
            IdentityMerged(
                person=GlobalId("shop-1"),
                revision=1,
                previous=GlobalId("shop-2"),
                similarity=0.7,
                probability=None,
                merged_at=3.0,
            ),
        ]
    )
    assert sink.flush(5)
    assert raw.smembers("reid:shop:present:door") == {"shop-1"}
    assert raw.hgetall("reid:shop:identity:shop-2") == {"merged_into": "shop-1"}
    assert raw.hget("reid:shop:identity:shop-1", "revision") == "1"
    sink.publish(
        [IdentityRetired(person=GlobalId("shop-1"), revision=1, reason="expired", last_seen_at=3.0, retired_at=9.0)]
    )
    assert sink.close(5)
    assert not raw.exists("reid:shop:identity:shop-1", "reid:shop:present:door")
    raw.close()


def test_a_dead_redis_at_start_is_an_error_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="127.0.0.1:1/0") as caught:
        a_sink("redis://user:sesame@127.0.0.1:1/0", tmp_path)
    assert "sesame" not in str(caught.value)


def test_a_wrong_password_is_an_error_without_the_password(server: UnguardedRedis, tmp_path: Path) -> None:
    redis.Redis.from_url(server.url).config_set("requirepass", "right")
    with pytest.raises(BrokerError, match="password") as caught:
        a_sink(server.url.replace("//", "//:sesame@"), tmp_path)
    assert "sesame" not in str(caught.value)


def test_a_password_file_lets_us_in(server: UnguardedRedis, tmp_path: Path) -> None:
    redis.Redis.from_url(server.url).config_set("requirepass", "right")
    secret = tmp_path / "secret"
    secret.write_text("right\n")
    client = connect(Redis(password_file=secret), url=server.url)
    assert client.ping()
    client.close()


def test_kill_9_of_redis_loses_and_doubles_nothing(tmp_path: Path) -> None:
    first = UnguardedRedis(tmp_path / "redis")
    sink = a_sink(first.url, tmp_path)
    for number in range(50):
        sink.publish(visit(number))
        if number == 20:
            os.kill(first.pid, signal.SIGKILL)
    until(lambda: sink.away is not None)
    assert sink.backlog > 0
    first.stop()
    with UnguardedRedis(tmp_path / "redis", port=first.port) as second:
        assert sink.flush(15)
        assert sent_numbers(second.url) == list(range(150))
        assert sink.close(5)


def test_a_redis_that_hangs_gets_every_event_once(server: UnguardedRedis, tmp_path: Path) -> None:
    sink = a_sink(server.url, tmp_path, timeout_s=0.2)
    sink.publish(visit(0))
    assert sink.flush(5)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        # Sent into the socket of a server that will read it only after we have given up and come again.
        sink.publish(visit(1))
        until(lambda: sink.counters.faults.total() >= 2)
        sink.publish(visit(2))
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert sink.flush(15)
    assert sent_numbers(server.url) == list(range(9))
    assert sink.close(5)


def test_a_lost_answer_doubles_nothing_and_the_live_keys_go_on(server: UnguardedRedis, tmp_path: Path) -> None:
    raw: Any = redis.Redis.from_url(server.url, decode_responses=True)
    proxy = Proxy(server.port)
    sink = a_sink(f"redis://127.0.0.1:{proxy.port}/0", tmp_path)
    sink.publish(visit(0))
    assert sink.flush(5)
    proxy.lose = 1
    sink.publish([entered("shop-8"), entered("shop-9")])
    assert sink.flush(15)
    assert (sink.counters.faults.total(), sink.counters.found) == (1, 2)
    one, other = GlobalId("shop-8"), GlobalId("shop-9")
    sink.publish(
        [IdentityMerged(person=one, revision=1, previous=other, similarity=0.7, probability=None, merged_at=3.0)]
    )
    assert sink.flush(5)
    assert raw.smembers("reid:shop:present:door") == {"shop-8"}
    assert sent_numbers(server.url) == list(range(6))
    assert sink.close(5)
    proxy.close()
    raw.close()


def test_a_full_redis_gets_the_events_when_it_has_room(server: UnguardedRedis, tmp_path: Path) -> None:
    raw: Any = redis.Redis.from_url(server.url)
    sink = a_sink(server.url, tmp_path)
    raw.config_set("maxmemory", 1)
    sink.publish(visit(0))
    until(lambda: sink.away is not None)
    assert sink.away == "it is out of memory (maxmemory)"
    raw.config_set("maxmemory", 0)
    assert sink.flush(15)
    assert sent_numbers(server.url) == [0, 1, 2]
    sink.close(5)
    raw.close()


def test_a_read_only_redis_gets_the_events_when_it_is_master_again(server: UnguardedRedis, tmp_path: Path) -> None:
    raw: Any = redis.Redis.from_url(server.url)
    sink = a_sink(server.url, tmp_path)
    raw.replicaof("127.0.0.1", 1)
    sink.publish(visit(0))
    until(lambda: sink.away == "it is a read-only replica")
    raw.replicaof("NO", "ONE")
    assert sink.flush(15)
    assert sent_numbers(server.url) == [0, 1, 2]
    sink.close(5)
    raw.close()


def test_a_redis_that_comes_back_without_its_last_second_gets_it_again(tmp_path: Path) -> None:
    first = UnguardedRedis(tmp_path / "redis")
    sink = a_sink(first.url, tmp_path)
    sink.publish(visit(0))
    assert sink.flush(5)
    os.kill(first.pid, signal.SIGKILL)
    first.stop()
    # A folder from Redis 7.0 on, a file before.
    (tmp_path / "redis/appendonly.aof").unlink(missing_ok=True)
    shutil.rmtree(tmp_path / "redis/appendonlydir", ignore_errors=True)
    with UnguardedRedis(tmp_path / "redis", port=first.port) as second:
        sink.publish(visit(1))
        until(lambda: sent_numbers(second.url) == list(range(6)))
        assert sink.counters.resent == 3
        assert sink.close(5)


def test_what_a_killed_daemon_had_not_sent_goes_first_in_the_next_run(tmp_path: Path) -> None:
    first = UnguardedRedis(tmp_path / "redis")
    sink = a_sink(first.url, tmp_path)
    first.stop()
    sink.publish(visit(0))
    until(lambda: sink.away is not None)
    assert not sink.close(0.1)
    until(lambda: not sink._thread.is_alive())
    with UnguardedRedis(tmp_path / "redis", port=first.port) as second:
        again = a_sink(second.url, tmp_path, first_sequence=3)
        again.publish(visit(1))
        assert again.flush(15)
        assert sent_numbers(second.url) == list(range(6))
        assert again.close(5)


def test_a_foreign_entry_ahead_of_our_clock_does_not_stop_us(server: UnguardedRedis, tmp_path: Path) -> None:
    raw: Any = redis.Redis.from_url(server.url)
    sink = a_sink(server.url, tmp_path)
    sink.publish(visit(0))
    assert sink.flush(5)
    raw.execute_command("XADD", KEY, "4000000000000-0", "foreign", "1")
    sink.publish(visit(1))
    assert sink.flush(15)
    sequences = [fields.get(b"event", b"").partition(b'"sequence":"')[2][:12] for _, fields in raw.xrange(KEY)]
    assert [int(number) for number in sequences if number] == list(range(6))
    assert sink.counters.moved == 3
    assert sink.close(5)
    raw.close()


def test_a_full_spool_gives_up_seen_events_and_keeps_identities(tmp_path: Path) -> None:
    first = UnguardedRedis(tmp_path / "redis")
    sink = a_sink(first.url, tmp_path, spool=Spool(tmp_path / "spool", max_bytes=200_000))
    first.stop()
    sink.publish(visit(0))
    until(lambda: sink.away is not None)
    for number in range(40):
        sink.publish([entered(f"shop-{number}")] + [seen(f"shop-{number}")] * 10)
    assert sink.counters.dropped["liveness"] > 0
    assert sink.counters.dropped["identity"] == 0
    with UnguardedRedis(tmp_path / "redis", port=first.port) as second:
        assert sink.flush(15)
        with subscribe(second.url, site="shop", start="0", types=["identity.entered"], block_s=0) as events:
            assert len(list(events)) == 41
        sequences = sent_numbers(second.url)
        assert sequences == sorted(set(sequences))
        assert sink.close(5)


def test_any_redis_client_can_read_the_stream(server: UnguardedRedis, tmp_path: Path) -> None:
    sink = a_sink(server.url, tmp_path)
    sink.publish(visit(0))
    assert sink.close(5)
    client = Path(newest_binary().path).with_name("redis-cli")
    answer = subprocess.run(
        [client, "-p", str(server.port), "XRANGE", KEY, "-", "+", "COUNT", "1"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert answer[1:4] == ["type", "identity.entered.v1", "event"]
    assert '"specversion":"1.0"' in answer[4]
