"""Bookkeeping of a spool: delivered position, waiting and lost rows, and the numbers of global IDs.

Kept in the database and, for the latest state, in `spool.last` beside it. Rows that should wait according to
`spool.last` and are not in the database are lost: its file was damaged.

Concurrency: not thread-safe; the spool's lock is held around every call.
"""

import sqlite3
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from reid_stream.publish.spool_epochs import NO_EPOCH, begin
from reid_stream.publish.spool_file import UNKNOWN_EPOCH, LastState, SpoolFile
from reid_stream.publish.spool_row import RANKS, Epoch, Row
from reid_stream.publish.stream_ids import NOWHERE, Position

LossCause = Literal["stale", "damaged"]
Counts = tuple[int, ...]
"""One number per rank of `spool_row.RANKS`."""
_IN_MEMORY = 8192
_KEPT = 512
"""Checkpoints that the spool keeps on disk."""


class DeliveryLog:
    """Cumulative counts of delivered events at positions of the stream, to count what a Redis without its data lost.

    Exact for the latest few thousand transactions, which Redis has whole or not at all; further back the log is
    thinned, and an answer counts at most one interval of the thinned log too much.
    """

    def __init__(self, ranks: int, known: Iterable[tuple[Position, Counts]] = ()) -> None:
        """`known`: checkpoints of an earlier run, in order."""
        self._zero: Counts = (0,) * ranks
        self._log: list[tuple[Position, Counts]] = list(known)

    @property
    def total(self) -> Counts:
        """Events delivered so far."""
        return self._log[-1][1] if self._log else self._zero

    @property
    def last(self) -> Position:
        """Position of the latest checkpoint."""
        return self._log[-1][0] if self._log else NOWHERE

    def add(self, position: Position, counts: Iterable[int]) -> None:
        """Note that `counts` more events, up to `position`, were delivered."""
        total = tuple(a + b for a, b in zip(self.total, counts, strict=True))
        if self._log and position <= self._log[-1][0]:
            self._log[-1] = (self._log[-1][0], total)
        else:
            self._log.append((position, total))
        if len(self._log) > _IN_MEMORY:
            self._log = thinned(self._log)

    def since(self, position: Position, most: int) -> Counts:
        """Count the events delivered behind `position`, of the latest `most` ones only."""
        place = bisect_right(self._log, position, key=lambda entry: entry[0])
        base = self._log[place - 1][1] if place else self._zero
        floor = sum(self.total) - most
        if sum(base) < floor:
            base = next(counts for _, counts in self._log if sum(counts) >= floor)
        return tuple(a - b for a, b in zip(self.total, base, strict=True))

    def forget_behind(self, position: Position) -> None:
        """Drop the entries behind `position`: their events are delivered again, or lost."""
        del self._log[bisect_right(self._log, position, key=lambda entry: entry[0]) :]


def thinned(entries: list[tuple[Position, Counts]]) -> list[tuple[Position, Counts]]:
    """Return every second one of the older half and all of the newer half."""
    middle = len(entries) // 2
    return entries[:middle:2] + entries[middle:]


class SpoolLedger:
    """State beside the rows."""

    def __init__(self, file: SpoolFile) -> None:
        """Begin with `spool.last`; `load` reads the database."""
        known = file.last_state
        self.delivered = known.delivered
        self.numbers = dict(known.numbers)
        """Highest number of a global ID, by site."""
        self.log = DeliveryLog(len(RANKS))
        self.epoch = NO_EPOCH
        """Epoch of rows that are appended now."""
        self._file = file
        self._waiting = list(known.waiting or (0,) * len(RANKS))
        self._lost: Counter[tuple[LossCause, str]] = Counter()
        self._current: tuple[str, str] | None = None
        """Lease and token of the epoch."""
        self._leases = dict(known.leases)
        """Latest token by lease."""

    def load(self) -> None:
        """Read the database."""
        self.delivered = max(position_of(self._file.get("delivered", "")), self.delivered)
        numbers = self._file.get("numbers", {})
        for site, number in numbers.items() if isinstance(numbers, dict) else ():
            if isinstance(number, int):
                self.numbers[str(site)] = max(number, self.numbers.get(str(site), 0))
        self.log = DeliveryLog(len(RANKS), self._checkpoints())
        self.count()
        self.write()

    def restore(self, make: Callable[[], bool]) -> bool:
        """Put what was read of a damaged database, and what is known, into the one that `make` opens.

        False if `make` opened none.
        """
        if not make():
            return False
        rows, self._file.salvaged = self._file.salvaged, []
        known = (self.epoch, NO_EPOCH)
        with self._file.transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?)",
                [(*row[:4], row[4] if row[4] in known else UNKNOWN_EPOCH, row[5]) for row in rows],
            )
            self._file.put("delivered", self.delivered.key)
            self._file.put("numbers", self.numbers)
            self._file.put("epoch", self.epoch)
            for lease, token in self._leases.items():
                self._file.put(f"lease:{lease}", [token])
            if self._current is not None:
                db.execute("INSERT INTO epochs VALUES (?, ?, ?)", (self.epoch, *self._current))
        self.count()
        self.write()
        return True

    def begin_epoch(self, epoch: Epoch) -> None:
        """See `Spool.begin_epoch`."""
        with self._file.transaction() as db:
            number, stale = begin(db, self._file, epoch, self.delivered)
        self.epoch, self._current = number, (epoch.lease, epoch.token)
        self._leases[epoch.lease] = epoch.token
        for rank, count in stale.items():
            self._lose("stale", rank, count)
            self.drop(rank_in_range(rank), count)
        self.count()
        self.write()

    def add(self, rows: Sequence[Row]) -> None:
        """Note rows that were appended."""
        for row in rows:
            self._waiting[row.rank] += row.position > self.delivered
        self.write()

    def refilled(self, kept: Mapping[int, int]) -> None:
        """Note rows that were lost, and are put back from memory."""
        for rank, count in kept.items():
            self._waiting[rank] += count
            self._lost["damaged", RANKS[rank]] = max(self._lost["damaged", RANKS[rank]] - count, 0)
        self.write()

    def deliver(self, delivered: Position, counts: Sequence[int]) -> None:
        """Note that Redis has everything up to `delivered`: `counts` more rows, by rank."""
        self.delivered = delivered
        if counts:
            self.log.add(delivered, counts)
            self._waiting = [max(a - b, 0) for a, b in zip(self._waiting, counts, strict=True)]
        self.write()

    def take_back(self, delivered: Position, rows: Sequence[Row]) -> None:
        """Note that Redis lost what came behind `delivered`, and that `rows` are to be delivered again."""
        self.delivered = delivered
        self.log.forget_behind(delivered)
        for row in rows:
            self._waiting[row.rank] += 1
        self.write()

    def drop(self, rank: int, count: int) -> None:
        """Note rows that were dropped for want of room."""
        self._waiting[rank] = max(self._waiting[rank] - count, 0)

    def know_numbers(self, numbers: Mapping[str, int]) -> None:
        """Note highest numbers, by site."""
        for site, number in numbers.items():
            self.numbers[site] = max(number, self.numbers.get(site, 0))

    def take_lost(self) -> dict[LossCause, Counter[str]]:
        """Return how many rows were lost since the last call, by cause and rank."""
        found: dict[LossCause, Counter[str]] = {}
        for (why, rank), count in (+self._lost).items():
            found.setdefault(why, Counter())[rank] += count
        self._lost.clear()
        return found

    def count(self) -> None:
        """Count the rows that wait; fewer than should are lost."""
        counts = self._file.db.execute(
            "SELECT rank, count(*) FROM rows WHERE position > ? GROUP BY rank", (self.delivered.key,)
        ).fetchall()
        before, self._waiting = self._waiting, [0] * len(RANKS)
        for rank, count in counts:
            self._waiting[rank_in_range(rank)] += count
        for rank, (wanted, found) in enumerate(zip(before, self._waiting, strict=True)):
            if wanted > found:
                self._lose("damaged", rank, wanted - found)

    def keep_checkpoint(self, db: sqlite3.Connection) -> None:
        """Write the latest entry of the log; the older half is thinned where it is long."""
        if self.log.last == NOWHERE:
            return
        counts = " ".join(map(str, self.log.total))
        db.execute("DELETE FROM checkpoints WHERE position > ?", (self.log.last.key,))
        db.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?)", (self.log.last.key, counts))
        (many,) = db.execute("SELECT count(*) FROM checkpoints").fetchone()
        if many > 2 * _KEPT:
            keys = [
                key for (key,) in db.execute("SELECT position FROM checkpoints ORDER BY position LIMIT ?", (_KEPT,))
            ]
            db.executemany("DELETE FROM checkpoints WHERE position = ?", [(key,) for key in keys[1::2]])

    def write(self) -> None:
        """Write `spool.last`."""
        self._file.write_last(LastState(self.delivered, tuple(self._waiting), self.numbers, self._leases))

    def _lose(self, why: LossCause, rank: object, count: int) -> None:
        self._lost[why, RANKS[rank_in_range(rank)]] += count

    def _checkpoints(self) -> list[tuple[Position, Counts]]:
        found: list[tuple[Position, Counts]] = []
        for key, text in self._file.db.execute("SELECT position, counts FROM checkpoints ORDER BY position"):
            counts = tuple(int(part) for part in str(text).split() if part.isascii() and part.isdecimal())
            # Totals only grow; anything else is damage.
            if len(counts) == len(RANKS) and (
                not found or all(a >= b for a, b in zip(counts, found[-1][1], strict=True))
            ):
                found.append((position_of(key), counts))
        return found


def position_of(key: object) -> Position:
    """Read a position from the database; the first of all where it is damaged."""
    try:
        return Position.parse(str(key))
    except ValueError:
        return NOWHERE


def rank_in_range(rank: object) -> int:
    """Return a rank from the database, `operation` where it is damaged."""
    return rank if isinstance(rank, int) and 0 <= rank < len(RANKS) else RANKS.index("operation")
