"""Identification's view of perceive hosts, on a real Redis."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from reid_stream.config.settings import Redis
from reid_stream.events import Event
from reid_stream.link.redis_keys import stream_key
from reid_stream.link.redis_receiver import RedisReceiver
from reid_stream.link.redis_sender import RedisSender
from reid_stream.observe.host_metrics import HostMetrics
from reid_stream.pipeline import PerceiveCounts
from reid_stream.publish.embedded_redis import EmbeddedRedis
from reid_stream.publish.redis_client import connect
from reid_stream.records import CameraId, Perceived, TrackEnded, TrackId
from reid_stream.runtime.hosts import messages
from reid_stream.runtime.hosts.messages import HostReport
from reid_stream.runtime.hosts.remote_perception import RemotePerception
from reid_stream.runtime.watchdog import HungStage
from tests.link.conftest import server as server  # noqa: PLC0414 (a fixture)

DOOR, TILL = CameraId("door"), CameraId("till")


class Daemon:
    """Ignores all reports; ends `watch` when there is nothing left to read."""

    has_failed = False

    def check(self, limit_s: float) -> None: ...
    def count_frames(self, frames: Mapping[CameraId, int]) -> None: ...
    def publish(self, events: Sequence[Event]) -> None: ...
    def report_camera(self, change: object, after: int = 0) -> None: ...
    def change_known_cameras(self, added: Sequence[CameraId], removed: Sequence[CameraId]) -> None: ...
    def report_hang(self, stuck: HungStage, action: Literal["restarted", "ended"], *, is_ours: bool = True) -> None: ...
    def report_due_cameras(self, after: int) -> None: ...
    def commit(self, events: Sequence[Event], records: Sequence[Perceived], now: float) -> None: ...


class Site:
    """A perceive host with two cameras, and identification that follows it."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._sender = RedisSender(client, "shop", "attic")
        self._number = 0

    def send(self, sequence: int, *cameras: CameraId) -> None:
        """Send a record of each camera."""
        self._sender.send(
            [TrackEnded(run="r", camera=camera, track=TrackId(1), sequence=sequence, seen_at=0.0) for camera in cameras]
        )

    def lose(self) -> None:
        """Delete the newest entry of the stream."""
        (*_, (entry, _fields)) = self.client.xrange(stream_key("shop"))
        self.client.xdel(stream_key("shop"), entry)

    def report(self) -> None:
        report = HostReport(
            run="r",
            number=self._number,
            at=time.time(),
            version="0",
            model="m",
            stats=(),
            up=(),
            frames={},
            replaced={},
            counts=PerceiveCounts(),
            waited_s=0.0,
            crops_lost=0,
            events=(),
            is_last=False,
            sent=self._sender.accepted,
        )
        self._number += 1
        assert self._sender.try_message(messages.encode(report))

    def identification(self) -> RemotePerception:
        def link(on_message: Callable[[str, bytes], None]) -> RedisReceiver:
            return RedisReceiver(self.client, "shop", on_message=on_message)

        metrics = HostMetrics(CollectorRegistry())
        return RemotePerception(link, model="m", cameras=(), limit_s=10, metrics=metrics, on_cameras=lambda _: None)

    def read(self, perception: RemotePerception) -> list[tuple[str, str]]:
        """Read all that is on the stream; return the cameras that are logged as missing, with their host."""
        with capture_logs() as logs:
            while perception.link.receive(0.2) or self.client.xlen(stream_key("shop")):
                perception.link.acknowledge()
                time.sleep(0.1)
            stop = threading.Event()
            watching = threading.Thread(target=perception.watch, args=(Daemon(), stop))
            watching.start()
            time.sleep(0.5)
            stop.set()
            watching.join()
        return [(line["host"], line["camera"]) for line in logs if line["event"] == "observations_missing"]


@pytest.fixture
def site(server: EmbeddedRedis) -> Iterator[Site]:
    client = connect(Redis(), url=server.url)
    yield Site(client)
    client.close()


@pytest.mark.slow
def test_a_camera_whose_records_do_not_come_from_the_stream_is_logged_once(site: Site) -> None:
    perception = site.identification()
    site.send(0, DOOR, TILL)
    site.report()
    assert site.read(perception) == []
    site.send(1, DOOR)
    site.send(1, TILL)
    site.lose()
    site.report()
    site.report()
    assert site.read(perception) == [("attic", "till")]
    site.send(2, DOOR, TILL)
    site.report()
    assert site.read(perception) == []


@pytest.mark.slow
def test_what_an_earlier_identification_took_is_not_missing_and_what_is_lost_after_it_is(site: Site) -> None:
    site.send(0, DOOR, TILL)
    assert site.read(site.identification()) == []
    following = site.identification()
    site.report()
    assert site.read(following) == []
    site.send(1, TILL)
    site.lose()
    site.report()
    assert site.read(following) == [("attic", "till")]
