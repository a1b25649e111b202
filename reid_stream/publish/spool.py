"""Events on disk, in order, from before they are sent until Redis surely has them.

A SQLite table in write-ahead mode, keyed by stream position: an append is one transaction that needs no fsync,
survives a kill -9 of the daemon, and a crash of the machine up to its last moments. Rows that were delivered stay for
a few seconds more, so that they can be sent again to a Redis that comes back without them.

Bounded: when it is full, `seen` and `heartbeat` events go first, then news of cameras and daemon, then identity events;
the oldest first each time, but never one that is being sent. What went is counted by rank; subscribers see a gap in
`sequence`, and `daemon.dropped` tells them.

Concurrency: one lock around one connection. Every method may be called from any thread.
"""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from reid_stream.errors import ConfigError
from reid_stream.events import EVENT_TYPES, PREFIX
from reid_stream.publish.folder_lock import FolderLock
from reid_stream.publish.stream_ids import NOWHERE, Position

RANKS = ("liveness", "operation", "journal", "identity")
"""What is given up first when there is no room. An event lost is lost for all subscribers; an entry of the journal is
missed only if a crash follows."""
_JOURNAL = "journal:"
_PAGE = 4096
_SHARE = 10
"""A tenth of a rank's rows is given up at a time, so that a full disk costs a search now and then, not at each
event."""


class Row(NamedTuple):
    """An event as it waits."""

    position: Position
    rank: int
    """Index in RANKS."""
    type: str
    """The CloudEvents type; of an entry of the journal `journal:` and the key of the stream that it goes to."""
    body: bytes
    """CloudEvents JSON, or an entry as `journal.entry` writes it."""

    @property
    def journal(self) -> str | None:
        """The key of the journal that it is an entry of; none for an event."""
        return self.type.removeprefix(_JOURNAL) if self.type.startswith(_JOURNAL) else None

    @classmethod
    def entry(cls, position: Position, key: str, body: bytes) -> Self:
        """Make an entry of the journal `key`."""
        return cls(position, RANKS.index("journal"), _JOURNAL + key, body)


_PRIORITIES = {event.type: event.priority for event in EVENT_TYPES}


def rank_of(kind: str) -> int:
    """Return the rank of an event type (CloudEvents or short), an index in RANKS; unknown types are `operation`."""
    return RANKS.index(_PRIORITIES.get(kind.removeprefix(PREFIX), "operation"))


class SpoolFullError(Exception):
    """There is no room on the disk, whatever is given up."""


class Spool:
    """Rows in order of their position."""

    def __init__(self, folder: Path, *, max_bytes: int = 512 * 2**20) -> None:
        """Open or make the spool in `folder`, which belongs to one daemon at a time.

        Raises:
            ConfigError: the folder cannot be written, is in use, or holds a file that is no spool of ours.
        """
        self._lock = threading.RLock()
        self._folder_lock = FolderLock(folder)
        self.path = folder / "spool.sqlite"
        self.dropped = dict.fromkeys(RANKS, 0)
        self.max_bytes = max_bytes
        self._held = NOWHERE
        try:
            self._db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA journal_size_limit = 16777216")
            self._db.execute(f"PRAGMA max_page_count = {max(max_bytes // _PAGE, 16)}")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS waiting (position INTEGER PRIMARY KEY, rank INTEGER NOT NULL, "
                "type TEXT NOT NULL, body BLOB NOT NULL)"
            )
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS mark (id INTEGER PRIMARY KEY CHECK (id = 0), delivered INTEGER NOT NULL)"
            )
            self._db.execute("INSERT OR IGNORE INTO mark VALUES (0, 0)")
            (self._delivered,) = self._db.execute("SELECT delivered FROM mark").fetchone()
        except sqlite3.Error as error:
            self._folder_lock.release()
            raise ConfigError(
                f"{self.path} must be a spool that we can write: {error}; delete it or move it"
            ) from error

    @property
    def delivered(self) -> Position:
        """The last position that Redis is known to have."""
        return Position.from_key(self._delivered)

    def last(self) -> Position:
        """Give the highest position ever kept here that is still known."""
        with self._lock:
            (key,) = self._db.execute("SELECT max(position) FROM waiting").fetchone()
            return max(Position.from_key(key or 0), self.delivered)

    @property
    def size_bytes(self) -> int:
        """Room taken by rows, out of `max_bytes`."""
        with self._lock:
            (pages,) = self._db.execute("PRAGMA page_count").fetchone()
            (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        return int(pages - free) * _PAGE

    def hold(self, position: Position) -> None:
        """Never give up rows at or before this one: they are being sent."""
        with self._lock:
            self._held = position

    def append(self, rows: Sequence[Row]) -> None:
        """Keep rows, making room by giving up others if need be.

        Raises:
            SpoolFullError: no room could be made.
        """
        values = [(row.position.key, row.rank, row.type, row.body) for row in rows]
        with self._lock:
            while True:
                try:
                    self._db.execute("BEGIN IMMEDIATE")
                    self._db.executemany("INSERT INTO waiting VALUES (?, ?, ?, ?)", values)
                    self._db.execute("COMMIT")
                except sqlite3.Error as error:
                    self._rollback()
                    # Giving up rows helps where room is short, and against nothing else.
                    if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._make_room():
                        raise SpoolFullError(f"no room in {self.path}: {error}") from error
                else:
                    return

    def after(self, position: Position, limit: int) -> list[Row]:
        """Read up to `limit` rows behind `position`, in order."""
        with self._lock:
            found = self._db.execute(
                "SELECT position, rank, type, body FROM waiting WHERE position > ? ORDER BY position LIMIT ?",
                (position.key, limit),
            ).fetchall()
        return [Row(Position.from_key(key), rank, kind, body) for key, rank, kind, body in found]

    def entries(self, key: str) -> list[bytes]:
        """Read all entries of the journal `key` that are still known, in order."""
        with self._lock:
            found = self._db.execute(
                "SELECT body FROM waiting WHERE type = ? ORDER BY position", (_JOURNAL + key,)
            ).fetchall()
        return [body for (body,) in found]

    def waiting(self) -> int:
        """Count the rows that are not delivered."""
        with self._lock:
            (count,) = self._db.execute(
                "SELECT count(*) FROM waiting WHERE position > ?", (self._delivered,)
            ).fetchone()
        return int(count)

    def mark(self, delivered: Position, *, forget: Position = NOWHERE) -> None:
        """Note that Redis has everything up to `delivered`; delete the rows up to `forget`."""
        with self._lock:
            self._delivered = delivered.key
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.execute("UPDATE mark SET delivered = ?", (self._delivered,))
                self._db.execute("DELETE FROM waiting WHERE position <= ?", (min(forget, delivered).key,))
                self._db.execute("COMMIT")
            except sqlite3.Error:
                # A full disk: the rows go next time; until then they would at worst be looked up in Redis once more.
                self._rollback()

    def note(self, delivered: Position) -> None:
        """Note the same in memory only; `mark` writes it down now and then."""
        with self._lock:
            self._delivered = delivered.key

    def move(self, moves: Sequence[tuple[Position, Position]]) -> None:
        """Give rows new, higher positions; in the order from the last row to the first.

        Raises:
            sqlite3.Error: no room on the disk; nothing has moved.
        """
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany(
                    "UPDATE waiting SET position = ? WHERE position = ?", [(new.key, old.key) for old, new in moves]
                )
                self._db.execute("COMMIT")
            except sqlite3.Error:
                self._rollback()
                raise

    def wash(self) -> None:
        """Delete what is delivered, and every trace of what was ever deleted from the files.

        Raises:
            sqlite3.Error: no room on the disk for a copy of what waits.
        """
        with self._lock:
            self.mark(self.delivered, forget=self.delivered)
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file and give the folder back; rows stay."""
        with self._lock:
            self._db.close()
            self._folder_lock.release()

    def _rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _make_room(self) -> bool:
        """Give up delivered rows, else a part of the least precious ones; False if nothing was left to give up."""
        try:
            if self._db.execute("DELETE FROM waiting WHERE position <= ?", (self._delivered,)).rowcount:
                return True
            begin = max(self._held.key, self._delivered)
            for rank, name in enumerate(RANKS):
                (count,) = self._db.execute(
                    "SELECT count(*) FROM waiting WHERE rank = ? AND position > ?", (rank, begin)
                ).fetchone()
                if count:
                    gone = self._db.execute(
                        "DELETE FROM waiting WHERE position IN "
                        "(SELECT position FROM waiting WHERE rank = ? AND position > ? ORDER BY position LIMIT ?)",
                        (rank, begin, max(count // _SHARE, 1)),
                    ).rowcount
                    self.dropped[name] += gone
                    return True
        except sqlite3.Error:
            self._rollback()
        return False
