"""A site on many hosts: perceive processes and one identify on a real Redis, killed in turn."""

import json
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import redis
from msgspec import msgpack, structs

from benchmarks.faults.unguarded_redis import UnguardedRedis
from benchmarks.rtsp.clips import color_clip
from reid_stream.events import CameraDown, DaemonStopped, IdentityErased
from reid_stream.events.packed import PackedEvent
from reid_stream.link.redis_keys import epochs_key, stream_key
from reid_stream.pipeline import PerceiveCounts
from reid_stream.publish.redis_server import newest_binary
from reid_stream.records import CameraId, Crop, GlobalId, TrackId
from reid_stream.runtime.hosts.camera_claims import read_shared
from reid_stream.runtime.hosts.crops import crops_key
from reid_stream.runtime.hosts.messages import HostReport, encode
from reid_stream.runtime.workers.crops import pack
from tests.integration.program import Running, call, running, tiny_models
from tests.integration.test_secrets import family
from tests.link.hostile_entries import LAST, batch, other
from tests.publish.test_rights import PASSWORD, denied, rules

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
COLORS = {"door": (200, 30, 30), "till": (30, 200, 30)}
YARD = (30, 30, 200)


class Hosts:
    """A perceive process for each camera, and identify; each with a home of its own, on one Redis."""

    def __init__(self, opened: ExitStack, folder: Path) -> None:
        self._opened, self._folder, self._count = opened, folder, 0
        self.store = folder / "store"
        self.models = tiny_models(folder / "models")
        self.clips = {name: color_clip(folder / f"{name}.mp4", rgb, seconds=20) for name, rgb in COLORS.items()}
        server = UnguardedRedis(folder / "server")
        opened.callback(server.stop)
        admin: Any = redis.Redis.from_url(server.url)
        self.client = admin
        opened.callback(self.client.close)
        self.urls = dict.fromkeys(("perceive", "identify"), server.url)
        if newest_binary().version >= (7,):
            for user, words in rules().items():
                admin.execute_command("ACL", "SETUSER", user, *(word.replace("shop", "lab") for word in words))
            login = PASSWORD.replace(" ", "%20")
            self.urls = {user: server.url.replace("redis://", f"redis://{user}:{login}@") for user in self.urls}

    def _home(self, kind: str) -> Path:
        self._count += 1
        home = self._folder / f"{kind}-{self._count}"
        home.mkdir()
        return home

    def perceive(self, camera: str) -> Running:
        home = self._home(camera)
        part = home / "part.yaml"
        part.write_text(
            f"redis: {{url: '{self.urls['perceive']}'}}\nobserve: {{port: null}}\n"
            f"cameras:\n  - {{id: {camera}, url: {self.clips[camera]}, loop: true, max_fps: 5}}\n"
        )
        words = ("perceive", "--site", "lab", "--cameras", part, "--host", f"host-{camera}", "--plain")
        return self._opened.enter_context(running(*words, models=self.models, home=home))

    def share(self, host: str) -> Running:
        """Start a perceive process that takes its share of the site's cameras."""
        home = self._home(host)
        self.shared = home / "part.yaml"
        self.shared.write_text(
            f"site: lab\nredis: {{url: '{self.urls['perceive']}'}}\nobserve: {{port: null}}\n"
            "hosts: {lease_s: 5}\ncameras: shared\n"
        )
        words = ("perceive", "--cameras", self.shared, "--host", host, "--plain")
        return self._opened.enter_context(running(*words, models=self.models, home=home))

    def readers(self) -> dict[str, str]:
        """Return the host of each shared camera."""
        return {str(camera): host for camera, host in read_shared(self.client, "lab")[1].items()}

    def identify(self, *more: str, text: str = "") -> Running:
        home = self._home("identify")
        self.site = file = home / "site.yaml"
        file.write_text(
            f"redis: {{url: '{self.urls['identify']}'}}\nobserve: {{port: 0}}\nstate: {{lease_s: 2, snapshot_s: 1}}\n"
            f"spool: {{directory: {home / 'spool'}}}\nstore: {{folder: {self.store}, settle_s: 0}}\n{text}"
        )
        words = ("identify", "--site", "lab", "--cameras", file, "--plain")
        return self._opened.enter_context(running(*words, *more, models=self.models, home=home))

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(fields[b"event"]) for _, fields in self.client.xrange("reid:lab:events")]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events() if event["type"] == f"io.reid-stream.{kind}.v1"]

    def seen(self, camera: str) -> int:
        return sum(event["data"]["camera"] == camera for event in self.of("identity.seen"))


def goes_on(hosts: Hosts, daemon: Running, *cameras: str) -> None:
    """Wait until each camera's person is seen several times more."""
    before = {camera: hosts.seen(camera) for camera in cameras}
    daemon.until(lambda: all(hosts.seen(camera) >= before[camera] + 2 for camera in cameras))


def test_a_kill_of_either_side_changes_no_id_and_loses_no_observation(tmp_path: Path) -> None:
    with ExitStack() as opened:
        hosts = Hosts(opened, tmp_path)
        identify = hosts.identify()
        door, till = hosts.perceive("door"), hosts.perceive("till")
        identify.until(lambda: hosts.seen("door") > 1 and hosts.seen("till") > 1)
        people = {event["data"]["person"] for event in hosts.of("identity.seen")}
        assert len(people) == 2
        assert sorted(event["data"]["camera"] for event in hosts.of("camera.added")) == ["door", "till"]

        # Identification is killed: what hosts send meanwhile waits on the stream.
        os.kill(identify.process.pid, signal.SIGKILL)
        identify.process.wait()
        door.until(lambda: hosts.client.xlen(stream_key("lab")) > 10)
        identify = hosts.identify()
        goes_on(hosts, identify, "door", "till")
        assert "identities_restored" in identify.err
        identify.until(lambda: identify.err.count("event=host_up") == 2)
        # The log line comes before the events and figures of the same report.
        identify.until(lambda: _metrics(identify).get('reid_stream_host_up{host="host-door"}') == 1)
        assert _metrics(identify)["reid_stream_link_lost_total"] == 0

        # A host is killed: only its camera is away, until another process reads it.
        os.kill(door.process.pid, signal.SIGKILL)
        door.process.wait()
        goes_on(hosts, identify, "till")
        identify.until(lambda: bool(hosts.of("camera.down")))
        assert "host_lost" in identify.err
        assert [event["data"]["camera"] for event in hosts.of("camera.down")] == ["door"]
        hosts.perceive("door")
        goes_on(hosts, identify, "door")
        assert {event["data"]["person"] for event in hosts.of("identity.seen")} == people

        # Another identify waits, and takes over from one that is killed. Meanwhile a host stands still for longer than
        # a track lives without frames: its person, who does not move, is found again.
        waiting = hosts.identify("--standby")
        waiting.until(lambda: "standby_waits" in waiting.err)
        whole = family(till.process.pid)
        for pid in whole:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(3)
        for pid in whole:
            os.kill(pid, signal.SIGCONT)
        os.kill(identify.process.pid, signal.SIGKILL)
        identify.process.wait()
        identify = waiting
        goes_on(hosts, identify, "door", "till")
        assert "standby_took_over" in identify.err
        assert {event["data"]["person"] for event in hosts.of("identity.seen")} == people
        assert _metrics(identify)["reid_stream_link_lost_total"] == 0
        assert "observations_missing" not in identify.err

        # The same by an orderly end, as in an upgrade.
        waiting = hosts.identify("--standby")
        waiting.until(lambda: "standby_waits" in waiting.err)
        assert identify.terminate(60).code == 0
        identify = waiting
        goes_on(hosts, identify, "door", "till")
        assert {event["data"]["person"] for event in hosts.of("identity.seen")} == people

        # A host that ends in order says so, and leaves no entry unread.
        assert till.terminate(60).code == 0
        identify.until(lambda: hosts.of("camera.down")[-1]["data"]["camera"] == "till")
        identify.until(lambda: "host_stopped" in identify.err)
        assert identify.terminate(60).code == 0
        ids = [event["id"] for event in hosts.events()]
        assert len(set(ids)) == len(ids)
        assert not denied(hosts.client), "the users of docs/guide/redis.md have the rights they need"
        assert list(hosts.store.glob("door/*/*/track.json")), "crops came to the store"


def test_hosts_share_cameras_out_and_take_over_those_of_one_that_is_gone(tmp_path: Path) -> None:
    with ExitStack() as opened:
        hosts = Hosts(opened, tmp_path)
        cameras = "".join(
            f"  - {{id: {name}, url: {clip}, loop: true, max_fps: 5}}\n" for name, clip in hosts.clips.items()
        )
        identify = hosts.identify(text=f"hosts: {{share_cameras: true}}\ncameras:\n{cameras}")
        first = hosts.share("a")
        identify.until(lambda: hosts.readers() == {"door": "a", "till": "a"})
        goes_on(hosts, identify, "door", "till")
        people = {event["data"]["person"] for event in hosts.of("identity.seen")}
        assert len(people) == 2

        # Another joins and gets its half; `check` of a host knows who has what, and tries the cameras from here.
        second = hosts.share("b")
        identify.until(lambda: set(hosts.readers().values()) == {"a", "b"})
        goes_on(hosts, identify, "door", "till")
        checked = call("check", "--cameras", hosts.shared, models=hosts.models, home=tmp_path)
        assert "shared: 2 cameras: a has 1, b has 1" in checked.out
        assert checked.code == 0, checked.out + checked.err

        # The list changes with the file of identification; nothing is said of cameras that stay.
        yard = color_clip(tmp_path / "yard.mp4", YARD, seconds=20)
        with hosts.site.open("a") as file:
            file.write(f"  - {{id: yard, url: {yard}, loop: true, max_fps: 5}}\n")
        identify.until(lambda: hosts.seen("yard") > 1)
        assert [event["data"]["camera"] for event in hosts.of("camera.added")] == ["yard"]
        people = {event["data"]["person"] for event in hosts.of("identity.seen")}

        # One is frozen for longer than its lease: the other takes its cameras; it closes them when it goes on.
        frozen = family(second.process.pid)
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        identify.until(lambda: hosts.readers() == dict.fromkeys(("door", "till", "yard"), "a"))
        goes_on(hosts, identify, "door", "till", "yard")
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        second.until(lambda: any(f"lost={name}" in second.err for name in ("door", "till", "yard")))
        identify.until(lambda: set(hosts.readers().values()) == {"a", "b"})
        goes_on(hosts, identify, "door", "till", "yard")

        # One is killed: its cameras go to the other, with the people of before.
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
        identify.until(lambda: hosts.readers() == dict.fromkeys(("door", "till", "yard"), "b"))
        goes_on(hosts, identify, "door", "till", "yard")
        assert {event["data"]["person"] for event in hosts.of("identity.seen")} == people

        # One that ends in order leaves its cameras at once.
        assert second.terminate(60).code == 0
        assert not hosts.readers()
        identify.until(
            lambda: {event["data"]["camera"] for event in hosts.of("camera.down")} == {"door", "till", "yard"}
        )
        assert identify.terminate(60).code == 0
        ids = [event["id"] for event in hosts.events()]
        assert len(set(ids)) == len(ids)
        assert not hosts.of("camera.removed")
        assert not denied(hosts.client), "the users of docs/guide/redis.md have the rights they need"


def test_a_hostile_host_ends_nothing_and_speaks_for_no_one(tmp_path: Path) -> None:
    with ExitStack() as opened:
        hosts = Hosts(opened, tmp_path)
        identify = hosts.identify()
        hosts.perceive("door")
        identify.until(lambda: hosts.seen("door") > 1)
        hostile: Any = redis.Redis.from_url(hosts.urls["perceive"])
        opened.callback(hostile.close)
        report = HostReport(
            run="x", number=0, at=0.0, version="", model="", stats=(), up=(), frames={}, replaced={},
            counts=PerceiveCounts(), waited_s=0.0, crops_lost=0, events=(), is_last=False,
        )  # fmt: skip
        forged = [
            PackedEvent("camera.up.v1", b"\x81\xa3new" + b"\x91" * 9999),
            PackedEvent.of(IdentityErased(person=GlobalId("lab-1"), revision=9, by="x", erased_at=1.0)),
            PackedEvent.of(DaemonStopped(run="x", told_at=1.0, reason="x")),
            PackedEvent.of(CameraDown(camera=CameraId("../.."), changed_at=1.0, reason="x")),
            PackedEvent.of(CameraDown(camera=CameraId("door"), changed_at=float("inf"), reason="x")),
        ]
        messages = [
            *(encode(structs.replace(report, run=f"x{n}", events=(one,))) for n, one in enumerate(forged)),
            b"\x82\xa4type\xa6report\xa3new" + b"\x91" * 100_000,
            *(encode(structs.replace(report, run=f"flood-{n}")) for n in range(300)),
        ]
        for body in messages:
            hostile.xadd(stream_key("lab"), {"host": "hostile", "message": body})
        ahead = batch(other(camera="door", run="z", seen_at=1e12), camera="z")
        nested = batch(b"\x82\xa4kind\xabobservation\xa3new" + b"\x91" * 100_000)
        hostile.hincrby(epochs_key("lab"), "till", 2**63 - 1)
        outside = tmp_path / "outside"
        crop = Crop(
            CameraId(str(outside)), "r", TrackId(1), 1.0, "file", (0, 0, 8, 16), 0.5, np.zeros((16, 8, 3), np.uint8),
            None, "m",
        )  # fmt: skip
        parts = pack([crop], [], lambda image: cv2.imencode(".jpg", image)[1].tobytes())
        hostile.xadd(crops_key("lab"), {"parts": msgpack.encode(parts)})
        hostile.xadd(crops_key("lab"), {"parts": b"x"}, id=LAST)
        hostile.xadd(stream_key("lab"), ahead)
        hostile.xadd(stream_key("lab"), nested, id=LAST)

        hosts.perceive("till")
        identify.until(lambda: hosts.seen("till") > 0)
        goes_on(hosts, identify, "door", "till")
        identify.until(lambda: identify.err.count("host_stream_mended") == 2)
        assert not hosts.of("identity.erased")
        assert {event["data"]["person"] for event in hosts.of("identity.seen")} == {"lab-1", "lab-2"}
        assert not hosts.of("identity.retired")
        assert not hosts.of("daemon.stopped")
        assert not hosts.of("camera.down")
        assert not outside.exists()
        assert identify.terminate(60).code == 0
        assert "Traceback" not in identify.err


def test_identify_needs_a_redis_that_hosts_reach(tmp_path: Path) -> None:
    models = tiny_models(tmp_path / "models")
    ended = call("identify", "--site", "lab", "--plain", models=models, home=tmp_path)
    assert ended.code == 2
    assert "redis.url must name a Redis that all hosts of the site reach, found embedded" in ended.err
    ended = call("identify", "--site", "No Site", "--url", "redis://127.0.0.1:1", models=models, home=tmp_path)
    assert ended.code == 2
    assert "site" in ended.err


def _metrics(daemon: Running) -> dict[str, float]:
    import urllib.request

    (line,) = [line for line in daemon.err.splitlines() if "metrics on" in line]
    with urllib.request.urlopen(line.split("metrics on ")[1].strip(), timeout=10) as answer:
        text = answer.read().decode()
    pairs = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in pairs}
