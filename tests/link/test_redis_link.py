"""The link between hosts, on a real Redis: takeovers, hosts that were cut off, what counts as lost."""

from typing import Any

import msgspec
from structlog.testing import capture_logs

from reid_stream.config.settings import Redis
from reid_stream.errors import BrokerError
from reid_stream.link.redis_keys import stream_key
from reid_stream.link.redis_receiver import RedisReceiver
from reid_stream.link.redis_sender import RedisSender
from reid_stream.link.service import FULL_S, Service
from reid_stream.publish.embedded_redis import EmbeddedRedis
from reid_stream.publish.redis_client import connect
from reid_stream.records import CameraId, Perceived
from tests.link.test_links import drain, record


def of_run(records: list[Perceived], run: str) -> list[Perceived]:
    return [msgspec.structs.replace(each, run=run) for each in records]


def test_what_a_host_still_sends_after_another_opened_its_camera_is_dropped(server: EmbeddedRedis) -> None:
    client: Any = connect(Redis(), url=server.url)
    frozen, other = RedisSender(client, "shop", "a"), RedisSender(client, "shop", "b")
    receiver = RedisReceiver(client, "shop")
    first, second = of_run([record(0), record(1)], "a"), of_run([record(0), record(1)], "b")
    frozen.send(first)
    other.send(second)
    frozen.send(of_run([record(2), record(0, "till")], "a"))
    assert drain(receiver, 5) == [*first, *second, *of_run([record(0, "till")], "a")]
    assert (receiver.late, receiver.duplicates) == (1, 0)
    # The next receiver knows it as well, though all entries are gone.
    following = RedisReceiver(client, "shop")
    frozen.send(of_run([record(3)], "a"))
    assert following.receive(1.0) == []
    assert following.late == 1
    client.close()


def test_a_gap_in_a_hosts_numbers_is_counted(server: EmbeddedRedis) -> None:
    client: Any = connect(Redis(), url=server.url)
    receiver = RedisReceiver(client, "shop")
    RedisSender(client, "shop").send([record(5), record(6), record(9)])
    assert len(drain(receiver, 3)) == 3
    assert receiver.lost == 2
    client.close()


def test_an_entry_stays_until_what_followed_from_it_is_stored(server: EmbeddedRedis) -> None:
    client: Any = connect(Redis(), url=server.url)
    stored: list[bool] = []
    receiver = RedisReceiver(client, "shop", durable=lambda: lambda: bool(stored))
    sender = RedisSender(client, "shop")
    sender.send([record(0)])
    assert receiver.receive(1.0) == [record(0)]
    receiver.acknowledge()
    assert client.xlen(stream_key("shop")) == 1
    stored.append(True)
    receiver.acknowledge()
    assert client.xlen(stream_key("shop")) == 0
    client.close()


class LostLease:
    key = "lease"

    def holds(self, value: bytes | None) -> None:
        if value != b"mine":
            raise BrokerError("another daemon has it")


def test_a_receiver_without_the_site_takes_nothing_from_the_one_that_has_it(server: EmbeddedRedis) -> None:
    client: Any = connect(Redis(), url=server.url)
    client.set("lease", "theirs")
    frozen, active = RedisReceiver(client, "shop", fence=LostLease()), RedisReceiver(client, "shop")
    RedisSender(client, "shop").send([record(0), record(1)])
    assert frozen.receive(0.1) == []
    assert active.receive(1.0) == [record(0), record(1)]
    active.acknowledge()
    client.set("lease", "mine")
    RedisSender(client, "shop").send([record(2)])
    assert frozen.receive(2.0) == [record(2)]
    client.close()


class RenewedLease:
    """A lease that is renewed during the first read."""

    key = "lease"

    def __init__(self, client: Any) -> None:
        self._client, self._reads = client, 0

    def holds(self, value: bytes | None) -> None:
        assert value == b"mine"
        self._reads += 1
        if self._reads == 1:
            self._client.set(self.key, "mine", px=5000)


def test_a_renewal_of_the_lease_during_a_read_hides_no_entry_of_the_receiver_before(server: EmbeddedRedis) -> None:
    client, renewing = (connect(Redis(), url=server.url) for _ in range(2))
    client.set("lease", "mine")
    RedisSender(client, "shop").send([record(0), record(1)])
    assert len(RedisReceiver(client, "shop").receive(1.0)) == 2  # killed before it stores what follows
    following = RedisReceiver(client, "shop", fence=RenewedLease(renewing))
    assert following.receive(1.0) == [record(0), record(1)]
    following.acknowledge()
    assert client.xlen(stream_key("shop")) == 0
    client.close()
    renewing.close()


def test_a_receiver_knows_the_newest_record_of_each_camera_that_came(server: EmbeddedRedis) -> None:
    client: Any = connect(Redis(), url=server.url)
    frozen, other = RedisSender(client, "shop", "a"), RedisSender(client, "shop", "b")
    receiver = RedisReceiver(client, "shop")
    frozen.send(of_run([record(0)], "a"))
    other.send(of_run([record(0)], "b"))
    frozen.send(of_run([record(1)], "a"))  # late, and yet it came
    assert len(drain(receiver, 2)) == 2
    assert receiver.late == 1
    door = CameraId("door")
    assert frozen.accepted == {door: ("a", 1)}
    assert [receiver.newest(run, door) for run in ("a", "b", "c")] == [1, 0, None]
    client.close()


def test_a_long_wait_for_room_is_logged_once_and_so_is_its_end() -> None:
    service = Service()
    with capture_logs() as logs:
        for waited_s in (1.0, FULL_S, FULL_S + 1):
            service.note_wait(waited_s, 2000)
        service.note_sent(7.0)
        service.note_sent(0.0)
    assert [line["event"] for line in logs] == ["link_full", "link_has_room"]


def test_messages_of_hosts_come_beside_records_and_wait_for_no_room(server: EmbeddedRedis) -> None:
    client: Any = connect(Redis(), url=server.url)
    came: list[tuple[str, bytes]] = []
    receiver = RedisReceiver(client, "shop", on_message=lambda host, body: came.append((host, body)))
    sender = RedisSender(client, "shop", "attic", max_waiting=2)
    assert sender.try_message(b"hello")
    sender.send([record(0)])
    assert not sender.try_message(b"no room")
    assert receiver.receive(1.0) == [record(0)]
    assert came == [("attic", b"hello")]
    client.xadd(stream_key("shop"), {"host": "x", "records": b"\xff"})
    assert receiver.receive(0.2) == []
    assert receiver.malformed == 1
    client.close()
