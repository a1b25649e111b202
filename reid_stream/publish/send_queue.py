"""Make rows of events, and keep them for Redis: on the disk, and in memory as far as the sender keeps up.

An event that finds no room on the disk is `loose`: it waits in memory only, and goes to the disk as soon as there is
room again. Memory is bounded as the spool is, and drops events in the same order.

Concurrency: not thread-safe; the sink's lock is held around every call.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import structlog

from reid_stream.events import Event
from reid_stream.publish.cloudevents import encode
from reid_stream.publish.site_time import in_utc
from reid_stream.publish.spool import Spool, SpoolFullError
from reid_stream.publish.spool_row import RANKS, Row, rank_of
from reid_stream.publish.stream_ids import NOWHERE, Position, Positions

BATCH = 500
"""Events per transaction: Redis serves no other client meanwhile (about 5 ms)."""
_MEMORY = 20_000
"""Events kept in memory for the sender; beyond that it reads the disk."""
_MEMORY_BYTES = 64 * 2**20
"""Largest memory of events and entries that find no room on the disk."""
_RETRY_S = 1.0
"""Interval between attempts to write the waiting events to a full disk, seconds."""
_log = structlog.get_logger(__name__)

Item = tuple[Row, Event | None]
"""A row, and its event where it is still in memory."""


class EventRows:
    """Encodes events as CloudEvents JSON, with the run's next number, at the next position of the stream."""

    def __init__(
        self,
        site: str,
        run: str,
        *,
        journal: str | None = None,
        first_sequence: int = 0,
        clock: Callable[[], float] = time.time,
        shift_s: Callable[[], float] = float,
    ) -> None:
        """See `RedisSink`."""
        self.positions = Positions(NOWHERE)
        self.sequence = first_sequence
        """Number of the next event."""
        self._site, self._run, self._journal = site, run, journal
        self._clock, self._shift_s = clock, shift_s

    def decided(self, events: Sequence[Event], entry: Callable[[int], bytes] | None = None) -> list[Item]:
        """Make rows of new events in site time, behind the journal's entry from which they follow."""
        now = self._clock()
        made: list[Item] = []
        if entry is not None and self._journal is not None:
            made.append((Row.entry(self.positions.next(now), self._journal, entry(self.sequence)), None))
        for event in events:
            made.append(self._row(in_utc(event, self._shift_s()), self._run, self.sequence, now))
            self.sequence += 1
        return made

    def recovered(self, events: Sequence[tuple[str, int, Event]]) -> list[Item]:
        """Make rows of events (run, number, event) that an earlier daemon decided."""
        now = self._clock()
        made = [self._row(event, run, sequence, now) for run, sequence, event in events]
        ours = [sequence + 1 for run, sequence, _ in events if run == self._run]
        self.sequence = max(self.sequence, *ours, 0)
        return made

    def _row(self, event: Event, run: str, sequence: int, now: float) -> Item:
        body = encode(event, site=self._site, run=run, sequence=sequence)
        return Row(self.positions.next(now), rank_of(event.type), event.type, body), event


class Backlog:
    """Events and entries that wait for Redis, in order."""

    def __init__(self, spool: Spool, max_memory: int = _MEMORY, retry_s: float = _RETRY_S) -> None:
        self.spool = spool
        self._max_memory = max_memory
        self._retry_s = retry_s
        self._failed_at = float("-inf")
        self._memory: deque[Item] = deque()
        self._taken: Sequence[Item] = ()
        """The batch that is being sent."""
        self._is_behind = True
        """The spool has rows that are neither in memory nor sent."""
        self._loose: set[Position] = set()
        self._loose_bytes = 0
        """Upper bound of their size; counted again when it is too much."""

    def __bool__(self) -> bool:
        return bool(self._memory) or self._is_behind

    @property
    def is_on_disk(self) -> bool:
        """Everything that waits would outlive this process."""
        return not self._loose

    @property
    def in_memory_only(self) -> int:
        """Events that would not."""
        return len(self._loose)

    def keep(self, taken: list[Item], numbers: Mapping[str, int] | None = None) -> Counter[str]:
        """Take events in; return how many of each rank were dropped for them.

        `numbers`: see `Spool.append`.
        """
        if self._loose and time.monotonic() - self._failed_at < self._retry_s:
            return self._keep_in_memory(taken)
        loose = [item for item in self._memory if item[0].position in self._loose]
        try:
            self.spool.append([row for row, _ in (*loose, *taken)], numbers)
        except SpoolFullError as error:
            if not self._loose:
                _log.error("spool_unwritable", reason=str(error))
            self._failed_at = time.monotonic()
            return self._keep_in_memory(taken)
        if loose:
            self._loose.difference_update(row.position for row, _ in loose)
            _log.info("spool_writable", events=len(loose))
        self._refill()
        gone = Counter({name: count for name, count in self.spool.dropped.items() if count})
        self.spool.dropped = dict.fromkeys(RANKS, 0)
        if gone:
            # Some of them may be in memory as well: the disk knows which are left.
            self._read_the_disk()
        elif not self._is_behind and len(self._memory) + len(taken) <= self._max_memory:
            self._memory.extend(taken)
        else:
            self._is_behind = True
        return gone

    def take(self, sent: Position) -> list[Item]:
        """Return the next events behind `sent`, up to a batch; they are not dropped until `put_back` or `settle`."""
        if not self._is_behind:
            taken = [self._memory.popleft() for _ in range(min(BATCH, len(self._memory)))]
        else:
            rows = self.spool.after(sent, BATCH)
            merged: dict[Position, Item] = {row.position: (row, None) for row in rows}
            merged |= {item[0].position: item for item in islice(self._memory, BATCH)}
            taken = [merged[position] for position in sorted(merged)[:BATCH]]
            while taken and self._memory and self._memory[0][0].position <= taken[-1][0].position:
                self._memory.popleft()
            self._is_behind = len(rows) == BATCH or len(merged) > BATCH
        if taken:
            self.spool.hold(taken[-1][0].position)
        self._taken = taken
        return taken

    def put_back(self, batch: Sequence[Item], sent: Position) -> None:
        """Take up a failed batch again later: from the disk, but for what is in memory only."""
        self._memory.extendleft(reversed(batch))
        self._taken = ()
        self._refill()
        self._read_the_disk()
        self.spool.hold(sent)

    def settle(self, batch: Sequence[Item]) -> None:
        """Forget the memory of a batch that is delivered."""
        self._taken = ()
        if self._loose:
            self._loose.difference_update(row.position for row, _ in batch)

    def move(self, moves: Sequence[tuple[Position, Position]]) -> None:
        """Give events new, higher positions, in order; whatever waits is then read from the disk again.

        Raises:
            sqlite3.Error: no room on the disk; nothing has moved.
        """
        self.spool.move(moves[::-1])
        renamed = dict(moves)
        self._read_the_disk()
        self._memory = deque((row._replace(position=renamed[row.position]), event) for row, event in self._memory)
        self._loose = {row.position for row, _ in self._memory}

    def waiting_behind(self, sent: Position) -> list[Row]:
        """Return everything that waits behind `sent`, in order."""
        rows = {row.position: row for row in self.spool.after(sent, -1)}
        rows |= {row.position: row for row, _ in self._memory if row.position > sent}
        return [rows[position] for position in sorted(rows)]

    def _refill(self) -> None:
        """Put what is in memory back on the disk where a damaged database was replaced."""
        if self.spool.was_replaced:
            rows = [row for row, _ in (*self._taken, *self._memory) if row.position not in self._loose]
            self.spool.refill(rows)

    def _read_the_disk(self) -> None:
        self._memory = deque(item for item in self._memory if item[0].position in self._loose)
        self._is_behind = True

    def _keep_in_memory(self, taken: list[Item]) -> Counter[str]:
        """Take events that find no room on the disk; return how many of each rank were dropped for them."""
        self._loose.update(row.position for row, _ in taken)
        self._memory.extend(taken)
        self._loose_bytes += sum(len(row.body) for row, _ in taken)
        gone: Counter[str] = Counter()
        if len(self._loose) <= self._max_memory and self._loose_bytes <= _MEMORY_BYTES:
            return gone
        loose = [row for row, _ in self._memory if row.position in self._loose]
        # A tenth more than needed, so that this is not done at each event.
        excess = len(self._loose) - self._max_memory + self._max_memory // 10
        too_much = sum(len(row.body) for row in loose) - _MEMORY_BYTES * 9 // 10
        oldest: list[Row] = []
        for row in sorted(loose, key=lambda row: (row.rank, row.position)):
            if len(oldest) >= excess and too_much <= 0:
                break
            oldest.append(row)
            too_much -= len(row.body)
        self._loose_bytes = too_much + _MEMORY_BYTES * 9 // 10
        gone.update(RANKS[row.rank] for row in oldest)
        lost = {row.position for row in oldest}
        self._loose -= lost
        self._memory = deque(item for item in self._memory if item[0].position not in lost)
        return gone
