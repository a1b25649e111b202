"""A Redis that evicts keys: the daemon's are written again, and no number is assigned twice."""

from pathlib import Path
from typing import Any

import redis

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream.config.settings import Redis
from reid_stream.publish.live_mirror import EvictionWatch
from reid_stream.publish.redis_client import connect
from reid_stream.publish.redis_sink import RedisSink
from reid_stream.publish.spool import Spool
from tests.publish.conftest import server as server  # noqa: PLC0414 (a fixture)
from tests.publish.shop import visit
from tests.publish.test_redis_supervisor import until

NUMBERS = "reid:shop:state:numbers"


def evict(admin: Any, key: str) -> None:
    """Have Redis evict keys until one is gone."""
    admin.config_set("maxmemory-policy", "allkeys-random")
    for number in range(200):
        if not admin.exists(key):
            break
        admin.config_set("maxmemory", admin.info("memory")["used_memory"] + 100_000)
        for part in range(20):
            admin.set(f"junk:{number}:{part}", "x" * 20_000)
    assert not admin.exists(key)
    admin.config_set("maxmemory", 0)
    admin.delete(*admin.keys("junk:*"))


def test_what_redis_evicts_is_written_again(server: UnguardedRedis, tmp_path: Path) -> None:
    admin: Any = redis.Redis.from_url(server.url)
    sink = RedisSink(connect(Redis(), url=server.url), where=server.url, site="shop", run="run", spool=Spool(tmp_path))
    calls: list[int] = []
    sink.when_lost(lambda: calls.append(1))
    for number in range(8):
        sink.publish(visit(number)[:1])
    assert sink.flush(5)
    keys = {key: admin.dump(key) for key in admin.keys("reid:shop:[ips]*") if not key.endswith(b":sent")}
    assert len(keys) > 8
    until(lambda: sink._evictions._count is not None)
    evict(admin, NUMBERS)
    until(lambda: admin.get(NUMBERS) == b"7")
    until(lambda: {key for key in keys if not admin.exists(key)} == set())
    until(lambda: bool(calls))
    assert sink.close(5)
    admin.close()


def test_no_number_is_given_twice_though_key_and_spool_are_gone(server: UnguardedRedis, tmp_path: Path) -> None:
    admin: Any = redis.Redis.from_url(server.url)
    first = RedisSink(
        connect(Redis(), url=server.url), where=server.url, site="shop", run="a", spool=Spool(tmp_path / "a")
    )
    for number in range(8):
        first.publish(visit(number))
    assert first.close(5)
    admin.config_set("maxmemory-policy", "allkeys-lru")
    for gone in ([NUMBERS], [NUMBERS, *admin.keys("reid:shop:identity:*")]):
        admin.delete(*gone)
        spool = Spool(tmp_path / f"b{len(gone)}")
        again = RedisSink(connect(Redis(), url=server.url), where=server.url, site="shop", run="b", spool=spool)
        assert again.highest_number() == 7
        assert again.close(5)
    admin.close()


def test_restorations_are_a_minute_apart_and_a_reset_counter_is_none(server: UnguardedRedis) -> None:
    admin: Any = redis.Redis.from_url(server.url)
    now = [0.0]
    watch = EvictionWatch(connect(Redis(), url=server.url), lambda: now[0])

    def has_evicted(at: float, *, after: bool = False) -> bool:
        now[0] = at
        if after:
            admin.set("mine", 1)
            evict(admin, "mine")
        return watch.has_evicted()

    assert not has_evicted(0)
    assert has_evicted(1, after=True)
    assert not has_evicted(2, after=True)
    assert has_evicted(61)
    admin.config_resetstat()
    assert not has_evicted(200)
    assert has_evicted(201, after=True)
    admin.close()
