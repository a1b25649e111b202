"""What the Redis user of a host can append, and more: refused, and observations of all others arrive."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import redis
from structlog.testing import capture_logs

from reid_stream.config.settings import Redis
from reid_stream.link.foreign import AHEAD_S
from reid_stream.link.redis_keys import epochs_key, stream_key
from reid_stream.link.redis_receiver import RedisReceiver
from reid_stream.link.redis_sender import RedisSender
from reid_stream.publish.embedded_redis import EmbeddedRedis
from reid_stream.publish.redis_client import connect
from reid_stream.records import CameraId, Crop, Perceived, TrackEnded, TrackId, encode
from reid_stream.runtime.hosts.crops import RedisCropReceiver, crops_key
from reid_stream.runtime.workers.crops import pack
from reid_stream.store.writer import encode_crop
from tests.link.hostile_entries import LAST, batch, other
from tests.link.test_links import drain, record
from tests.publish.test_redis_supervisor import until

NOW = 1000.0


HOSTILE: dict[str, dict[str, Any]] = {
    "no field": {"x": "y"},
    "no text": batch(b"\xff"),
    "lists in lists": {**batch(), "epochs": b"\x91" * 100_000},
    "a record of lists in lists": batch(b"\x82\xa4kind\xabobservation\xa3new" + b"\x91" * 100_000),
    "an epoch that is no number": {**batch(), "epochs": msgspec.msgpack.encode({"door": "x"})},
    "a camera outside its folder": batch(other(camera="../../home")),
    "a camera that is a path": batch(other(camera="/etc")),
    "an epoch of a camera of 1 MB": {**batch(), "epochs": msgspec.msgpack.encode({"x" * 2**20: 1})},
    "a run outside its folder": batch(other(run="../../home")),
    "the far future": batch(other(seen_at=1e12)),
    "ahead": batch(other(seen_at=NOW + AHEAD_S + 1)),
    "before all time": batch(other(seen_at=-1e300)),
    "not a number": batch(other(seen_at=float("nan"))),
    "a sequence of 64 bits": batch(other(sequence=2**64 - 1)),
    "a negative track": batch(other(track=-1)),
    "a frame without pixels": batch(other(frame_size=[0, 0])),
    "a frame of 2^62 pixels": batch(other(frame_size=[2**31, 2**31])),
    "an entry of 5 MB": {**batch(encode(record(0))), "host": "x" * 5_000_000},
    "a message of 5 MB": {"host": "h", "message": b"x" * 5_000_000},
}


def step(receiver: RedisReceiver) -> list[Perceived]:
    found = receiver.receive(0.1)
    receiver.acknowledge()
    return found


class Site:
    def __init__(self, server: EmbeddedRedis) -> None:
        self.admin: Any = redis.Redis.from_url(server.url)
        self.clients: list[Any] = [connect(Redis(), url=server.url) for _ in range(3)]
        self.messages: list[bytes] = []
        self.sender = RedisSender(self.clients[0], "shop", "till")
        self.receiver = RedisReceiver(
            self.clients[1], "shop", on_message=lambda _, body: self.messages.append(body), now=lambda: NOW
        )

    def arrives(self, *records: Perceived) -> None:
        self.sender.send(records)
        assert drain(self.receiver, len(records)) == list(records)

    def close(self) -> None:
        self.sender.close()
        self.receiver.close()
        for client in (self.admin, *self.clients):
            client.close()


@pytest.fixture
def site(server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr("reid_stream.link.redis_receiver._REPAIR_S", 0.2)
    made = Site(server)
    yield made
    made.close()


def test_entries_that_no_host_sends_are_dropped_and_counted(site: Site) -> None:
    site.arrives(record(0))
    for name, entry in HOSTILE.items():
        site.admin.xadd(stream_key("shop"), entry)
        before = site.receiver.malformed
        site.receiver.receive(0.05)
        assert site.receiver.malformed == before + 1, name
    site.receiver.acknowledge()
    assert not site.messages
    site.arrives(record(1), record(2, "till"))


def test_an_entry_with_the_highest_id_stops_no_host(site: Site) -> None:
    site.arrives(record(0))
    site.sender.send([record(1)])
    site.admin.xadd(stream_key("shop"), batch(b"x"), id=LAST)
    with pytest.raises(redis.exceptions.ResponseError, match="ID"):
        site.admin.xadd(stream_key("shop"), batch(b"x"))
    with capture_logs() as logs:
        found = drain(site.receiver, 1)
        until(lambda: step(site.receiver) or any("mended" in one["event"] for one in logs))
        site.arrives(record(2))
    assert found == [record(1)], "what waited is read before the stream is replaced"
    assert [one["event"] for one in logs if "mended" in one["event"]] == ["host_stream_mended"]
    assert not site.receiver.lost


@pytest.mark.slow
@pytest.mark.parametrize("forged", [2**63 - 1, 2**62, 2**64 - 1])
def test_a_forged_epoch_locks_no_camera_out(site: Site, forged: int) -> None:
    site.arrives(record(0))
    site.admin.xadd(stream_key("shop"), batch(encode(record(0)), epoch=forged))
    site.receiver.receive(0.1)
    site.receiver.acknowledge()
    until(lambda: not site.receiver.receive(0.3))
    site.arrives(record(1))
    # Nor one that Redis cannot count on from.
    site.admin.hincrby(epochs_key("shop"), "till", min(forged, 2**63 - 1))
    until(lambda: bool(site.receiver.receive(0.3) or int(site.admin.hget(epochs_key("shop"), "till")) == 0))
    site.arrives(record(2, "till"))


def test_crops_of_other_folders_are_not_stored(server: EmbeddedRedis, tmp_path: Path) -> None:
    taken: list[Crop] = []
    clients: list[Any] = [connect(Redis(), url=server.url) for _ in range(2)]
    receiver = RedisCropReceiver(clients[0], "shop", lambda crops, _: taken.extend(crops), now=lambda: NOW)

    def crop(camera: str = "door", run: str = "r", at: float = 1.0) -> Crop:
        image = np.zeros((16, 8, 3), np.uint8)
        return Crop(CameraId(camera), run, TrackId(1), at, "file", (0, 0, 8, 16), 0.5, image, None, "m")

    hostile: list[Callable[[], Crop]] = [
        lambda: crop(camera=str(tmp_path)),
        lambda: crop(camera="../../home"),
        lambda: crop(run="../../home"),
        lambda: crop(at=1e12),
        lambda: crop(at=float("nan")),
    ]
    for make in hostile:
        clients[1].xadd(crops_key("shop"), {"parts": msgspec.msgpack.encode(pack([make()], [], encode_crop))})
    end = TrackEnded(run="../..", camera=CameraId("door"), track=TrackId(1), sequence=0, seen_at=1.0)
    clients[1].xadd(crops_key("shop"), {"parts": msgspec.msgpack.encode(pack([], [end], encode_crop))})
    clients[1].xadd(crops_key("shop"), {"parts": msgspec.msgpack.encode(pack([crop()], [], encode_crop))})
    until(lambda: len(taken) == 1)
    assert taken[0].camera == "door"
    assert receiver.malformed == len(hostile) + 1
    receiver.close()
    clients[1].close()
