"""A site's stream on a real Redis, and a real MQTT broker."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from reid_stream.config.settings import Redis
from reid_stream.events import CameraUp, DaemonStarted, Event, IdentityEntered, IdentityLeft, IdentityNamed
from reid_stream.publish.cloudevents import encode
from reid_stream.publish.embedded_redis import EmbeddedRedis
from reid_stream.publish.live_keys import LiveState, stream_key
from reid_stream.publish.redis_client import connect
from reid_stream.records import CameraId, GlobalId, TrackId

T0 = 1_790_000_000.0
RUN = "run1"
DOOR, TILL = CameraId("door"), CameraId("till")
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="an MQTT broker: mosquitto is not installed")


@dataclass
class Stream:
    url: str
    redis: Any
    sequence: int = 0
    live: LiveState = field(default_factory=lambda: LiveState("shop"))

    def publish(self, *events: Event) -> list[str]:
        """Put events on the stream with their live keys, as the daemon does; return their positions."""
        places = []
        for event in events:
            body = encode(event, site="shop", run=RUN, sequence=self.sequence)
            self.sequence += 1
            for command in self.live.commands([event]):
                self.redis.execute_command(*command)
            self.live.done()
            places.append(self.redis.xadd(stream_key("shop"), {"type": event.type, "event": body}).decode())
        return places

    def forge(self, body: bytes | str) -> None:
        """Put an entry on the stream as another program may."""
        self.redis.xadd(stream_key("shop"), {"type": "io.reid-stream.identity.entered.v1", "event": body})


@contextmanager
def stream(folder: Path) -> Iterator[Stream]:
    """A site `shop` with the cameras door and till, both up."""
    with EmbeddedRedis(folder / "redis") as redis:
        settings = Redis.model_validate({"url": redis.url})
        with connect(settings) as client:
            made = Stream(redis.url, client)
            made.publish(
                DaemonStarted(run=RUN, told_at=T0, version="1", cameras=(DOOR, TILL), model="m"),
                *(
                    CameraUp(camera=camera, changed_at=T0, frame_size=(640, 480), codec="h264", clock="rtcp")
                    for camera in (DOOR, TILL)
                ),
            )
            yield made


def forge_events(site: Stream) -> None:
    """Put events and live keys as no daemon writes them among those of a site."""
    body = encode(entered("shop-7"), site="shop", run=RUN, sequence=10**6)
    event = json.loads(body)
    for change in ({"id": "i" * 1000}, {"type": "io.reid-stream.identity.entered.#.v1"}, {"subject": "x" * 2**20}):
        site.forge(json.dumps({**event, **change}))
    for data in (
        {"camera": "a/#"}, {"camera": "a\0b"}, {"person": "shop-+"}, {"person": "p" * 70_000}, {"seen_at": 1e300},
        {"since": -1e300, "seen_at": -1e300},
    ):  # fmt: skip
        site.forge(json.dumps({**event, "data": {**event["data"], **data}}))
    site.forge(body.replace(b'"data":{', b'"data":{"person":"shop-8"},"data":{'))
    site.forge(body.replace(b'"data":{', b'"data":{"camera":"till","camera":"door",'))
    site.forge(body.replace(b"{", b'{"x\xff":1,', 1))
    site.forge(b"[" * 100_000)
    naming = IdentityNamed(person=GlobalId("shop-#/+"), revision=2, label="Eve", by="op", named_at=T0)
    site.forge(encode(naming, site="shop", run=RUN, sequence=10**6))
    site.redis.hset("reid:shop:identity:shop-#", "label", "Eve")
    site.redis.hset("reid:shop:identity:shop-9", mapping={"label": "Eve", "camera": "a/#"})
    site.redis.sadd("reid:shop:present:+", "shop-9")


def entered(person: str, camera: CameraId = DOOR, at: float = T0, track: int = 1) -> IdentityEntered:
    return IdentityEntered(
        person=GlobalId(person), revision=1, camera=camera, track=TrackId(track), seen_at=at, clock="rtcp",
        box=(10, 10, 74, 138), frame_size=(640, 480), score=0.9, state="confirmed", similarity=0.8,
        probability=0.97, model="m", since=at, run=RUN,
    )  # fmt: skip


def left(person: str, camera: CameraId = DOOR, since: float = T0, until: float = T0 + 10) -> IdentityLeft:
    return IdentityLeft(
        person=GlobalId(person), revision=1, camera=camera, since=since, last_seen_at=until, clock="rtcp",
        state="confirmed", snapshot=f"{camera}/{RUN}/1/{round(since * 1000)}",
    )  # fmt: skip


def wait(until: Callable[[], object], limit_s: float = 30) -> None:
    """Wait until something is true."""
    end = time.monotonic() + limit_s
    while not until():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


class Mosquitto:
    """A broker that keeps nothing over a restart."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.config = folder / "mosquitto.conf"
        passwords = folder / "passwords"
        subprocess.run(
            ["mosquitto_passwd", "-c", "-b", passwords, "home", "secret1234"], check=True, capture_output=True
        )
        self.config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
            "persistence false\nuser root\n"
        )
        self.start()

    def start(self) -> None:
        assert MOSQUITTO is not None
        self.process = subprocess.Popen([MOSQUITTO, "-c", self.config], stderr=subprocess.DEVNULL)

        def answers() -> bool:
            with suppress(OSError):
                Listener(self.port).close()
                return True
            return False

        wait(answers)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def url(self) -> str:
        return f"mqtt://home:secret1234@127.0.0.1:{self.port}"


class Listener:
    """A client of the broker that keeps the latest payload of each topic, and every event."""

    def __init__(self, port: int) -> None:
        self.topics: dict[str, str] = {}
        self.events: list[str] = []
        self.retained: set[str] = set()
        self.ready = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.username_pw_set("home", "secret1234")
        self.client.on_message = self._message
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        if not self.ready.wait(10):
            raise OSError("no broker")

    def _message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if "/events/" in message.topic:
            self.events.append(message.payload.decode())
            return
        self.topics[message.topic] = message.payload.decode()
        if message.retain:
            self.retained.add(message.topic)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
