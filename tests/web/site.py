"""A small shop behind a real server: its events on its own Redis, its crops in a store."""

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from benchmarks.made_up_site import RUN, T0, publish, serving, store_track, visit
from reid_stream.bundles import catalog
from reid_stream.config.settings import Camera, Redis, Settings, Store, Web
from reid_stream.events import CameraUp, DaemonStarted, Event
from reid_stream.publish.embedded_redis import EmbeddedRedis
from reid_stream.publish.redis_client import connect
from reid_stream.records import CameraId
from tests.store.figures import figure

__all__ = ("RUN", "T0", "visit")
COLORS = {"shop-1": (200, 30, 30), "shop-2": (30, 160, 40), "shop-3": (20, 40, 200), "shop-9": (200, 190, 20)}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class _Still(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(_Still)


@dataclass
class Shop:
    url: str
    port: int
    settings: Settings
    redis: Any
    sequence: int = 0

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Make a request; `body` is sent as JSON unless it is bytes."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(self.url + path, data, sent, method=method)
        try:
            with _opener.open(request, timeout=30) as answer:
                return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())

    def ask_patiently(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Ask again for as long as the server wants fewer requests of this address."""
        for _ in range(100):
            answer = self.ask(method, path, body, **headers)
            if answer.status != 429:
                break
            time.sleep(0.5)
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def publish(self, events: Sequence[Event]) -> list[str]:
        """Put events on the stream; return their positions."""
        places = publish(self.redis, "shop", events, self.sequence)
        self.sequence += len(events)
        return places

    @property
    def store(self) -> Path:
        assert self.settings.store.folder is not None
        return self.settings.store.folder


def stored(store: Path, person: str, camera: str, track: int, at: float, bundle: str, dim: int) -> Path:
    """Put a track of three crops into the store; tracks of one person have like vectors."""
    random = np.random.default_rng(track)
    crops = [cv2.imencode(".jpg", figure(COLORS[person], (60, 60, 60), random))[1].tobytes() for _ in range(3)]
    base = np.random.default_rng(int(person.rpartition("-")[2])).normal(size=dim)
    vectors = (base + 0.1 * random.normal(size=(3, dim))).astype(np.float32)
    return store_track(store, person, camera, track, at, bundle, crops, vectors)


VISITS = (
    ("shop-1", "door", 1, 0.0, None),
    ("shop-2", "door", 2, 5.0, None),
    ("shop-1", "till", 3, 30.0, 0.62),
    ("shop-3", "till", 4, 40.0, None),
)


@contextmanager
def shop(folder: Path, web: Web | None = None, cams: Path | None = None) -> Iterator[Shop]:
    """Serve a shop of two cameras and three people, one of whom was on both; `cams`: a cams.yaml to change."""
    web = (web or Web()).model_copy(update={"port": 0})
    with EmbeddedRedis(folder / "redis") as redis:
        settings = Settings(
            site="shop",
            redis=Redis.model_validate({"url": redis.url}),
            cameras=(
                Camera.model_validate({"id": "door", "url": "rtsp://user:hunter22@10.0.0.5/door?key=hunter23"}),
                Camera.model_validate({"id": "till", "url": "rtsp://10.0.0.6/till"}),
            ),
            store=Store(folder=folder / "store"),
            web=web,
        )
        _, embedder = catalog.embedder("default")
        for person, camera, track, after, _ in VISITS:
            stored(folder / "store", person, camera, track, T0 + after, embedder.hash, embedder.dim)
        client = connect(settings.redis)
        made = Shop("", 0, settings, client)
        cameras = (CameraId("door"), CameraId("till"))
        made.publish([DaemonStarted(run=RUN, told_at=T0, version="1", cameras=cameras, model="m")])
        for camera in cameras:
            made.publish([CameraUp(camera=camera, changed_at=T0, frame_size=(640, 480), codec="h264", clock="rtcp")])
        for person, camera, track, after, probability in VISITS:
            made.publish(visit(person, camera, track, T0 + after, probability))
        with closing(client), serving(settings, cams) as server:
            made.url, made.port = server.url.rstrip("/"), server.port
            yield made


def instructions(made: Shop) -> list[dict[str, Any]]:
    """Return what was handed to the daemon."""
    entries = made.redis.xrange("reid:shop:instructions")
    return [msgspec.json.decode(fields[b"instruction"]) for _, fields in entries]


def raw(made: Shop, request: bytes, timeout_s: float = 15) -> bytes:
    """Send bytes as they are and return all that comes back."""
    with socket.create_connection(("127.0.0.1", made.port), timeout_s) as connection:
        connection.sendall(request)
        found = b""
        while part := connection.recv(65536):
            found += part
    return found
