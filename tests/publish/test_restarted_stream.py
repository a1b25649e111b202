"""Streams that are deleted or restart with lower IDs while they are read."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import structlog

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream import subscribe
from reid_stream.errors import BrokerError
from reid_stream.publish.cloudevents import encode
from reid_stream.publish.subscribe import Subscription
from tests.publish.shop import entered
from tests.publish.test_redis_sink import KEY, until


@pytest.fixture
def raw(server: UnguardedRedis) -> Any:
    client: Any = redis.Redis.from_url(server.url)
    yield client
    client.close()


class Reader:
    """A subscriber that reads in a thread."""

    def __init__(self, subscription: Subscription) -> None:
        self.got: list[int] = []
        self.subscription = subscription
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for event in self.subscription:
            self.got.append(event.sequence)

    def join(self) -> None:
        self._thread.join(20)
        self.subscription.close()


@pytest.fixture
def reader(server: UnguardedRedis) -> Iterator[Reader]:
    reading = Reader(subscribe(server.url, site="shop", start="0", block_s=6))
    yield reading
    reading.join()


def write(raw: Any, first_ms: int, numbers: range) -> None:
    for number in numbers:
        body = encode(entered(f"shop-{number}"), site="shop", run="run", sequence=number)
        raw.xadd(KEY, {"type": "t", "event": body}, id=f"{first_ms + number}-0")


@pytest.mark.slow
def test_a_stream_that_starts_again_with_lower_ids_is_read_from_its_start(reader: Reader, raw: Any) -> None:
    write(raw, 1_900_000_000_000, range(10))
    until(lambda: len(reader.got) == 10)
    with structlog.testing.capture_logs() as log:
        raw.flushall()
        write(raw, 1_700_000_000_000, range(10, 15))
        until(lambda: len(reader.got) == 15)
    assert reader.got == list(range(15))
    assert reader.subscription.restarts == 1
    assert reader.subscription.missed == 0
    assert [line["event"] for line in log] == ["stream_restarted"]


@pytest.mark.slow
def test_a_stream_that_another_client_overwrites_is_waited_for(reader: Reader, raw: Any) -> None:
    write(raw, 1_700_000_000_000, range(5))
    until(lambda: len(reader.got) == 5)
    with structlog.testing.capture_logs() as log:
        raw.set(KEY, "not a stream")
        until(lambda: bool(log))
        raw.delete(KEY)
        write(raw, 1_800_000_000_000, range(5, 8))
        until(lambda: len(reader.got) == 8)
    assert reader.got == list(range(8))
    assert reader.subscription.missed == 0
    assert log[0]["event"] == "redis_away"
    assert log[0]["reason"] == f"{KEY} must be a stream, found another type; rename or delete it"
    assert log[1]["event"] == "redis_back"


def test_a_key_that_is_no_stream_is_an_error_at_the_first_read(server: UnguardedRedis, raw: Any) -> None:
    raw.set(KEY, "not a stream")
    with subscribe(server.url, site="shop", start="0", block_s=0) as events, pytest.raises(BrokerError, match=KEY):
        next(events)


@pytest.mark.slow
def test_what_the_new_stream_lacks_is_missed(reader: Reader, raw: Any) -> None:
    write(raw, 1_900_000_000_000, range(10))
    until(lambda: len(reader.got) == 10)
    raw.delete(KEY)
    write(raw, 1_700_000_000_000, range(13, 15))
    until(lambda: len(reader.got) == 12)
    assert reader.subscription.missed == 3


@pytest.mark.slow
def test_a_stream_that_lost_its_end_is_not_read_twice(reader: Reader, raw: Any) -> None:
    """As after a fail-over to a replica that lagged behind."""
    write(raw, 1_700_000_000_000, range(10))
    until(lambda: len(reader.got) == 10)
    raw.delete(KEY)
    write(raw, 1_700_000_000_000, range(8))
    until(lambda: reader.subscription.restarts == 1)
    write(raw, 1_700_000_000_000, range(8, 12))
    until(lambda: len(reader.got) >= 12)
    time.sleep(0.2)
    assert reader.got == list(range(12))


def test_a_position_of_a_stream_that_is_gone_starts_at_the_new_one(server: UnguardedRedis, raw: Any) -> None:
    write(raw, 1_700_000_000_000, range(3))
    with subscribe(server.url, site="shop", start="1900000000000-5", block_s=0) as events:
        assert [event.sequence for event in events] == [0, 1, 2]
        assert events.restarts == 1
    with subscribe(server.url, site="shop", start="2199-01-01", block_s=0) as events:
        assert not list(events)
        assert events.restarts == 0
