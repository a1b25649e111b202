"""Send crops from perceive hosts to the tracklet store beside identification; dropped and counted without room.

A stream of its own, `reid:{<site>}:crops`, bounded as the observations are. Identification says by a key that expires
that it has a store; without one, hosts send nothing. Crops travel as JPEG of the store's quality.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import structlog

from reid_stream.images import UInt8
from reid_stream.link import foreign
from reid_stream.link.redis_repair import replace_full
from reid_stream.pipeline import Keep
from reid_stream.records import Crop, TrackEnded
from reid_stream.runtime.workers.crops import pack, unpack
from reid_stream.store.writer import encode_crop

if TYPE_CHECKING:
    import redis

MOST = 500
"""Steps on the stream from which on crops are dropped."""
_MOST_HERE = 50
"""Steps that wait in this process."""
_WANTED_S = 15.0
"""Duration of the key that asks for crops, seconds."""
_LOOK_S = 2.0
"""Interval at which a host looks whether crops are wanted, seconds."""
_BLOCK_MS = 500
_RETRY_S = 1.0
_PAGE = 20
_log = structlog.get_logger(__name__)
_parts = msgspec.msgpack.Decoder(list[bytes])


def crops_key(site: str) -> str:
    """Return the key of the stream."""
    return f"reid:{{{site}}}:crops"


def wanted_key(site: str) -> str:
    """Return the key that exists while identification stores crops."""
    return f"reid:{{{site}}}:crops:wanted"


class RedisCropSender:
    """A host's end; `take` is a `pipeline.Keep`."""

    def __init__(self, client: "redis.Redis", site: str) -> None:
        """Start the thread that sends. `client` belongs to the sender, which closes it."""
        self.lost = 0
        """Crops for which there was no room."""
        self._client: Any = client
        self._site = site
        self._queue: Queue[tuple[Sequence[Crop], Sequence[TrackEnded]]] = Queue(_MOST_HERE)
        self._is_wanted, self._looked_at = False, float("-inf")
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._send_all, name="crops", daemon=True)
        self._thread.start()

    def take(self, crops: Sequence[Crop], ended: Sequence[TrackEnded]) -> None:
        """Send the crops and ended tracks of one step; never waits."""
        if not self._is_wanted or not (crops or ended):
            return
        try:
            # Copied, since a crop is a view of its frame, which the queue would keep in memory.
            self._queue.put_nowait(([replace(crop, image=crop.image.copy()) for crop in crops], ended))
        except Full:
            self.lost += len(crops)

    def close(self, timeout_s: float = 2.0) -> None:
        """Send what was taken, for at most `timeout_s`, and end."""
        self._closing.set()
        self._thread.join(timeout_s)
        self._client.close()

    def _send_all(self) -> None:
        import redis

        while not (self._closing.is_set() and self._queue.empty()):
            crops: Sequence[Crop] = ()
            try:
                self._look()
                with suppress(Empty):
                    crops, ended = self._queue.get(timeout=_LOOK_S / 4)
                    self._send(crops, ended)
            except (redis.exceptions.RedisError, OSError):
                self.lost += len(crops)
                self._client.connection_pool.disconnect()
                if self._closing.wait(_RETRY_S):
                    return

    def _look(self) -> None:
        if time.monotonic() - self._looked_at > _LOOK_S:
            self._is_wanted = bool(self._client.exists(wanted_key(self._site)))
            self._looked_at = time.monotonic()

    def _send(self, crops: Sequence[Crop], ended: Sequence[TrackEnded]) -> None:
        key = crops_key(self._site)
        if self._client.xlen(key) >= MOST:
            self.lost += len(crops)
            return
        self._client.xadd(key, {"parts": msgspec.msgpack.encode(pack(crops, ended, encode_crop))})


class RedisCropReceiver:
    """Identification's end: a thread that passes everything to the store."""

    def __init__(self, client: "redis.Redis", site: str, keep: Keep, now: Callable[[], float] = time.time) -> None:
        """Start it. `client` belongs to the receiver, which closes it; `now` returns the site's time, UTC seconds."""
        self.malformed = 0
        """Messages that hold no crops."""
        self._client: Any = client
        self._key, self._wanted_key, self._keep = crops_key(site), wanted_key(site), keep
        self._asked_at, self._now = float("-inf"), now
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read_all, name="crops", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; what was not read waits for the next identification."""
        self._closing.set()
        self._thread.join(2 * _RETRY_S)
        self._client.close()

    def _read_all(self) -> None:
        import redis

        while not self._closing.is_set():
            try:
                self._read()
            except (redis.exceptions.RedisError, OSError):
                self._client.connection_pool.disconnect()
                self._closing.wait(_RETRY_S)

    def _read(self) -> None:
        if time.monotonic() - self._asked_at > _WANTED_S / 3:
            self._client.set(self._wanted_key, "1", px=int(_WANTED_S * 1000))
            self._asked_at = time.monotonic()
            replace_full(self._client, self._key)
        answer = self._client.xread({self._key: "0"}, count=_PAGE, block=_BLOCK_MS)
        for entry, fields in answer[0][1] if answer else ():
            try:
                foreign.check_size(fields)
                crops, ended = unpack(_parts.decode(fields[b"parts"]), _from_jpeg)
                for crop in crops:
                    foreign.check(crop.camera, crop.run, crop.track, crop.at, self._now())
                for end in ended:
                    foreign.check(end.camera, end.run, end.track, end.seen_at, self._now())
                self._keep(crops, ended)
            except Exception as error:  # noqa: BLE001 (one message must not end the thread that stores all others)
                self.malformed += 1
                _log.error("link_message_invalid", reason=str(error)[:200])
            self._client.xdel(self._key, entry)


def _from_jpeg(body: bytes, shape: tuple[int, int, int]) -> UInt8:
    read = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    if read is None or read.shape != shape:
        raise ValueError(f"a crop must be a JPEG of the shape {shape}")
    return np.ascontiguousarray(read[..., ::-1]).astype(np.uint8, copy=False)
