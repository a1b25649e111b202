"""Events to Redis: on disk first, then in order to the stream, the channel and the live keys, whatever Redis does.

    publish(): event ─▶ envelope, position ─▶ spool ─▶ memory      the caller's thread; never waits for Redis
    sender:    memory or spool ─▶ MULTI: XADD, PUBLISH, live keys ─▶ mark as delivered

A batch is one transaction, so a lost answer leaves all of it or nothing. Before each batch the sender looks where the
stream ends: behind the batch's first position, and it leaves out what is stored already; before the last event
delivered, and Redis came back without it, so it goes again. Thus every event is on the stream once and in order; on
the Pub/Sub channel at most once while Redis keeps its data.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from reid_stream.events import Event
from reid_stream.publish.connection import cause, check, translated
from reid_stream.publish.envelope import Unknown, decode, encode
from reid_stream.publish.positions import NOWHERE, Position, Positions
from reid_stream.publish.spool import RANKS, Row, Spool, SpoolFullError, rank_of
from reid_stream.publish.state import LiveState, numbers_key, stream_key

if TYPE_CHECKING:
    import redis

_BATCH = 500
"""Events per transaction: Redis serves nobody else meanwhile (about 5 ms)."""
_MEMORY = 20_000
"""Events kept in memory for the sender; beyond that it reads the disk."""
_NUMBERS_S = 5.0
_RETRY_FIRST_S = 0.1
_RETRY_MAX_S = 2.0
_KEEP_S = 10.0
"""Delivered events stay in the spool for so long, for a Redis that comes back without its last second of data."""
_log = structlog.get_logger(__name__)


class EventSink(Protocol):
    """Takes events; never blocks for long, never loses one in silence."""

    def publish(self, events: Sequence[Event]) -> None:
        """Take events to send, in order."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Wait until all is sent; False if it took too long."""
        ...

    def close(self, timeout_s: float) -> bool:
        """Send what is left and stop; False if some had to stay on disk."""
        ...


@dataclass(slots=True)
class SinkCounters:
    """What became of the events so far."""

    accepted: int = 0
    """Handed to `publish`, and what an earlier run had left in the spool."""
    published: int = 0
    """On the stream."""
    found: int = 0
    """Of these, already there when tried again."""
    resent: int = 0
    """Delivered again because Redis came back without them."""
    moved: int = 0
    """Given a new position, since another writer had passed the first one."""
    faults: Counter[str] = field(default_factory=Counter)
    """Attempts that failed, by cause."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Lost for want of room, by rank (`liveness`, `operation`, `identity`)."""


class RedisSink:
    """The EventSink of the daemon. `publish` may be called from any thread; one thread of its own sends."""

    def __init__(
        self,
        client: "redis.Redis",
        *,
        where: str,
        site: str,
        run: str,
        spool: Spool,
        max_events: int = 1_000_000,
        first_sequence: int = 0,
        keeps_numbers: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Check that Redis serves, then start to send; what an earlier run left in the spool goes first.

        Args:
            where: the address, for messages.
            run: names this run in every event.
            max_events: length that the stream is trimmed to, approximately.
            keeps_numbers: note the highest number of a global ID beside the events.
            first_sequence: not 0 where a run with the same name goes on.

        Raises:
            BrokerError: Redis does not answer, refuses us or is too old.
        """
        self.counters = SinkCounters()
        self._client = client
        self._where = where
        self._site = site
        self._run = run
        self._spool = spool
        self._max_events = max_events
        self._sequence = first_sequence
        self._clock = clock
        self._key = stream_key(site)
        self._live = LiveState(site, keeps_numbers=keeps_numbers)
        self._changed = threading.Condition()
        self._memory: deque[tuple[Row, Event | None]] = deque()
        self._is_behind = True
        """The spool has rows that are neither in memory nor sent."""
        self._loose: set[Position] = set()
        """Events that found no room on the disk and are in memory only."""
        self._closing = False
        self._sent = spool.delivered
        self._history: deque[tuple[float, Position]] = deque()
        self._away: str | None = None
        check(client, where)
        with translated(where):
            stored = self._last_stored()
        self._positions = Positions(max(spool.last(), stored))
        self.counters.accepted = spool.waiting()
        self._thread = threading.Thread(target=self._send_all, name="publish", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """Events taken and not yet on the stream."""
        return max(self.counters.accepted - self.counters.published - sum(self.counters.dropped.values()), 0)

    @property
    def away(self) -> str | None:
        """Why Redis does not serve at the moment; none while it does."""
        return self._away

    def highest_number(self) -> int:
        """Return the highest number that a global ID of this site was ever made of, 0 for a new site.

        Raises:
            BrokerError: Redis does not answer.
        """
        self.flush(_NUMBERS_S)  # what an earlier run left in the spool may have newer ones
        with translated(self._where):
            found: Any = self._client.get(numbers_key(self._site))
        return int(found or 0)

    def publish(self, events: Sequence[Event]) -> None:
        """Take events to send, in order; they are on disk when this returns."""
        if not events:
            return
        now = self._clock()
        with self._changed:
            rows = []
            for event in events:
                body = encode(event, site=self._site, run=self._run, sequence=self._sequence)
                rows.append(Row(self._positions.next(now), rank_of(event.type), event.type, body))
                self._sequence += 1
            self.counters.accepted += len(rows)
            self._keep(list(zip(rows, events, strict=True)))
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything taken is on the stream; False if it took longer."""
        with self._changed:
            return self._changed.wait_for(lambda: self.backlog <= 0, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Send what is left and stop; False if some had to stay in the spool, for the next start."""
        is_done = self.flush(timeout_s)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        # A sender in the middle of a socket's time-out ends soon by itself; it is not waited for without bound.
        self._thread.join(timeout_s if is_done else min(timeout_s, 1.0))
        self._spool.mark(self._sent, forget=self._sent)
        if not self._thread.is_alive():
            self._spool.close()
        self._client.close()
        return is_done

    def _keep(self, taken: list[tuple[Row, Event | None]]) -> None:
        try:
            self._spool.append([row for row, _ in taken])
        except SpoolFullError as error:
            if not self._loose:
                _log.error("spool full, events stay in memory only", reason=str(error))
            room = max(_MEMORY - len(self._memory), 0)
            for row, _ in taken[room:]:
                self.counters.dropped[RANKS[row.rank]] += 1
            self._memory.extend(taken[:room])
            self._loose.update(row.position for row, _ in taken[:room])
            return
        for name, count in self._spool.dropped.items():
            if count:
                self.counters.dropped[name] += count
                self._spool.dropped[name] = 0
                _log.warning("spool full, events given up", rank=name, count=count)
        if not self._is_behind and len(self._memory) + len(taken) <= _MEMORY:
            self._memory.extend(taken)
        else:
            self._is_behind = True

    def _send_all(self) -> None:
        delay = _RETRY_FIRST_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._memory or self._is_behind or self._closing)
                if self._closing and self.backlog <= 0:
                    return
            batch: list[tuple[Row, Event | None]] = []
            try:
                stored = self._last_stored()
                if stored < self._sent:
                    self._go_back_to(stored)
                batch = self._take()
                if batch:
                    self._deliver(batch, stored)
            except Exception as error:  # noqa: BLE001 (whatever it is, events wait on disk and the sender tries again)
                self._note_fault(error)
                with self._changed:
                    self._put_back(batch)
                    if self._changed.wait_for(lambda: self._closing, delay):
                        return
                delay = min(delay * 2, _RETRY_MAX_S)
                continue
            delay = _RETRY_FIRST_S
            if self._away is not None:
                _log.info("redis is back", waiting=self.backlog)
                self._away = None

    def _take(self) -> list[tuple[Row, Event | None]]:
        with self._changed:
            if not self._is_behind:
                return [self._memory.popleft() for _ in range(min(_BATCH, len(self._memory)))]
            rows = self._spool.after(self._sent, _BATCH)
            merged: dict[Position, tuple[Row, Event | None]] = {row.position: (row, None) for row in rows}
            merged |= {item[0].position: item for item in islice(self._memory, _BATCH)}
            taken = [merged[position] for position in sorted(merged)[:_BATCH]]
            while taken and self._memory and self._memory[0][0].position <= taken[-1][0].position:
                self._memory.popleft()
            self._is_behind = len(rows) == _BATCH or len(merged) > _BATCH
            return taken

    def _put_back(self, batch: list[tuple[Row, Event | None]]) -> None:
        """Take up a failed batch again later: from the disk, but for what is in memory only."""
        loose = [item for item in (*batch, *self._memory) if item[0].position in self._loose]
        self._memory = deque(loose)
        self._is_behind = True

    def _deliver(self, batch: list[tuple[Row, Event | None]], stored: Position) -> None:
        known = self._stored_of([row for row, _ in batch]) if batch[0][0].position <= stored else frozenset()
        new = [(row, event) for row, event in batch if row.position not in known]
        end = stored
        if new and new[0][0].position <= stored:
            refused = new
        else:
            refused = self._add(new) if new else []
            end = self._last_stored() if refused else stored
        with self._changed:
            self.counters.found += len(known)
            self.counters.published += len(batch) - len(refused)
            self._sent = batch[-1][0].position
            if self._loose:
                self._loose.difference_update(row.position for row, _ in batch)
            if refused:
                self._move(refused, end)
            self._forget()
            self._changed.notify_all()

    def _add(self, batch: list[tuple[Row, Event | None]]) -> list[tuple[Row, Event | None]]:
        """Send one transaction; return what Redis refused because another writer has passed it."""
        import redis

        pipeline = self._client.pipeline(transaction=True)
        for row, _ in batch:
            pipeline.execute_command(  # type: ignore[no-untyped-call]
                "XADD",
                self._key,
                "MAXLEN",
                "~",
                self._max_events,
                str(row.position),
                "type",
                row.type,
                "event",
                row.body,
            )
        for row, _ in batch:
            pipeline.execute_command("PUBLISH", self._key, row.body)  # type: ignore[no-untyped-call]
        events = [event if event is not None else decode(row.body).data for row, event in batch]
        for command in self._live.commands([event for event in events if not isinstance(event, Unknown)]):
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        faults = [answer for answer in answers[len(batch) :] if isinstance(answer, redis.exceptions.ResponseError)]
        refused = []
        for item, answer in zip(batch, answers, strict=False):
            if isinstance(answer, redis.exceptions.ResponseError) and "equal or smaller" in str(answer):
                refused.append(item)
            elif isinstance(answer, redis.exceptions.ResponseError):
                faults.append(answer)
        if faults:
            raise faults[0]
        stored = self._stored_of([row for row, _ in refused])
        self.counters.found += len(stored)
        return [item for item in refused if item[0].position not in stored]

    def _move(self, refused: list[tuple[Row, Event | None]], end: Position) -> None:
        """Give refused events, and all behind them, new positions above the stream's end."""
        self._positions.stay_above(end)
        waiting = self._spool.after(self._sent, -1)
        rows = [row for row, _ in refused] + waiting
        now = self._clock()
        moves = [(row.position, self._positions.next(now)) for row in rows]
        self._spool.move(moves[::-1])
        self.counters.moved += len(refused)
        self._memory.clear()
        self._sent = max(NOWHERE, Position.from_key(moves[0][1].key - 1))
        self._is_behind = True
        _log.warning("another writer is on the stream, events moved behind it", stream=self._key, count=len(refused))

    def _stored_of(self, rows: Sequence[Row]) -> frozenset[Position]:
        """Look which of the rows the stream has, with the same body."""
        if not rows:
            return frozenset()
        bodies = {str(row.position).encode(): row for row in rows}
        found = self._client.execute_command(  # type: ignore[no-untyped-call]
            "XRANGE", self._key, str(rows[0].position), str(rows[-1].position), "COUNT", len(rows) * 4
        )
        stored = set()
        for entry, fields in found or ():
            row = bodies.get(entry)
            if row is not None and _field(fields, b"event") == row.body:
                stored.add(row.position)
        return frozenset(stored)

    def _last_stored(self) -> Position:
        """Give the highest position the stream ever had, trimmed entries included."""
        import redis

        try:
            answer = self._client.xinfo_stream(self._key)
        except redis.exceptions.ResponseError as error:
            if "no such key" in str(error):
                return NOWHERE
            raise
        return Position.parse(answer["last-generated-id"].decode())

    def _go_back_to(self, stored: Position) -> None:
        """Send again, as far as the spool remembers, what Redis came back without."""
        with self._changed:
            lost = [row for row in self._spool.after(stored, -1) if row.position <= self._sent]
            if lost:
                self.counters.resent += len(lost)
                self.counters.published = max(self.counters.published - len(lost), 0)
                self._is_behind = True
                self._sent = Position.from_key(lost[0].position.key - 1)
                _log.warning("redis came back without its last events, sent again", count=len(lost))

    def _forget(self) -> None:
        """Mark what is delivered; delete what was delivered long enough ago."""
        now = time.monotonic()
        self._spool.note(self._sent)
        if not self._history or now - self._history[-1][0] >= 1.0:
            self._history.append((now, self._sent))
            forget = NOWHERE
            while now - self._history[0][0] > _KEEP_S:
                forget = self._history.popleft()[1]
            self._spool.mark(self._sent, forget=forget)

    def _note_fault(self, error: BaseException) -> None:
        reason = cause(error)
        self.counters.faults[reason] += 1
        self._client.connection_pool.disconnect()
        if self._away != reason:
            _log.warning("redis is away, events wait on disk", reason=reason, waiting=self.backlog)
        self._away = reason


def _field(fields: Any, name: bytes) -> bytes | None:
    pairs = fields.items() if isinstance(fields, dict) else zip(fields[::2], fields[1::2], strict=True)
    return next((value for key, value in pairs if key == name), None)
