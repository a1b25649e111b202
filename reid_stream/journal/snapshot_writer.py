"""Snapshots in the background: identify hands over a moment of itself and goes on.

A thread of its own writes the parts down and sends them, one after the other. A snapshot is begun only once Redis has
the journal up to it, so that what is on Redis never knows of people whom no event has told of; while Redis is away the
journal grows on the disk instead, and the next snapshot tries again.
"""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog

from reid_stream.journal.snapshot import SnapshotHeader
from reid_stream.journal.snapshot_store import SnapshotStore
from reid_stream.match.snapshot import MatcherSnapshot
from reid_stream.publish.redis_client import cause
from reid_stream.publish.stream_ids import Position

SHARE = 0.05
"""Of one processor's time, which snapshots may take at most: a large gallery is written less often."""
_LOOK_S = 0.05
_WAIT_S = 30.0
"""Longest wait for Redis to have the journal; after it the snapshot is given up for a later one."""
_log = structlog.get_logger(__name__)


class _Job(NamedTuple):
    head: SnapshotHeader
    capture: MatcherSnapshot
    sent: Callable[[], Position]
    only: bool
    done: Callable[[bool], None] | None


class SnapshotWriter:
    """Writes one snapshot at a time."""

    def __init__(self, slots: SnapshotStore, keys: tuple[str, str], known: dict[str, SnapshotHeader]) -> None:
        """`known`: the snapshots that are there, by key; the older one is written over first."""
        self.written = 0
        self.failed = 0
        """Given up, for Redis was away; the next one is tried all the same."""
        self.took_s = 0.0
        """What the last one took, from its first part to its last."""
        self.size_bytes = 0
        """Of the last one."""
        self._slots = slots
        self._keys = keys
        self._known = dict(known)
        self._changed = threading.Condition()
        self._job: _Job | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="snapshots", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """A snapshot is under way."""
        return self._job is not None

    def offer(
        self,
        head: SnapshotHeader,
        capture: MatcherSnapshot,
        sent: Callable[[], Position],
        *,
        only: bool = False,
        done: Callable[[bool], None] | None = None,
    ) -> bool:
        """Write a snapshot, soon; False where one is under way.

        Args:
            head: without digests.
            capture: the matcher.
            sent: how far Redis has the journal.
            only: delete the other snapshot, and the journal up to this one: nothing older is left.
            done: called by the writing thread with whether it was written.
        """
        with self._changed:
            if self._job is not None or self._closing:
                return False
            self._job = _Job(head, capture, sent, only, done)
            self._changed.notify_all()
            return True

    def wait(self, timeout_s: float) -> bool:
        """Wait until no snapshot is under way; False if it took longer."""
        with self._changed:
            return self._changed.wait_for(lambda: self._job is None, timeout_s)

    def close(self, timeout_s: float) -> None:
        """End; a snapshot under way is finished if it does not take long."""
        self.wait(timeout_s)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(1.0)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._job is not None or self._closing)
                if self._closing:
                    return
                job = self._job
            assert job is not None, "there is a job or it is closing time"
            is_written = False
            try:
                is_written = self._is_sent(job) and self._write(job)
            except Exception as error:  # noqa: BLE001 (whatever it is, the earlier snapshot and the journal are there)
                _log.warning("snapshot_failed", reason=cause(error))
            self.written += is_written
            self.failed += not is_written
            with self._changed:
                self._job = None
                self._changed.notify_all()
            if job.done is not None:
                job.done(is_written)

    def _is_sent(self, job: _Job) -> bool:
        position = Position.parse(job.head.position)
        deadline = time.monotonic() + _WAIT_S
        while job.sent() < position:
            if self._closing or time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_S)
        return True

    def _write(self, job: _Job) -> bool:
        begun = time.monotonic()
        key = min(self._keys, key=lambda name: self._known[name].place if name in self._known else -2)
        other = next(name for name in self._keys if name != key)
        self._known.pop(key, None)
        self.size_bytes = self._slots.write(key, job.head, job.capture.parts())
        self._known[key] = job.head
        if job.only:
            self._known.pop(other, None)
            self._slots.drop(other)
        if other in self._known or job.only:
            self._slots.trim(min((head.position for head in self._known.values()), key=Position.parse))
        if job.only:
            self._slots.compact()
            self._slots.drop_others()
        self.took_s = time.monotonic() - begun
        return True
