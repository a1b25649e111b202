"""Numbers and keys forged by another writer: subscribers and daemons report them and continue."""

from pathlib import Path
from typing import Any

import pytest
import redis
import structlog

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream import subscribe
from reid_stream.publish.cloudevents import encode
from reid_stream.publish.event_numbers import next_sequence
from reid_stream.publish.live_keys import numbers_key
from reid_stream.publish.sequence_log import SequenceLog
from reid_stream.publish.spool import Spool
from tests.publish.shop import entered, visit
from tests.publish.test_redis_sink import KEY, a_sink


@pytest.fixture
def raw(server: UnguardedRedis) -> Any:
    client: Any = redis.Redis.from_url(server.url)
    yield client
    client.close()


def forged(number: int, run: str = "run") -> dict[str, bytes]:
    return {"type": b"x", "event": encode(entered("shop-666"), site="shop", run=run, sequence=number)}


@pytest.mark.parametrize("number", [7, 10**5, 10**6 + 100, 10**17, 10**18 - 1])
def test_a_forged_number_silences_no_subscriber(number: int, server: UnguardedRedis, raw: Any, tmp_path: Path) -> None:
    sink = a_sink(server.url, tmp_path)
    sink.publish(visit(0))
    assert sink.flush(5)
    raw.xadd(KEY, forged(number))
    for count in range(1, 5):
        sink.publish(visit(count))
    assert sink.close(5)
    with subscribe(server.url, site="shop", start="0", block_s=0) as events:
        got = [event.data for event in events]
        missed = events.missed
    assert [event for event in got if event != entered("shop-666")] == [e for n in range(5) for e in visit(n)]
    assert missed == 0


def body(number: int) -> bytes:
    return b"%d" % number


def test_gaps_are_missed_and_closed_by_what_comes_late() -> None:
    log = SequenceLog()
    assert all(log.is_new("a", number, body(number)) for number in (3, 4, 8, 9))
    assert log.missed == 3
    assert log.is_new("a", 6, b"6")
    assert log.missed == 2
    assert not log.is_new("a", 6, b"6"), "the same again"
    assert log.is_new("a", 6, b"other"), "not the same"
    assert log.is_new("b", 700, b"b")
    assert log.missed == 2


def test_a_long_absence_is_missed_once_it_is_confirmed() -> None:
    log = SequenceLog()
    log.is_new("a", 0, b"0")
    log.is_new("a", 5_000_000, b"1")
    assert log.missed == 0
    log.is_new("a", 5_000_001, b"2")
    assert log.missed == 4_999_999
    log.is_new("a", 5_000_003, b"3")
    assert log.missed == 5_000_000


def test_numbers_that_start_again_are_new() -> None:
    log = SequenceLog()
    for number in range(100):
        log.is_new("a", number, body(number))
    assert all(log.is_new("a", number, b"again %d" % number) for number in range(50))
    assert log.missed == 0


def test_memory_of_forged_runs_is_bounded() -> None:
    log = SequenceLog()
    for number in range(60_000):
        assert log.is_new(f"run-{number}", 10**17, b"x")
    assert len(log._runs) <= 1000
    assert len(log._recent) <= 50_000


@pytest.mark.parametrize("number", [10**6 + 100, 10**17, 10**18 - 1])
def test_a_resumed_run_counts_behind_its_own_events(
    number: int, server: UnguardedRedis, raw: Any, tmp_path: Path
) -> None:
    sink = a_sink(server.url, tmp_path)
    sink.publish(visit(0))
    assert sink.close(5)
    raw.xadd(KEY, forged(number))
    spool = Spool(tmp_path / "spool")
    assert next_sequence(raw, spool, where=server.url, site="shop", run="run") == 3
    spool.close()


@pytest.mark.parametrize("value", [b"junk", b"\xff\xfe", b"-3", b"1.5", b"9" * 40, b"", "list"])
def test_an_invalid_number_is_reported_and_found_elsewhere(
    value: bytes | str, server: UnguardedRedis, raw: Any, tmp_path: Path
) -> None:
    sink = a_sink(server.url, tmp_path)
    sink.publish([entered("shop-41")])
    assert sink.close(5)
    raw.delete(numbers_key("shop"))
    if isinstance(value, bytes):
        raw.set(numbers_key("shop"), value)
    else:
        raw.rpush(numbers_key("shop"), "x")
    with structlog.testing.capture_logs() as log:
        again = a_sink(server.url, tmp_path / "elsewhere")
        assert again.highest_number() == 41
    assert [line["event"] for line in log].count("state_key_invalid") == 1
    again.publish([entered("shop-42")])
    assert again.close(5)
    assert raw.get(numbers_key("shop")) == b"42"


@pytest.mark.parametrize("value", [b"junk", b"\xff\xfe", b"9" * 60 + b"-1", b"", "list"])
def test_a_position_of_ours_that_is_none_is_written_again(
    value: bytes | str, server: UnguardedRedis, raw: Any, tmp_path: Path
) -> None:
    key = "reid:shop:state:sent"
    sink = a_sink(server.url, tmp_path)
    sink.publish(visit(0))
    assert sink.flush(5)
    raw.delete(key)
    raw.set(key, value) if isinstance(value, bytes) else raw.rpush(key, "x")
    for number in range(1, 4):
        sink.publish(visit(number))
    assert sink.close(10)
    with subscribe(server.url, site="shop", start="0", block_s=0) as events:
        assert [event.data for event in events] == [e for n in range(4) for e in visit(n)]
    assert raw.get(key).decode() == raw.xrevrange(KEY, count=1)[0][0].decode()
