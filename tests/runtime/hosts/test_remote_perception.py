"""Identification's view of perceive hosts, on a real Redis."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from reid_stream.config.settings import Redis
from reid_stream.events import CameraDown, CameraUp, Event
from reid_stream.events.packed import PackedEvent
from reid_stream.ingest.changes import CameraChange
from reid_stream.ingest.stats import CameraStats
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
    def report_camera(self, change: CameraChange, after: int = 0) -> None: ...
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


class Listening(Daemon):
    """Keeps the changes of cameras."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []

    def report_camera(self, change: CameraChange, after: int = 0) -> None:
        self.changes.append((type(change).__name__, change.reason if isinstance(change, CameraDown) else ""))


def report_of(run: str, number: int, *, has_door: bool, events: Sequence[Event] = ()) -> bytes:
    up = CameraUp(camera=DOOR, changed_at=1.0, frame_size=(64, 64), codec="h264", clock="file")
    return messages.encode(
        HostReport(
            run=run, number=number, at=time.time(), version="0", model="m",
            stats=(CameraStats(DOOR, name="door", state="up"),) if has_door else (),
            up=(PackedEvent.of(up),) if has_door else (), frames={}, replaced={}, counts=PerceiveCounts(),
            waited_s=0.0, crops_lost=0, events=tuple(map(PackedEvent.of, events)), is_last=False,
        )
    )  # fmt: skip


def test_a_camera_that_has_moved_is_down_with_its_new_host_whatever_the_old_one_says(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reid_stream.runtime.hosts.remote_perception.SILENT_S", 0.3)
    perception, daemon, stop = site.identification(), Listening(), threading.Event()
    watching = threading.Thread(target=perception.watch, args=(daemon, stop))
    watching.start()

    def until(count: int) -> None:
        end = time.monotonic() + 20
        while len(daemon.changes) < count:
            assert time.monotonic() < end, daemon.changes
            time.sleep(0.02)

    perception.note("a", report_of("run-a", 0, has_door=True))
    until(2)
    perception.note("b", report_of("run-b", 0, has_door=True))
    late = CameraDown(camera=DOOR, changed_at=2.0, reason="stopped")
    perception.note("a", report_of("run-a", 1, has_door=False, events=[late]))
    until(4)
    stop.set()
    watching.join()
    assert daemon.changes == [
        ("CameraUp", ""), ("CameraDown", "host a is silent"), ("CameraUp", ""), ("CameraDown", "host b is silent"),
    ]  # fmt: skip
    assert perception.stats[DOOR].reason == "host b is silent"
