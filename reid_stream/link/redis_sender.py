"""Perception's end of the link between hosts; `redis_receiver` describes the link."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from reid_stream.link.protocol import LinkClosedError
from reid_stream.link.redis_keys import epochs_key, stream_key
from reid_stream.link.service import Service
from reid_stream.records import CameraId, Perceived, encode

if TYPE_CHECKING:
    import redis

MAX_ENTRIES = 2_000
"""Entries on the stream from which on a sender waits: 10 seconds of 200 cameras at 5 frames/s in batches of 5."""
MOST_RECORDS = 100
"""Records of one entry; a larger batch is several."""
_WAIT_S = 0.02
_RETRY_S = 0.5


class RedisSender:
    """Perception's end, for one thread. The client belongs to it alone and must not retry commands."""

    def __init__(
        self,
        client: "redis.Redis",
        site: str,
        host: str = "",
        max_waiting: int = MAX_ENTRIES,
        epoch_of: Callable[[CameraId], int] | None = None,
    ) -> None:
        """Send nothing yet.

        Args:
            client: Redis.
            site: whose observations.
            host: name of this host.
            max_waiting: see `MAX_ENTRIES`.
            epoch_of: returns the epoch of a camera; None for the next one at the camera's first record.
        """
        self.faults = 0
        """Failed requests."""
        self.waited_s = 0.0
        """Time spent waiting for room or for Redis, seconds."""
        self.accepted: dict[CameraId, tuple[str, int]] = {}
        """Run and sequence number of the newest record of each camera that Redis has stored."""
        self._service = Service()
        self._client: Any = client
        self._site, self._host = site, host
        self._key = stream_key(site)
        self._max_waiting = max_waiting
        self._length = max_waiting
        """Entries on the stream after the last one was added; at first unknown."""
        self._epochs: dict[str, int] = {}
        self._epoch_of = epoch_of
        self._closing = threading.Event()

    @property
    def fault(self) -> str | None:
        """Why nothing can be sent now; None while it can."""
        return self._service.fault

    def send(self, batch: Sequence[Perceived]) -> None:
        """Send records; waits while the link is full or Redis is down.

        Raises:
            LinkClosedError: the link is closed.
        """
        began = time.monotonic()
        try:
            while not self._closing.is_set():
                if self._try(batch):
                    self._service.note_sent(time.monotonic() - began)
                    return
                if self.fault is None:
                    self._service.note_wait(time.monotonic() - began, self._length)
                self._closing.wait(_WAIT_S if self.fault is None else _RETRY_S)
        finally:
            self.waited_s += time.monotonic() - began
        raise LinkClosedError("the link is closed")

    def try_message(self, body: bytes) -> bool:
        """Send a message of this host; False if the link is full or Redis is down."""
        return self._guarded(lambda: self._append([{"host": self._host, "message": body}]))

    def close(self) -> None:
        """Close; what was sent stays on the stream."""
        self._closing.set()

    def _try(self, batch: Sequence[Perceived]) -> bool:
        def send() -> bool:
            epochs = {camera: self._epoch(camera) for camera in {record.camera for record in batch}}
            parts = [batch[at : at + MOST_RECORDS] for at in range(0, len(batch), MOST_RECORDS)]
            packed = msgspec.msgpack.encode(epochs)
            return self._append(
                [
                    {"host": self._host, "epochs": packed, "records": msgspec.msgpack.encode([*map(encode, part)])}
                    for part in parts
                ]
            )

        if batch and not self._guarded(send):
            return False
        self.accepted = {**self.accepted, **{record.camera: (record.run, record.sequence) for record in batch}}
        return True

    def _guarded(self, send: Callable[[], bool]) -> bool:
        import redis

        try:
            is_sent = send()
        except (redis.exceptions.RedisError, OSError) as error:
            self.faults += 1
            self._service.note(str(error))
            self._client.connection_pool.disconnect()
            return False
        self._service.note(None)
        return is_sent

    def _append(self, entries: Sequence[dict[str, Any]]) -> bool:
        if self._length >= self._max_waiting:
            self._length = self._client.xlen(self._key)
            if self._length >= self._max_waiting:
                return False
        pipeline = self._client.pipeline(transaction=True)
        for fields in entries:
            pipeline.xadd(self._key, fields)
        pipeline.xlen(self._key)
        self._length = int(pipeline.execute()[-1])
        return True

    def _epoch(self, camera: CameraId) -> int:
        if self._epoch_of is not None:
            return self._epoch_of(camera)
        if camera not in self._epochs:
            self._epochs[camera] = int(self._client.hincrby(epochs_key(self._site), camera, 1))
        return self._epochs[camera]
