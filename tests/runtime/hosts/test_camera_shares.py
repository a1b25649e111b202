"""Hosts share the cameras of a site out: the shares alone, and claims by lease on a real Redis."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from pydantic import SecretStr

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream.config.settings import Camera
from reid_stream.link.redis_keys import epochs_key
from reid_stream.link.redis_repair import repair_epochs
from reid_stream.records import CameraId
from reid_stream.runtime.hosts.camera_claims import CameraClaims, claims_key, hosts_key, read_shared
from reid_stream.runtime.hosts.camera_list import CameraListWriter, decode_cameras, encode_cameras, list_key
from reid_stream.runtime.hosts.camera_shares import share

CAMERAS = [CameraId(f"c{number}") for number in range(10)]


def settle(claims: dict[CameraId, str], hosts: dict[str, int]) -> int:
    """Let all hosts act in turn until none does anything more; return how many cameras were given up."""
    moves = 0
    for _ in range(20):
        before = dict(claims)
        for run in hosts:
            mine = share(CAMERAS, claims, hosts, run)
            moves += len(mine.give_up)
            for camera in mine.give_up:
                del claims[camera]
            claims.update(dict.fromkeys(mine.take, run))
        if claims == before:
            return moves
    raise AssertionError(f"they never come to rest: {claims}")


def counts(claims: dict[CameraId, str]) -> list[int]:
    return sorted(list(claims.values()).count(run) for run in set(claims.values()))


def test_hosts_get_even_shares_and_a_camera_moves_only_for_that() -> None:
    claims: dict[CameraId, str] = {}
    assert settle(claims, {"a": 256}) == 0
    assert counts(claims) == [10]
    assert settle(claims, {"a": 256, "b": 256}) == 5
    assert counts(claims) == [5, 5]
    assert settle(claims, {"b": 256, "c": 256, "a": 256}) == 3
    assert counts(claims) == [3, 3, 4]
    # One is gone: the others take its cameras, and give up none.
    assert settle(claims, {"a": 256, "c": 256}) == 0
    assert counts(claims) == [5, 5]
    assert settle(claims, {"d": 2, "a": 256, "c": 256}) == 2
    assert counts(claims) == [2, 4, 4]


def test_a_host_takes_no_more_than_it_can_and_says_what_is_left() -> None:
    hosts = {"a": 3, "b": 4}
    claims: dict[CameraId, str] = {}
    settle(claims, hosts)
    assert counts(claims) == [3, 4]
    assert share(CAMERAS, claims, hosts, "a").unclaimed == 3
    gone = share(CAMERAS[:2], {CAMERAS[5]: "a", CAMERAS[0]: "a"}, {"a": 3}, "a")
    assert (gone.keep, gone.take, gone.give_up) == ((CAMERAS[0],), (CAMERAS[1],), (CAMERAS[5],))


class Host:
    """A host that opens and closes at once what it is told."""

    def __init__(self, client: Any, name: str, lease_s: float = 2.0) -> None:
        self.claims = CameraClaims(client, "shop", run=f"run-{name}", host=name, lease_s=lease_s, max_cameras=256)
        self.is_open: set[CameraId] = set()

    def round(self) -> None:
        self.claims.renew(self.is_open)
        self.is_open = set(self.claims.mine)


class Free:
    """A fence that always holds."""

    key = "reid:shop:state:v1:lease"

    def holds(self, value: bytes | None) -> None:
        pass


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Any]:
    with UnguardedRedis(tmp_path / "redis") as server, redis.Redis.from_url(server.url) as connected:
        yield connected


@pytest.fixture
def cameras(client: Any) -> list[Camera]:
    listed = [
        Camera(id=name, url=SecretStr(f"rtsp://10.0.0.1/{name}"), username="u", password=SecretStr("a b:c@"))
        for name in CAMERAS[:4]
    ]
    zones = {"door": ((0.1, 0.1), (0.9, 0.1), (0.5, 0.9))}
    listed[0] = listed[0].model_copy(update={"zones": zones, "priority": 3})
    listed[1] = Camera(id="c1", url=SecretStr("rtsps://10.0.0.2/x"), ca_file=Path("/etc/ca.pem"), max_fps=None)
    put(client, listed)
    return listed


def put(client: Any, cameras: list[Camera]) -> None:
    writer = CameraListWriter(redis.Redis(port=client.get_connection_kwargs()["port"]), "shop", Free(), cameras)
    try:
        until = time.monotonic() + 10
        while client.hget(list_key("shop"), "cameras") != encode_cameras(cameras):
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        writer.close()


def test_a_list_comes_back_as_it_was_and_a_foreign_one_is_refused_without_its_passwords(cameras: list[Camera]) -> None:
    assert list(decode_cameras(encode_cameras(cameras))) == cameras
    for body in (
        b"[]",
        b"{",
        b'["x"]',
        b'[{"id": "a", "url": "rtsp://u:secret@h/x", "more": "secret"}]',
        b"[" * 9999,
    ):
        with pytest.raises(Exception, match="shared cameras") as refused:
            decode_cameras(body)
        assert "secret" not in str(refused.value)


def test_hosts_claim_by_lease_and_hand_over_what_is_closed(client: Any, cameras: list[Camera]) -> None:
    a, b = Host(client, "a"), Host(client, "b")
    a.round()
    assert list(a.claims.mine.values()) == cameras
    first = {camera: a.claims.epoch_of(camera) for camera in a.is_open}
    # A camera that is still open is not given to another, whatever the shares.
    b.round()
    a.claims.renew(a.is_open)
    assert len(a.claims.mine) == 2
    b.round()
    assert not b.is_open
    a.is_open = set(a.claims.mine)
    a.round()
    b.round()
    assert len(a.is_open) == len(b.is_open) == 2
    assert not a.is_open & b.is_open
    assert all(b.claims.epoch_of(camera) > first[camera] == a.claims.epoch_of(camera) for camera in b.is_open)
    listed, readers = read_shared(client, "shop")
    assert (list(listed), set(readers.values())) == (cameras, {"a", "b"})
    # One that ends in order leaves its cameras at once, with a higher epoch for the next.
    b.claims.release()
    a.round()
    assert len(a.is_open) == 4
    assert all(a.claims.epoch_of(camera) >= first[camera] for camera in a.is_open)
    assert not client.hexists(hosts_key("shop"), "run-b")


def test_the_lease_of_a_silent_host_runs_out_and_its_late_records_are_late(client: Any, cameras: list[Camera]) -> None:
    a, b = Host(client, "a"), Host(client, "b")
    a.round()
    taken = dict(a.claims.mine)
    b.round()
    assert not b.is_open, "a's lease holds"
    assert time.monotonic() < a.claims.until < time.monotonic() + 2
    # As if a's lease had been over for long, and a were frozen.
    entry = msgspec.json.decode(client.hget(hosts_key("shop"), "run-a"))
    owner = {**entry["owner"], "boot": "another machine"}
    client.hset(hosts_key("shop"), "run-a", msgspec.json.encode({**entry, "until_ms": 1, "owner": owner}))
    b.round()
    assert b.is_open == taken.keys()
    assert all(b.claims.epoch_of(camera) == a.claims.epoch_of(camera) + 1 for camera in taken)
    a.round()
    assert not a.claims.mine
    # It takes nothing from others for as long as a lease, since they may have been away with it.
    client.hset(claims_key("shop"), mapping=dict.fromkeys(taken, "run of a dead host"))
    b.claims.release()
    a.round()
    assert not a.claims.mine
    c = Host(client, "c")
    c.round()
    assert len(c.is_open) == 2


def test_redis_that_loses_all_or_holds_rubbish_stops_no_one(client: Any, cameras: list[Camera]) -> None:
    a = Host(client, "a")
    client.hset(hosts_key("shop"), mapping={"run-x": b"\xff", "run-y": b"[" * 9999, "run-z": b"{}"})
    client.hset(claims_key("shop"), mapping={b"\xff": b"\xff", "c0": "run-x"})
    a.round()
    assert len(a.is_open) == 4
    assert client.hlen(claims_key("shop")) == 4
    epochs = {camera: a.claims.epoch_of(camera) for camera in a.is_open}
    client.flushall()
    a.round()
    assert len(a.is_open) == 4, "the list is known, and written again by identification"
    # Identification has taken records of the epochs before; a lower one would be late for ever.
    taken = {camera: epoch + 7 for camera, epoch in epochs.items()}
    repair_epochs(client, epochs_key("shop"), {str(camera): epoch for camera, epoch in taken.items()})
    a.round()
    assert all(a.claims.epoch_of(camera) > taken[camera] for camera in a.is_open)
    # A list with fewer cameras: the others are closed, then released.
    put(client, cameras[:1])
    a.round()
    a.round()
    assert a.is_open == {CAMERAS[0]}
    assert client.hgetall(claims_key("shop")) == {b"c0": b"run-a"}
