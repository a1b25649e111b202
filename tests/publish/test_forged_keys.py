"""Keys of the daemon that another writer changes: mended, named in the log, and no reason to report a loss."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from benchmarks.faults.unguarded_redis import UnguardedRedis
from tests.publish.shop import entered, seen, visit
from tests.publish.test_redis_sink import KEY, a_sink, sent_numbers, until

SENT = "reid:shop:state:sent"
PRESENT = "reid:shop:present:door"
FORGERIES: dict[str, Callable[[Any], object]] = {
    "garbage": lambda raw: raw.set(SENT, b"\xff garbage"),
    "missing": lambda raw: raw.delete(SENT),
    "earlier": lambda raw: raw.set(SENT, "5-5"),
    "later": lambda raw: raw.set(SENT, f"{2**64 - 1}-{2**64 - 1}"),
    "a list": lambda raw: (raw.delete(SENT), raw.rpush(SENT, "x")),
}


@pytest.fixture
def raw(server: UnguardedRedis) -> Any:
    client: Any = redis.Redis.from_url(server.url)
    yield client
    client.close()


@pytest.mark.slow
@pytest.mark.parametrize(("how", "is_between_looks"), [*((how, True) for how in FORGERIES), ("garbage", False)])
def test_a_forged_position_of_the_last_transaction_is_no_loss(
    server: UnguardedRedis, raw: Any, tmp_path: Path, how: str, is_between_looks: bool
) -> None:
    sink = a_sink(server.url, tmp_path)
    sink.publish(visit(0))
    assert sink.flush(5)
    with capture_logs() as logs:
        for number in range(1, 4):
            FORGERIES[how](raw)
            if not is_between_looks:
                until(lambda: raw.get(SENT).startswith(b"1"))
            sink.publish(visit(number))
            assert sink.flush(5)
    assert sink.close(5)
    assert sent_numbers(server.url) == list(range(12))
    assert not sink.counters.lost
    assert sink.counters.resent == 0
    assert raw.get(SENT).decode() == raw.xinfo_stream(KEY)["last-generated-id"].decode()
    assert not {line["event"] for line in logs} & {"redis_lost_events", "events_lost", "redis_away"}


def test_a_daemon_that_starts_with_a_forged_position_reports_no_loss(
    server: UnguardedRedis, raw: Any, tmp_path: Path
) -> None:
    sink = a_sink(server.url, tmp_path)
    sink.publish(visit(0))
    assert sink.close(5)
    raw.set(SENT, "garbage")
    again = a_sink(server.url, tmp_path, first_sequence=3)
    again.publish(visit(1))
    assert again.close(5)
    assert sent_numbers(server.url) == list(range(6))
    assert not again.counters.lost


def test_a_stream_that_is_really_gone_is_still_a_loss(server: UnguardedRedis, raw: Any, tmp_path: Path) -> None:
    sink = a_sink(server.url, tmp_path)
    sink.publish(visit(0))
    assert sink.flush(5)
    raw.flushall()
    sink.publish(visit(1))
    assert sink.close(5)
    assert sent_numbers(server.url) == list(range(6))
    assert sink.counters.resent == 3


@pytest.mark.slow
@pytest.mark.parametrize("key", [PRESENT, "reid:shop:identity:shop-7"])
def test_a_live_key_of_another_type_is_named_once_and_replaced(
    server: UnguardedRedis, raw: Any, tmp_path: Path, key: str
) -> None:
    sink = a_sink(server.url, tmp_path)
    sink.publish([entered("shop-7")])
    assert sink.flush(5)
    expected = raw.dump(key)
    raw.delete(key)
    raw.rpush(key, "x")
    with capture_logs() as logs:
        sink.publish([entered("shop-7"), seen("shop-7")])
        assert sink.flush(5)
        until(lambda: raw.type(key) in (b"set", b"hash"))
        sink.publish([seen("shop-7"), seen("shop-7")])
        assert sink.close(5)
    assert sent_numbers(server.url) == list(range(5))
    assert sink.counters.faults.total() == 0
    assert raw.smembers(PRESENT) == {b"shop-7"}
    assert raw.hget("reid:shop:identity:shop-7", "state") == b"confirmed"
    assert expected is not None
    named = [line["key"] for line in logs if line["event"] == "live_key_invalid"]
    assert set(named) == {key}
    assert not [line for line in logs if line["event"] in ("redis_away", "redis_back")]
