"""A link between hosts: one Redis stream per site, `reid:<site>:observations`, with a consumer group.

One entry per record. The receiver deletes entries when it acknowledges them, so the stream holds only records in
transit; senders wait while it is long. A sender without an answer sends again; the receiver identifies a record by
(run, camera, sequence) and drops duplicates. After a crash of the receiver, unacknowledged records come again in order.
"""

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reid_stream.link.protocol import MAX_WAITING, LinkClosedError
from reid_stream.records import CameraId, Perceived, decode, encode

if TYPE_CHECKING:
    import redis

_GROUP = "identify"
_CONSUMER = "identify"
"""The same after a restart, so that the receiver gets its unacknowledged entries again."""
_PAGE = 500
_WAIT_S = 0.02
_RETRY_S = 0.5
_STALE_RUNS = 100
"""Runs whose last sequence numbers are remembered, by camera."""


def stream_key(site: str) -> str:
    """Return the key of the stream."""
    return f"reid:{site}:observations"


class RedisSender:
    """Perception's end. The client must not retry commands, as those of `publish.redis_client.connect` do not."""

    def __init__(self, client: "redis.Redis", site: str, max_waiting: int = MAX_WAITING) -> None:
        self.faults = 0
        """Failed requests."""
        self._client = client
        self._key = stream_key(site)
        self._max_waiting = max_waiting
        self._closing = threading.Event()

    def send(self, batch: Sequence[Perceived]) -> None:
        """Send records; waits while the link is full or Redis is down.

        Raises:
            LinkClosedError: the link is closed.
        """
        import redis

        bodies = [encode(record) for record in batch]
        while not self._closing.is_set():
            try:
                if bodies and self._client.xlen(self._key) >= self._max_waiting:
                    self._closing.wait(_WAIT_S)
                    continue
                pipeline = self._client.pipeline(transaction=True)
                for body in bodies:
                    pipeline.xadd(self._key, {"record": body})
                pipeline.execute()
            except (redis.exceptions.RedisError, OSError):
                self.faults += 1
                self._client.connection_pool.disconnect()
                self._closing.wait(_RETRY_S)
            else:
                return
        raise LinkClosedError("the link is closed")

    def close(self) -> None:
        """Close; what was sent stays on the stream."""
        self._closing.set()


class RedisReceiver:
    """Identification's end; one per site."""

    def __init__(self, client: "redis.Redis", site: str) -> None:
        self.faults = 0
        """Failed requests."""
        self.duplicates = 0
        """Records received more than once and dropped."""
        self.malformed = 0
        """Entries that are no records, dropped."""
        self._client = client
        self._key = stream_key(site)
        self._is_closed = threading.Event()
        self._has_group = False
        self._resume: bytes | None = b"0"
        self._open: list[bytes] = []
        self._last: dict[str, dict[CameraId, int]] = {}

    def receive(self, timeout_s: float) -> list[Perceived]:
        """Return up to a page of records; empty after `timeout_s`, when closed, or while Redis is down."""
        import redis

        deadline = time.monotonic() + timeout_s
        while not self._is_closed.is_set():
            left_s = deadline - time.monotonic()
            try:
                records = self._read(max(left_s, 0))
            except (redis.exceptions.RedisError, OSError) as error:
                self.faults += 1
                self._has_group = False
                # Entries of a lost answer count as delivered: ask again for all that are not acknowledged.
                self._resume = b"0"
                if not isinstance(error, redis.exceptions.ResponseError):
                    self._client.connection_pool.disconnect()
                self._is_closed.wait(min(_RETRY_S, max(left_s, 0)))
                records = []
            if records or time.monotonic() >= deadline:
                return records
        return []

    def acknowledge(self) -> None:
        """Delete all received entries from the stream; while Redis is down they stay, and are deleted later."""
        import redis

        if not self._open:
            return
        try:
            pipeline = self._client.pipeline(transaction=True)
            pipeline.xack(self._key, _GROUP, *self._open)
            pipeline.xdel(self._key, *self._open)
            pipeline.execute()
        except (redis.exceptions.RedisError, OSError):
            self.faults += 1
            return
        self._open.clear()

    def close(self) -> None:
        """Close; unacknowledged records go to the next receiver."""
        self._is_closed.set()

    def _read(self, wait_s: float) -> list[Perceived]:
        if not self._has_group:
            self._make_group()
        start = self._resume if self._resume is not None else b">"
        block = None if self._resume is not None else max(int(min(wait_s, 1.0) * 1000), 1)
        answer: Any = self._client.xreadgroup(_GROUP, _CONSUMER, {self._key: start}, count=_PAGE, block=block)
        if isinstance(answer, dict):
            pages: Any = next(iter(answer.values()), [])
            entries = pages[0] if pages and isinstance(pages[0], list) else pages
        else:
            entries = answer[0][1] if answer else []
        if self._resume is not None:
            self._resume = entries[-1][0] if entries else None
        known = set(self._open)
        records = []
        for entry, fields in entries:
            if entry not in known:
                self._open.append(entry)
            record = self._take(fields)
            if record is not None:
                records.append(record)
        return records

    def _take(self, fields: dict[bytes, bytes]) -> Perceived | None:
        try:
            record = decode(fields[b"record"])
        except (KeyError, ValueError):
            self.malformed += 1
            return None
        if record.run not in self._last and len(self._last) >= _STALE_RUNS:
            del self._last[next(iter(self._last))]
        last = self._last.setdefault(record.run, {})
        if record.sequence <= last.get(record.camera, -1):
            self.duplicates += 1
            return None
        last[record.camera] = record.sequence
        return record

    def _make_group(self) -> None:
        import redis

        try:
            self._client.xgroup_create(self._key, _GROUP, id="0", mkstream=True)
        except redis.exceptions.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._has_group = True
