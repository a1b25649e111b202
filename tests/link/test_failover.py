"""A fail-over by Sentinel under load: events are all there once, observations are received or counted as lost."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from reid_stream.config.settings import Redis
from reid_stream.link.redis_keys import stream_key
from reid_stream.link.redis_receiver import RedisReceiver
from reid_stream.link.redis_sender import RedisSender
from reid_stream.publish.redis_client import connect
from reid_stream.publish.redis_sink import RedisSink
from reid_stream.publish.spool import Spool
from reid_stream.records import Perceived
from tests.link.test_links import record
from tests.publish.servers import SERVER, watched
from tests.publish.shop import visit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(SERVER is None, reason="sentinels need the system's redis-server"),
]


def until(holds: Callable[[], bool], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def sink_to(settings: Redis, folder: Path) -> RedisSink:
    return RedisSink(
        connect(settings), where=settings.url.get_secret_value(), site="shop", run="r", spool=Spool(folder), keep_s=60
    )


def test_a_killed_primary_costs_no_event_and_lost_observations_are_counted(tmp_path: Path) -> None:
    with watched(tmp_path) as site:
        settings = Redis(url=SecretStr(site.url))
        until(lambda: _is_replica(site.replica_port))
        sink, clients = sink_to(settings, tmp_path / "spool"), [connect(settings) for _ in range(2)]
        sender, receiver = RedisSender(clients[0], "shop", "host"), RedisReceiver(clients[1], "shop")
        sent, came, published = [0], list[Perceived](), 0
        is_over = threading.Event()

        def send() -> None:
            while not is_over.is_set():
                sender.send([record(sent[0] + number) for number in range(10)])
                sent[0] += 10
                time.sleep(0.005)

        def receive() -> None:
            while (got := receiver.receive(0.5)) or sending.is_alive():
                came.extend(got)
                receiver.acknowledge()

        sending, receiving = threading.Thread(target=send), threading.Thread(target=receive)
        sending.start()
        receiving.start()
        until(lambda: len(came) > 200)
        before = sent[0]
        site.master.kill()
        for number in range(40):
            sink.publish(visit(number))
            published += len(visit(number))
            time.sleep(0.05)
        until(lambda: sent[0] > before + 500)
        is_over.set()
        sending.join(30)
        receiving.join(30)
        assert sink.flush(60)
        sink.close(5)
        sequences = [each.sequence for each in came]
        assert sequences == sorted(set(sequences)), "in order, each once"
        # What the replica had not got when the primary was killed is gone, and is counted.
        assert len(came) + receiver.lost == sent[0]
        with redis.Redis(port=site.replica_port) as promoted:
            ids = [fields[b"event"] for _, fields in promoted.xrange("reid:shop:events")]
            assert len(ids) == len(set(ids)) == published
        print(f"sent {sent[0]}, received {len(came)}, lost {receiver.lost}, events {published}")
        for client in clients:
            client.close()


def test_a_primary_that_must_have_a_replica_refuses_and_nothing_is_lost(tmp_path: Path) -> None:
    with watched(tmp_path) as site:
        settings = Redis(url=SecretStr(site.url))
        until(lambda: _is_replica(site.replica_port))
        client: Any = connect(settings)
        client.config_set("min-replicas-to-write", 1)
        client.config_set("min-replicas-max-lag", 1)
        with redis.Redis(port=site.replica_port) as replica:
            pid = replica.info("server")["process_id"]
        sink, sender = sink_to(settings, tmp_path / "spool"), RedisSender(connect(settings), "shop", "host")
        sender.send([record(0)])
        os.kill(pid, signal.SIGSTOP)
        try:
            until(lambda: not sender.try_message(b"is a replica there?"))
            sink.publish(visit(1))
            until(lambda: sink.away is not None)
            assert "replica" in (sink.away or "").lower()
            thread = threading.Thread(target=sender.send, args=([record(1)],))
            thread.start()
            assert not sink.flush(0.5)
        finally:
            os.kill(pid, signal.SIGCONT)
        thread.join(60)
        assert not thread.is_alive()
        assert sink.flush(60)
        assert client.xlen("reid:shop:events") == len(visit(1))
        assert [fields for _, fields in client.xrange(stream_key("shop")) if b"records" in fields][1:]
        sink.close(5)
        client.close()


def _is_replica(port: int) -> bool:
    with redis.Redis(port=port) as client:
        found = client.info("replication")
        return bool(found["role"] == "slave" and found["master_link_status"] == "up")
