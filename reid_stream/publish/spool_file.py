"""The SQLite file of a spool: schema, upgrade, damage, and its room on the disk.

Files of the folder: `spool.sqlite` with its write-ahead log, `spool.last` (what was appended and delivered last, beside
the database, so that a tail missing from the database is noticed), `reserve` (given back when the disk is full, so that
the log can be written into the database), and `damaged-<time>.sqlite`, a database that was set aside.
"""

import errno
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import structlog

from reid_stream.config.own_folder import open_own
from reid_stream.errors import ConfigError
from reid_stream.publish.stream_ids import NOWHERE, Position

PAGE = 4096
_LOG_PAGES = 256
"""The write-ahead log is written into the database at this size: it stays below the reserve."""
_RESERVE = 2 * 2**20
_RESERVE_S = 5.0
"""Interval between attempts to restore the reserve, seconds."""
_CHECKED = 64 * 2**20
"""Largest file, bytes, whose index is checked at the start as well."""
_SET_ASIDE = 2
"""Damaged databases that are kept; older ones are deleted."""
_CHUNK = 1000
_SMALL = 256 * 1024
_SPARE_PAGES = 16
_SUFFIXES = ("", "-wal", "-shm")
_DAMAGE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,  # no such table
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_SCHEMA,
}
_DAMAGE_EXTENDED = {
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_READONLY_DBMOVED,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
}
_TABLES = (
    """CREATE TABLE IF NOT EXISTS rows (position TEXT PRIMARY KEY, rank INTEGER NOT NULL, type TEXT NOT NULL,
    body BLOB NOT NULL, epoch INTEGER NOT NULL, crc INTEGER NOT NULL)""",
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS epochs (id INTEGER PRIMARY KEY, lease TEXT NOT NULL, token TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS checkpoints (position TEXT PRIMARY KEY, counts TEXT NOT NULL)",
)
_log = structlog.get_logger(__name__)

Stored = tuple[str, int, str, bytes, int, int]
"""A row of the table `rows`."""


class DamagedError(sqlite3.DatabaseError):
    """The database is damaged, found by a check rather than by an error of SQLite."""


def checksum(position: str, rank: int, kind: str, body: bytes) -> int:
    """Return the CRC-32 of a row."""
    return zlib.crc32(body, zlib.crc32(f"{position} {rank} {kind}".encode()))


def is_sound(row: Sequence[Any]) -> bool:
    """Return whether a row is what was written."""
    position, rank, kind, body, _, crc = row
    try:
        return bool(checksum(position, rank, kind, body) == crc)
    except (TypeError, UnicodeEncodeError):
        return False


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether the file is damaged or no longer ours, rather than full or locked."""
    code = getattr(error, "sqlite_errorcode", 0)
    return isinstance(error, DamagedError) or code in _DAMAGE_EXTENDED or code & 0xFF in _DAMAGE


def is_full(error: sqlite3.Error) -> bool:
    """Return whether the disk takes no more (ENOSPC, quota, or a limit on the file's size)."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL or code in (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_TRUNCATE)


class LastState(NamedTuple):
    """Content of `spool.last`."""

    delivered: Position = NOWHERE
    waiting: tuple[int, ...] = ()
    """Rows not delivered, by rank."""
    numbers: Mapping[str, int] = MappingProxyType({})
    """Highest number of a global ID, by site."""
    leases: Mapping[str, str] = MappingProxyType({})
    """Token of the latest holding, by lease."""


class SpoolFile:
    """An open database; reopened by `set_aside` and `begin_again`."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Open or make the database.

        Raises:
            ConfigError: the folder cannot be written.
        """
        self.path = folder / "spool.sqlite"
        self.salvaged: list[Stored] = []
        """Rows read from a damaged database; the owner takes them."""
        self._folder = folder
        self._reserve = folder / "reserve"
        self._reserve_at = float("-inf")
        self._max_pages = max(max_bytes // PAGE, 16)
        self._last = -1
        try:
            self._last = open_own(folder / "spool.last", os.O_RDWR)
            self.last_state = self._read_last()
            try:
                self.db = self._open(is_checked=True)
            except sqlite3.Error as error:
                if is_full(error):
                    self._reserve.unlink(missing_ok=True)
                    self.db = self._open(is_checked=False)
                elif is_damage(error):
                    self.set_aside(str(error))
                else:
                    raise
        except (sqlite3.Error, OSError) as error:
            if self._last >= 0:
                os.close(self._last)
            raise ConfigError(f"{self.path} must be a spool that can be written: {error}") from error
        self.keep_reserve()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit what the block does, or nothing of it, whatever it raises."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield self.db
            self.db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
            raise

    def get(self, name: str, default: Any) -> Any:
        """Read a value of the table `meta`."""
        found = self.db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        try:
            return json.loads(found[0]) if found is not None else default
        except ValueError:
            return default

    def put(self, name: str, value: Any) -> None:
        """Write a value of the table `meta`."""
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, json.dumps(value)))

    def write_last(self, state: LastState) -> None:
        """Note what was appended and delivered; no fsync, and a full disk does not matter."""
        self.last_state = state
        text = json.dumps([state.delivered.key, state.waiting, state.numbers, state.leases])
        with suppress(OSError):
            os.pwrite(self._last, f"{zlib.crc32(text.encode()):08x} {text}\n".encode(), 0)

    def size_bytes(self) -> int:
        """Room taken by rows."""
        (pages,) = self.db.execute("PRAGMA page_count").fetchone()
        (free,) = self.db.execute("PRAGMA freelist_count").fetchone()
        return int(pages - free) * PAGE

    def is_at_limit(self, wanted_bytes: int) -> bool:
        """Return whether `wanted_bytes` more would exceed the limit of the database; a full disk is another matter."""
        (pages,) = self.db.execute("PRAGMA page_count").fetchone()
        return bool(pages + 2 * (wanted_bytes // PAGE) + _SPARE_PAGES >= self._max_pages)

    def yield_reserve(self) -> bool:
        """Give the reserve to the database and its log, once; it then grows no further until there is room again."""
        if not self._reserve.exists():
            return False
        self._reserve.unlink(missing_ok=True)
        self._reserve_at = time.monotonic()
        self.checkpoint()
        with suppress(sqlite3.Error):
            (pages,) = self.db.execute("PRAGMA page_count").fetchone()
            # Half of it for the database, half for the log that is written into it.
            self.db.execute(f"PRAGMA max_page_count = {min(pages + _RESERVE // PAGE // 2, self._max_pages)}")
        return True

    def checkpoint(self) -> None:
        """Write the log into the database, as far as there is room."""
        with suppress(sqlite3.Error):
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def keep_reserve(self) -> bool:
        """Make the reserve where there is none, if the disk has room; True if it was made."""
        if time.monotonic() - self._reserve_at < _RESERVE_S:
            return False
        self._reserve_at = time.monotonic()
        if self._reserve.exists():
            return False
        try:
            file = open_own(self._reserve, os.O_WRONLY)
            try:
                os.posix_fallocate(file, 0, _RESERVE)
            finally:
                os.close(file)
        except OSError as error:
            self._reserve.unlink(missing_ok=True)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                self._reserve_at = float("inf")  # a file system without fallocate: do without
            return False
        with suppress(sqlite3.Error):
            self.db.execute(f"PRAGMA max_page_count = {self._max_pages}")
        return True

    def set_aside(self, reason: str) -> bool:
        """Rename a damaged database, read what can be read of it into `salvaged`, and begin an empty one; True.

        Raises:
            sqlite3.Error, OSError: there can be no new one.
        """
        with suppress(AttributeError, sqlite3.Error):
            self.db.close()
        aside = self._folder / f"damaged-{time.time_ns() // 1_000_000}.sqlite"
        for suffix in _SUFFIXES:
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        self.salvaged = _salvage(aside)
        for old in self.damaged()[:-_SET_ASIDE]:
            _delete(old)
        self.db = self._open(is_checked=False)
        _log.error("spool_damaged", reason=reason, kept_as=str(aside), readable=len(self.salvaged))
        return True

    def begin_again(self) -> bool:
        """Delete the database and begin an empty one: nothing in it is needed, and the disk is full.

        False if it is next to empty already.

        Raises:
            sqlite3.Error: there can be no new one.
        """
        log = Path(f"{self.path}-wal")
        if self.path.stat().st_size + (log.stat().st_size if log.exists() else 0) < _SMALL:
            return False
        with suppress(sqlite3.Error):
            self.db.close()
        _delete(self.path)
        self.db = self._open(is_checked=False)
        return True

    def damaged(self) -> list[Path]:
        """Return the databases that were set aside, the oldest first."""
        return sorted(self._folder.glob("damaged-*.sqlite"))

    def drop_damaged(self) -> None:
        """Delete the databases that were set aside: they hold events of people."""
        for path in self.damaged():
            _delete(path)

    def close(self) -> None:
        """Close the database; rows stay."""
        self.db.close()
        if self._last >= 0:
            os.close(self._last)
            self._last = -1

    def _open(self, *, is_checked: bool) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        try:
            # Damaged text must not raise: the row's checksum finds it.
            db.text_factory = lambda text: text.decode(errors="replace")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
            db.execute(f"PRAGMA journal_size_limit = {_LOG_PAGES * PAGE}")
            db.execute(f"PRAGMA max_page_count = {self._max_pages}")
            if is_checked:
                check = "integrity_check" if self.path.stat().st_size <= _CHECKED else "quick_check"
                (found,) = db.execute(f"PRAGMA {check}(1)").fetchone()
                if found != "ok":
                    raise DamagedError(found)
            for table in _TABLES:
                db.execute(table)
            if is_checked:
                _upgrade(db)
        except BaseException:
            db.close()
            raise
        return db

    def _read_last(self) -> LastState:
        text = os.pread(self._last, 2**20, 0).partition(b"\n")[0]
        crc, _, body = text.partition(b" ")
        try:
            if int(crc, 16) != zlib.crc32(body):
                raise ValueError("its checksum is wrong")
            delivered, waiting, numbers, leases = json.loads(body)
            return LastState(Position.parse(delivered), tuple(waiting), numbers, leases)
        except (ValueError, TypeError) as error:
            if text:
                _log.error("spool_damaged", reason=f"spool.last: {error}", kept_as="", readable=0)
            return LastState()


def _upgrade(db: sqlite3.Connection) -> None:
    """Take over the tables of schema 1 (position << 20 | n as one integer), a part at a time; safe to interrupt."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "waiting" not in tables:
        return
    while old := db.execute("SELECT position, rank, type, body FROM waiting LIMIT ?", (_CHUNK,)).fetchall():
        db.execute("BEGIN IMMEDIATE")
        try:
            for key, rank, kind, body in old:
                position = _from_packed(key)
                db.execute(
                    "INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, ?, ?)",
                    (position, rank, kind, body, UNKNOWN_EPOCH, checksum(position, rank, kind, body)),
                )
                db.execute("DELETE FROM waiting WHERE position = ?", (key,))
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
    marks = db.execute("SELECT delivered FROM mark").fetchone() if "mark" in tables else None
    if marks is not None:
        db.execute("INSERT OR IGNORE INTO meta VALUES ('delivered', ?)", (json.dumps(_from_packed(marks[0])),))
    db.execute("DROP TABLE IF EXISTS mark")
    db.execute("DROP TABLE waiting")


_SALVAGE = "SELECT position, rank, type, body, epoch, crc FROM rows NOT INDEXED ORDER BY rowid"
UNKNOWN_EPOCH = -1
"""Epoch of rows written by schema 1."""


def _from_packed(key: int) -> str:
    return Position(key >> 20, key & (2**20 - 1)).key


def _salvage(path: Path) -> list[Stored]:
    """Read the rows of a damaged database from both ends, as far as it goes; only sound ones, in order."""
    found: dict[str, Stored] = {}
    if not path.exists():
        return []
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.text_factory = lambda text: text.decode(errors="replace")
        for query in (_SALVAGE, f"{_SALVAGE} DESC"):
            with suppress(sqlite3.Error, MemoryError):
                for row in db.execute(query):
                    if is_sound(row):
                        found[row[0]] = row
    finally:
        db.close()
    return [found[position] for position in sorted(found)]


def _delete(path: Path) -> None:
    for suffix in _SUFFIXES:
        Path(f"{path}{suffix}").unlink(missing_ok=True)
