"""Latest values beside the events, on a real Redis."""

import os
import signal
import time
from collections.abc import Callable

import msgspec
import redis

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream.config.settings import Redis
from reid_stream.publish.latest_value import EVERY_S, ChangePublisher, SideValues
from reid_stream.publish.redis_client import connect


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def test_the_latest_value_is_there_when_all_is_closed(server: UnguardedRedis) -> None:
    values = SideValues(connect(Redis(), url=server.url))
    for number in range(50):
        values.put("key", str(number).encode())
    values.close()
    with redis.Redis.from_url(server.url) as client:
        assert client.get("key") == b"49"


def test_a_redis_that_hangs_costs_the_caller_nothing_and_the_next_value_is_written(server: UnguardedRedis) -> None:
    with redis.Redis.from_url(server.url) as client:
        process = client.info("server")["process_id"]
    values = SideValues(connect(Redis(), url=server.url, timeout_s=0.2))
    os.kill(process, signal.SIGSTOP)
    try:
        values.put("key", b"lost")
        until(lambda: values.failed > 0)
    finally:
        os.kill(process, signal.SIGCONT)
    values.put("key", b"kept")
    until(lambda: values.written > 0)
    values.close()
    with redis.Redis.from_url(server.url) as client:
        assert client.get("key") == b"kept"


class Count(msgspec.Struct):
    count: int


class Counted:
    version = 0

    def state(self) -> Count:
        return Count(self.version)


def test_a_value_is_sent_when_it_changed_and_not_too_often() -> None:
    sent: list[bytes] = []
    source = Counted()
    publisher = ChangePublisher(sent.append, source)
    for at, now_is in ((0.0, 0), (1.0, 1), (2.0, 2), (1.0 + EVERY_S, 2), (20.0, 2), (3.0, 3)):
        source.version = now_is
        publisher.decided((), at)
    assert sent == [b'{"count":1}', b'{"count":2}', b'{"count":3}']  # the last one although the clock went back
