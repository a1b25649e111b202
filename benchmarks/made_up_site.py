"""A console's server over made-up people: their events on Redis, their tracks in a store."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reid_stream.config.settings import Settings
from reid_stream.events import Event, IdentityEntered, IdentityLeft
from reid_stream.publish.cloudevents import encode
from reid_stream.publish.live_keys import stream_key
from reid_stream.records import CameraId, Floats, GlobalId, TrackId
from reid_stream.store.layout import StoredTrack, write
from reid_stream.web.server import WebServer
from reid_stream.web.site import open_site

if TYPE_CHECKING:
    import redis

T0 = 1_790_000_000.0
"""Time of the first sighting, UTC seconds."""
RUN = "run1"
_STAY_S = 10.0
_BOX = (10.0, 10.0, 74.0, 138.0)


def visit(person: str, camera: str, track: int, at: float, probability: float | None = 0.99) -> list[Event]:
    """Return the events of a person who comes, and goes ten seconds later."""
    entered = IdentityEntered(
        person=GlobalId(person), revision=1, camera=CameraId(camera), track=TrackId(track), seen_at=at, clock="rtcp",
        box=_BOX, frame_size=(640, 480), score=0.9, state="confirmed", similarity=0.8, probability=probability,
        model="m", since=at, run=RUN,
    )  # fmt: skip
    left = IdentityLeft(
        person=GlobalId(person), revision=1, camera=CameraId(camera), since=at, last_seen_at=at + _STAY_S, clock="rtcp",
        state="confirmed",
    )  # fmt: skip
    return [entered, left]


def store_track(
    store: Path, person: str, camera: str, track: int, at: float, bundle: str, crops: Sequence[bytes], vectors: Floats
) -> Path:
    """Put a track into a store, a crop a second.

    Args:
        store: folder of the store.
        person: global ID.
        camera: its ID.
        track: its number.
        at: time of the first crop, UTC seconds.
        bundle: hash of the embedder.
        crops: one to three JPEGs; of several the second is the best.
        vectors: (crops, d), scaled to unit length here.
    """
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    record = StoredTrack(
        camera=CameraId(camera), run=RUN, track=TrackId(track), times=[at + number for number in range(len(crops))],
        boxes=[_BOX] * len(crops), qualities=[0.5, 0.9, 0.6][: len(crops)], clock="rtcp", global_id=GlobalId(person),
        revision=1, bundle=bundle, vectors="vectors.npy",
    )  # fmt: skip
    return write(store, record, list(crops), unit)


def publish(client: "redis.Redis", site: str, events: Sequence[Event], sequence: int = 0) -> list[str]:
    """Put events on a site's stream, numbered from `sequence`; return their positions."""
    pipe: Any = client.pipeline(transaction=False)
    for number, event in enumerate(events, sequence):
        body = encode(event, site=site, run=RUN, sequence=number)
        pipe.xadd(stream_key(site), {"type": event.type, "event": body})
    return [place.decode() for place in pipe.execute()]


@contextmanager
def serving(settings: Settings, path: Path | None = None) -> Iterator[WebServer]:
    """Serve a site's console on a free port until the block ends; `path`: a cams.yaml to change."""
    stop = threading.Event()
    with open_site(settings, path=path) as site:
        server = WebServer(site, settings.web.host, 0)
        thread = threading.Thread(target=server.run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            stop.set()
            thread.join(10)
