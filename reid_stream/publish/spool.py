"""Events on disk, in order, from before they are sent until Redis surely has them.

A SQLite table in write-ahead mode, indexed by stream position: an append is one transaction without fsync that survives
a kill -9 of the daemon, and a crash of the machine up to its last moments. Delivered rows stay for a few seconds more,
so that they can be sent again to a Redis that comes back without them.

Bounded: when it is full, `seen` and `heartbeat` events are dropped first, then camera and daemon events, then entries
of the journal, identity events last; the oldest first each time, but never one that is being sent. Subscribers see a
gap in `sequence`, and `daemon.dropped` reports the counts.

Every row carries the epoch of the lease it was decided under (`begin_epoch`) and a checksum. A damaged database is set
aside, what can be read of it is kept, and the daemon continues with a new one.

Concurrency: one lock around one connection. Every method may be called from any thread.
"""

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import structlog

from reid_stream.errors import ConfigError
from reid_stream.publish.folder_lock import FolderLock
from reid_stream.publish.spool_file import DamagedError, SpoolFile, Stored, checksum, is_damage, is_full, is_sound
from reid_stream.publish.spool_ledger import DeliveryLog, LossCause, SpoolLedger, position_of
from reid_stream.publish.spool_row import RANKS, Epoch, Row, entry_type
from reid_stream.publish.stream_ids import NOWHERE, Position

_SHARE = 10
"""A tenth of a rank's rows is dropped at a time, so that a full disk costs a search now and then, not at each event."""
_SELECT = "SELECT rowid, position, rank, type, body, epoch, crc FROM rows"
_TRIES = 3
_Result = TypeVar("_Result")
_log = structlog.get_logger(__name__)


class SpoolFullError(Exception):
    """There is no room on the disk, whatever is dropped."""


class Spool:
    """Rows in order of their position."""

    def __init__(self, folder: Path, *, max_bytes: int = 512 * 2**20) -> None:
        """Open or make the spool in `folder`, which belongs to one daemon at a time.

        Raises:
            ConfigError: the folder cannot be written or is in use.
        """
        self._lock = threading.RLock()
        self._closed_bytes: int | None = None
        """`size_bytes` at the end; None while the file is open."""
        self._folder_lock = FolderLock(folder)
        self.dropped = dict.fromkeys(RANKS, 0)
        """Rows dropped for want of room, by rank, since the owner last set it back."""
        self.max_bytes = max_bytes
        self._held = NOWHERE
        self._is_replacing = False
        self.was_replaced = False
        """A damaged database was replaced: rows that are still in memory are to be put back (`refill`)."""
        try:
            self._file = SpoolFile(folder, max_bytes)
            self._ledger = SpoolLedger(self._file)
            if self._file.salvaged:
                self._replace(lambda: True)
            self._guarded(self._ledger.load)
        except (ConfigError, sqlite3.Error, OSError) as error:
            self._folder_lock.release()
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{folder} must be a folder for a spool that can be written: {error}") from error

    @property
    def path(self) -> Path:
        """The database."""
        return self._file.path

    @property
    def delivered(self) -> Position:
        """The last position that Redis is known to have."""
        return self._ledger.delivered

    @property
    def log(self) -> DeliveryLog:
        """Events delivered so far, by rank; of this run and earlier ones."""
        return self._ledger.log

    @property
    def size_bytes(self) -> int:
        """Room taken by rows, out of `max_bytes`; once closed, what it was then."""

        def work() -> int:
            return self._file.size_bytes() if self._closed_bytes is None else self._closed_bytes

        return self._guarded(work)

    def last(self) -> Position:
        """Return the highest position ever kept here that is still known."""

        def work() -> Position:
            (key,) = self._file.db.execute("SELECT max(position) FROM rows").fetchone()
            return max(position_of(key) if key else NOWHERE, self._ledger.delivered)

        return self._guarded(work)

    def number(self, site: str) -> int:
        """Return the highest number that a global ID of the site was made of, as far as this spool knows."""
        with self._lock:
            return self._ledger.numbers.get(site, 0)

    def take_lost(self) -> dict[LossCause, Counter[str]]:
        """Return how many rows that were not delivered are lost, by cause and rank, since the last call."""
        with self._lock:
            return self._ledger.take_lost()

    def refill(self, rows: Sequence[Row]) -> None:
        """Put rows that are not delivered back into a database that replaced a damaged one."""

        def work() -> None:
            kept = Counter[int]()
            with self._file.transaction() as db:
                for row in rows:
                    if row.position > self._ledger.delivered:
                        kept[row.rank] += db.execute(
                            "INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, ?, ?)", self._stored(row)
                        ).rowcount
            self._ledger.refilled(kept)

        with self._lock:
            self.was_replaced = False
            with suppress(sqlite3.Error, OSError):
                self._guarded(work)

    def hold(self, position: Position) -> None:
        """Never drop rows at or before this one: they are being sent."""
        with self._lock:
            self._held = position

    def begin_epoch(self, epoch: Epoch) -> None:
        """Begin a holding of a lease: rows decided under it before are kept, or dropped if another daemon had it since.

        Another daemon had it if the latest holding that Redis knows of is unknown here. A Redis without its data, or
        with older data, knows of none or of an older one of ours.
        """
        self._guarded(lambda: self._ledger.begin_epoch(epoch))

    def append(self, rows: Sequence[Row], numbers: Mapping[str, int] | None = None) -> None:
        """Keep rows, making room by dropping others if need be; note the highest numbers of global IDs, by site.

        Raises:
            SpoolFullError: no room could be made, or the file cannot be written.
        """

        def work() -> None:
            with self._file.transaction() as db:
                db.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)", map(self._stored, rows))
                if numbers:
                    self._file.put("numbers", self._ledger.numbers)

        with self._lock:
            self._ledger.know_numbers(numbers or {})
            while True:
                try:
                    self._guarded(work)
                except (sqlite3.Error, OSError) as error:
                    # Dropping rows helps where room is short, and against nothing else.
                    if (
                        isinstance(error, sqlite3.Error)
                        and is_full(error)
                        and self._make_room(sum(len(row.body) for row in rows))
                    ):
                        continue
                    self._ledger.write()
                    raise SpoolFullError(f"no room in {self.path}: {error}") from error
                self._ledger.add(rows)
                return

    def after(self, position: Position, limit: int) -> list[Row]:
        """Read up to `limit` rows behind `position` (all for -1), in order; damaged ones are left out and counted."""
        return self._read(f"{_SELECT} WHERE position > ? ORDER BY position LIMIT ?", position.key, limit)

    def entries(self, key: str) -> list[bytes]:
        """Read all entries of the journal `key` that are still known, in order."""
        return [row.body for row in self._read(f"{_SELECT} WHERE type = ? ORDER BY position", entry_type(key))]

    def waiting(self) -> int:
        """Count the rows that are not delivered."""

        def work() -> int:
            (count,) = self._file.db.execute(
                "SELECT count(*) FROM rows WHERE position > ?", (self._ledger.delivered.key,)
            ).fetchone()
            return int(count)

        return self._guarded(work)

    def mark(self, delivered: Position, *, forget: Position = NOWHERE) -> None:
        """Write down that Redis has everything up to `delivered`; delete the rows up to `forget`."""
        with self._lock:
            self._ledger.deliver(delivered, ())

            def work() -> None:
                with self._file.transaction() as db:
                    self._file.put("delivered", delivered.key)
                    db.execute("DELETE FROM rows WHERE position <= ?", (min(forget, delivered).key,))
                    self._ledger.keep_checkpoint(db)

            try:
                self._guarded(work)
                self._file.keep_reserve()
            except (sqlite3.Error, OSError) as error:
                # The rows go next time; until then they would at worst be looked up in Redis once more.
                if isinstance(error, sqlite3.Error) and is_full(error) and not self._file.yield_reserve():
                    self._begin_again()

    def note(self, delivered: Position, counts: Sequence[int] = ()) -> None:
        """Note in memory that Redis has everything up to `delivered`; `mark` writes it down now and then.

        `counts`: rows delivered since the last call, by rank.
        """
        with self._lock:
            self._ledger.deliver(delivered, counts)

    def take_back(self, delivered: Position, rows: Sequence[Row]) -> None:
        """Note that Redis lost what came behind `delivered`, and that `rows` are to be delivered again."""
        with self._lock:
            self._ledger.take_back(delivered, rows)

    def move(self, moves: Sequence[tuple[Position, Position]]) -> None:
        """Give rows new, higher positions; in the order from the last row to the first.

        Raises:
            sqlite3.Error: no room on the disk; nothing has moved.
        """

        def work() -> None:
            with self._file.transaction() as db:
                for old, new in moves:
                    found = db.execute("SELECT rank, type, body FROM rows WHERE position = ?", (old.key,)).fetchone()
                    if found is not None:
                        db.execute(
                            "UPDATE rows SET position = ?, crc = ? WHERE position = ?",
                            (new.key, checksum(new.key, *found), old.key),
                        )

        self._guarded(work)

    def wash(self) -> None:
        """Delete what is delivered, and every trace of what was ever deleted from the files.

        Raises:
            sqlite3.Error: no room on the disk for a copy of what waits.
        """
        with self._lock:
            self.mark(self.delivered, forget=self.delivered)
            self._file.drop_damaged()
            self._file.db.execute("VACUUM")
            self._file.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file and release the folder; rows stay."""
        with self._lock:
            with suppress(sqlite3.Error):
                self._closed_bytes = self._file.size_bytes()
            self._file.close()
            self._folder_lock.release()

    def _guarded(self, work: Callable[[], _Result]) -> _Result:
        """Do something with the database; once more with a new one if it turns out to be damaged.

        Raises:
            sqlite3.Error, OSError: it cannot be done.
        """
        with self._lock:
            try:
                return work()
            except sqlite3.Error as error:
                if not is_damage(error) or self._is_replacing:
                    raise
                self._is_replacing = True
                reason = str(error)
                try:
                    self._replace(lambda: self._file.set_aside(reason))
                    return work()
                finally:
                    self._is_replacing = False

    def _replace(self, make: Callable[[], bool]) -> None:
        self._ledger.restore(make)
        self.was_replaced = True

    def _read(self, query: str, *arguments: object) -> list[Row]:
        def work() -> list[Row]:
            for _ in range(_TRIES):
                found = self._file.db.execute(query, arguments).fetchall()
                damaged = [number for number, *row in found if not is_sound(row)]
                if not damaged:
                    return [Row(position_of(key), rank, kind, body) for _, key, rank, kind, body, *_ in found]
                with self._file.transaction() as db:
                    db.executemany("DELETE FROM rows WHERE rowid = ?", [(number,) for number in damaged])
                self._ledger.count()
            raise DamagedError("damaged rows cannot be deleted")

        return self._guarded(work)

    def _stored(self, row: Row) -> Stored:
        crc = checksum(row.position.key, row.rank, row.type, row.body)
        return row.position.key, row.rank, row.type, row.body, self._ledger.epoch, crc

    def _begin_again(self) -> bool:
        """Replace a database that a full disk has stuck by an empty one, if nothing in it waits."""
        try:
            if self.waiting() == 0:
                return self._ledger.restore(self._file.begin_again)
        except (sqlite3.Error, OSError) as error:
            _log.debug("spool_stuck", reason=str(error))
        return False

    def _make_room(self, wanted_bytes: int) -> bool:
        """Make room on the disk, or within `max_bytes`; False if that is not possible without losing events.

        At `max_bytes` delivered rows go, else a part of those of the lowest rank. A full disk costs no event here: what
        it does not take waits in memory.
        """
        try:
            with self._file.transaction() as db:
                if db.execute("DELETE FROM rows WHERE position <= ?", (self._ledger.delivered.key,)).rowcount:
                    return True
                if self._file.is_at_limit(wanted_bytes):
                    return self._drop_least(db)
        except sqlite3.Error as error:
            _log.debug("spool_stuck", reason=str(error))
        return self._file.keep_reserve() or self._file.yield_reserve() or self._begin_again()

    def _drop_least(self, db: sqlite3.Connection) -> bool:
        begin = max(self._held, self._ledger.delivered).key
        for rank, name in enumerate(RANKS):
            (count,) = db.execute("SELECT count(*) FROM rows WHERE rank = ? AND position > ?", (rank, begin)).fetchone()
            if count:
                gone = db.execute(
                    "DELETE FROM rows WHERE position IN "
                    "(SELECT position FROM rows WHERE rank = ? AND position > ? ORDER BY position LIMIT ?)",
                    (rank, begin, max(count // _SHARE, 1)),
                ).rowcount
                self.dropped[name] += gone
                self._ledger.drop(rank, gone)
                return True
        return False
