"""A link between hosts: one Redis stream per site, `reid:{<site>}:observations`, read by a consumer group.

    perceive: records ─▶ XADD, one entry a batch ─▶ stream ─▶ XREADGROUP ─▶ records :identify
              waits while the stream is long          XDEL ◀── once the state they led to is stored

Senders wait while the stream is long, so it holds what is in transit and no more; it is never trimmed, since that would
lose what was accepted. A sender without an answer sends again: the receiver knows a record by (run, camera, sequence)
and drops duplicates. Each sender has an epoch for each of its cameras, given by Redis, higher than that of the sender
before it: what a frozen host still sends after another has taken over its camera is late, and dropped. Entries are
deleted once what followed from them is stored; after a crash of the receiver the others come again, in order.

An entry holds a batch of records, or a message of a host (`runtime.hosts.messages`), which the link does not read.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from reid_stream.errors import DECODE_ERRORS, BrokerError
from reid_stream.link import foreign
from reid_stream.link.protocol import ReadFence
from reid_stream.link.redis_keys import epochs_key, stream_key, taken_key
from reid_stream.link.redis_repair import repair_epochs, replace_full
from reid_stream.link.service import Service
from reid_stream.records import CameraId, Perceived

if TYPE_CHECKING:
    import redis

_GROUP = "identify"
_CONSUMER = "identify"
"""The same after a restart and a takeover, so that the receiver gets its unacknowledged entries again."""
_PAGE = 100
_DELETE_S = 0.1
"""Least seconds between two requests that delete less than a page of entries."""
_RETRY_S = 0.5
_STALE_RUNS = 1000
"""Runs whose last sequence numbers are remembered, by camera."""
_REPAIR_S = 5.0
"""Interval at which the keys are checked for what a host's user can do to them, seconds."""
_log = structlog.get_logger(__name__)
_epochs = msgspec.msgpack.Decoder(dict[str, int])
_bodies = msgspec.msgpack.Decoder(list[bytes])


class RedisReceiver:
    """Identification's end; one per site. One thread calls `receive` and `acknowledge`."""

    def __init__(
        self,
        client: "redis.Redis",
        site: str,
        *,
        fence: ReadFence | None = None,
        durable: Callable[[], Callable[[], bool]] = lambda: lambda: True,
        on_message: Callable[[str, bytes], None] = lambda _host, _body: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Read nothing yet.

        Args:
            client: Redis; closed by the caller.
            site: whose observations.
            fence: what must hold for anything to be read; None for nothing.
            durable: called once records are processed; returns a function that tells whether what followed from them
                is stored, so that they may be deleted.
            on_message: takes messages: the host and the body. Called by `receive`.
            now: returns the site's time, UTC seconds.
        """
        self.faults = 0
        """Failed requests."""
        self.duplicates = 0
        """Records received more than once and dropped."""
        self.late = 0
        """Records of a host that no longer has the camera, dropped."""
        self.lost = 0
        """Records that never came: gaps in the sequence of a run."""
        self.malformed = 0
        """Entries that cannot be read or that no host sends, dropped."""
        self._service = Service()
        self.waiting = 0
        """Entries on the stream when it was last looked at."""
        self._client: Any = client
        self._key, self._taken_key = stream_key(site), taken_key(site)
        self._epochs_key, self._repaired_at = epochs_key(site), float("-inf")
        self._fence, self._durable, self._on_message, self._now = fence, durable, on_message, now
        self._is_closed = threading.Event()
        self._has_group = False
        self._resume: bytes | None = b"0"
        self._newest = b"0-0"
        self._open: list[bytes] = []
        self._processed: deque[tuple[Callable[[], bool], list[bytes]]] = deque()
        self._deletable: list[bytes] = []
        self._deleted_at = float("-inf")
        self._last: dict[str, dict[CameraId, int]] = {}
        self._epochs: dict[str, int] = {}

    @property
    def fault(self) -> str | None:
        """Why nothing can be read now; None while it can."""
        return self._service.fault

    def newest(self, run: str, camera: CameraId) -> int | None:
        """Return the sequence number of the newest record of a camera that has come, late or not; None for none."""
        return self._last.get(run, {}).get(camera)

    def receive(self, timeout_s: float) -> list[Perceived]:
        """Return up to a page of records; empty after `timeout_s`, when closed, or while Redis is down."""
        import redis

        deadline = time.monotonic() + timeout_s
        while not self._is_closed.is_set():
            left_s = deadline - time.monotonic()
            try:
                records = self._read(max(left_s, 0))
            except (redis.exceptions.RedisError, OSError, BrokerError) as error:
                self.faults += 1
                self._service.note(str(error))
                self._has_group = False
                # Entries of a lost answer count as delivered: ask again for all that are not acknowledged.
                self._resume = b"0"
                if not isinstance(error, redis.exceptions.ResponseError | BrokerError):
                    self._client.connection_pool.disconnect()
                self._is_closed.wait(min(_RETRY_S, max(left_s, 0)))
                records = []
            else:
                self._service.note(None)
            if records or time.monotonic() >= deadline:
                return records
        return []

    def acknowledge(self) -> None:
        """Note all received entries as processed, and delete those whose results are stored."""
        if self._open:
            self._processed.append((self._durable(), self._open))
            self._open = []
        self.delete_stored()

    def delete_stored(self) -> None:
        """Delete the processed entries whose results are stored; while Redis is down they stay, for the next call."""
        import redis

        while self._processed and self._processed[0][0]():
            self._deletable += self._processed.popleft()[1]
        now = time.monotonic()
        if not self._deletable or (len(self._deletable) < _PAGE and now - self._deleted_at < _DELETE_S):
            return
        self._deleted_at = now
        try:
            pipeline = self._client.pipeline(transaction=True)
            pipeline.xack(self._key, _GROUP, *self._deletable)
            pipeline.xdel(self._key, *self._deletable)
            if self._epochs:
                pipeline.hset(self._taken_key, mapping=self._epochs)
            pipeline.xlen(self._key)
            self.waiting = int(pipeline.execute()[-1])
        except (redis.exceptions.RedisError, OSError):
            self.faults += 1
            return
        self._deletable = []

    def close(self) -> None:
        """Read no more; unacknowledged records go to the next receiver."""
        self._is_closed.set()

    def _read(self, wait_s: float) -> list[Perceived]:
        self._repair()
        if not self._has_group:
            self._make_group()
        entries = self._entries()
        if not entries and self._resume is None and wait_s:
            # Wakes up at the next entry; what is read counts as delivered only below.
            self._client.xread({self._key: self._newest}, count=1, block=max(int(min(wait_s, 1.0) * 1000), 1))
            entries = self._entries()
        if self._resume is not None:
            self._resume = entries[-1][0] if entries else None
        known = {*self._open, *self._deletable, *(entry for _, ids in self._processed for entry in ids)}
        records: list[Perceived] = []
        for entry, fields in entries:
            self._newest = entry
            if entry not in known:
                self._open.append(entry)
            records += self._taken(fields)
        return records

    def _entries(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Return entries of the stream, under the fence: one transaction."""
        import redis

        while True:
            with suppress(redis.exceptions.WatchError):  # the lease was renewed meanwhile
                return self._transaction()

    def _transaction(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        start = self._resume if self._resume is not None else b">"
        with self._client.pipeline(transaction=True) as pipeline:
            if self._fence is not None:
                pipeline.watch(self._fence.key)
                self._fence.holds(pipeline.get(self._fence.key))
                pipeline.multi()
            pipeline.xreadgroup(_GROUP, _CONSUMER, {self._key: start}, count=_PAGE)
            (answer,) = pipeline.execute()
        if isinstance(answer, dict):
            pages: Any = next(iter(answer.values()), [])
            found: Any = pages[0] if pages and isinstance(pages[0], list) else pages
        else:
            found = answer[0][1] if answer else []
        # An entry that was deleted before it was acknowledged comes without fields.
        return [(entry, fields or {}) for entry, fields in found]

    def _taken(self, fields: dict[bytes, bytes]) -> list[Perceived]:
        host = fields.get(b"host", b"").decode(errors="replace")
        try:
            foreign.check_size(fields)
            if b"message" in fields:
                self._on_message(host, fields[b"message"])
                return []
            epochs, now = _epochs.decode(fields[b"epochs"]), self._now()
            records = [foreign.read(body, now) for body in _bodies.decode(fields[b"records"])]
            for camera in epochs:
                foreign.check_names(camera, "-")
        except (KeyError, *DECODE_ERRORS) as error:
            self.malformed += 1
            _log.error("link_message_invalid", reason=str(error)[:200])
            return []
        late = {camera for camera, epoch in epochs.items() if epoch < self._epochs.get(camera, 0)}
        for camera in late:
            self._service.report_clash(camera, host)
        self._epochs |= {camera: epoch for camera, epoch in epochs.items() if camera not in late}
        new = [record for record in records if record.camera not in late and self._is_new(record)]
        for record in records:
            if record.camera in late:
                self.late += 1
                self._of_run(record.run)[record.camera] = record.sequence
        return new

    def _is_new(self, record: Perceived) -> bool:
        last = self._of_run(record.run)
        before = last.get(record.camera)
        if before is not None and record.sequence <= before:
            self.duplicates += 1
            return False
        if before is not None:
            self.lost += record.sequence - before - 1
        last[record.camera] = record.sequence
        return True

    def _of_run(self, run: str) -> dict[CameraId, int]:
        if run not in self._last and len(self._last) >= _STALE_RUNS:
            del self._last[next(iter(self._last))]
        return self._last.setdefault(run, {})

    def _repair(self) -> None:
        if time.monotonic() - self._repaired_at < _REPAIR_S:
            return
        self._repaired_at = time.monotonic()
        if replace_full(self._client, self._key):
            self._has_group, self._newest = False, b"0-0"
        repair_epochs(self._client, self._epochs_key, self._epochs)

    def _make_group(self) -> None:
        import redis

        try:
            self._client.xgroup_create(self._key, _GROUP, id="0", mkstream=True)
        except redis.exceptions.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        if not self._epochs:
            self._epochs = {
                camera.decode(): int(epoch) for camera, epoch in self._client.hgetall(self._taken_key).items()
            }
        self._has_group = True
