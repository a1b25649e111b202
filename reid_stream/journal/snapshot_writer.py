"""Write snapshots in the background: identification captures its state and continues.

The writer's thread encodes and sends the parts one after the other. It starts only once Redis has the journal up to
the snapshot, so that no snapshot on Redis knows identities of which no event was published; while Redis is down the
journal grows on disk instead, and the next snapshot tries again.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from reid_stream.journal.snapshot import SnapshotHeader
from reid_stream.journal.snapshot_store import SnapshotStore
from reid_stream.match.snapshot import MatcherSnapshot
from reid_stream.publish.redis_client import cause
from reid_stream.publish.stream_ids import Position

SHARE = 0.05
"""Largest share of one CPU's time that snapshots may take: a large gallery is written less often."""
_LOOK_S = 0.05
_WAIT_S = 30.0
"""Longest wait for Redis to have the journal; after it the snapshot fails, and a later one is tried."""
_log = structlog.get_logger(__name__)


class _Job(NamedTuple):
    head: SnapshotHeader
    capture: MatcherSnapshot
    sent: Callable[[], Position]
    purged: Sequence[Callable[[bool], None]]
    """Called when this snapshot is the only one left, with whether that worked; None for an ordinary snapshot."""


class SnapshotWriter:
    """Writes one snapshot at a time."""

    def __init__(self, store: SnapshotStore, keys: tuple[str, str], known: dict[str, SnapshotHeader]) -> None:
        """`known`: the existing snapshots by key; the older one is overwritten first."""
        self.written = 0
        self.failed = 0
        """Snapshots not written, because Redis was down."""
        self.took_s = 0.0
        """Seconds from the first part of the last snapshot to its last."""
        self.size_bytes = 0
        """Size of the last snapshot."""
        self._store = store
        self._keys = keys
        self._known = dict(known)
        self._changed = threading.Condition()
        self._job: _Job | None = None
        self._purged: list[Callable[[bool], None]] = []
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="snapshots", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether a snapshot is in progress."""
        return self._job is not None

    @property
    def has_purge(self) -> bool:
        """Whether a purge waits for the next snapshot."""
        return bool(self._purged)

    def purge(self, done: Callable[[bool], None]) -> None:
        """Make the next snapshot the only one and the start of the journal, so that erased identities are gone.

        `done` is called by the writer's thread with whether that worked; where not, ask again.
        """
        with self._changed:
            self._purged.append(done)

    def write_again(self) -> None:
        """Write a snapshot at the next step, as the only one: Redis has lost the last one, or has an older one."""

        def done(is_written: bool) -> None:
            if not is_written:
                self.write_again()

        self.purge(done)

    def offer(self, head: SnapshotHeader, capture: MatcherSnapshot, sent: Callable[[], Position]) -> bool:
        """Write a snapshot soon; False if one is in progress.

        Args:
            head: without digests.
            capture: state of the matcher.
            sent: returns the position up to which Redis has the journal.
        """
        with self._changed:
            if self._job is not None or self._closing:
                return False
            purged, self._purged = tuple(self._purged), []
            self._job = _Job(head, capture, sent, purged)
            self._changed.notify_all()
            return True

    def wait(self, timeout_s: float) -> bool:
        """Wait until no snapshot is in progress; False if it took longer."""
        with self._changed:
            return self._changed.wait_for(lambda: self._job is None, timeout_s)

    def close(self, timeout_s: float) -> None:
        """End; a snapshot in progress is finished if it takes no longer than `timeout_s`."""
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
            assert job is not None, "the condition above"
            is_written = False
            try:
                is_written = self._is_sent(job) and self._write(job)
            except Exception as error:  # noqa: BLE001 (the earlier snapshot and the journal are still there)
                _log.warning("snapshot_failed", reason=cause(error))
            self.written += is_written
            self.failed += not is_written
            with self._changed:
                self._job = None
                self._changed.notify_all()
            for done in job.purged:
                done(is_written)

    def _is_sent(self, job: _Job) -> bool:
        position = Position.parse(job.head.position)
        deadline = time.monotonic() + _WAIT_S
        while job.sent() < position:
            if self._closing or time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_S)
        return True

    def _write(self, job: _Job) -> bool:
        start = time.monotonic()
        key = min(self._keys, key=lambda name: self._known[name].place if name in self._known else -2)
        other = next(name for name in self._keys if name != key)
        is_only = bool(job.purged)
        self._known.pop(key, None)
        self.size_bytes = self._store.write(key, job.head, job.capture.parts())
        self._known[key] = job.head
        if is_only:
            self._known.pop(other, None)
            self._store.drop(other)
        if other in self._known or is_only:
            self._store.trim(min((head.position for head in self._known.values()), key=Position.parse))
        if is_only:
            self._store.compact()
            self._store.drop_others()
        self.took_s = time.monotonic() - start
        return True
