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
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from reid_stream.events import DaemonDropped, DaemonStopped, Event
from reid_stream.publish.cloudevents import encode
from reid_stream.publish.live_keys import numbers_key
from reid_stream.publish.redis_client import cause, check, translated
from reid_stream.publish.redis_stream import EventStream, Fence
from reid_stream.publish.send_queue import Backlog, Item
from reid_stream.publish.site_time import in_utc
from reid_stream.publish.spool import RANKS, Row, Spool, rank_of
from reid_stream.publish.stream_ids import NOWHERE, Position, Positions
from reid_stream.records import CameraId, GlobalId

if TYPE_CHECKING:
    import redis

_NUMBERS_S = 5.0
_RETRY_FIRST_S = 0.1
_RETRY_MAX_S = 2.0
_ANNOUNCE_S = 10.0
"""`daemon.dropped` is told at most so often while events are being given up."""
_log = structlog.get_logger(__name__)


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
    """Lost for want of room, by rank (spool.py)."""


class RedisSink:
    """The daemon's sink. `publish` may be called from any thread; one thread of its own sends."""

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
        keep_s: float = 30.0,
        journal: str | None = None,
        fence: Fence | None = None,
        clock: Callable[[], float] = time.time,
        shift_s: Callable[[], float] = float,
    ) -> None:
        """Check that Redis serves, then start to send; what an earlier run left in the spool goes first.

        Args:
            where: the address, for messages.
            run: names this run in every event.
            max_events: length that the stream is trimmed to, approximately.
            keeps_numbers: note the highest number of a global ID beside the events.
            keep_s: delivered events stay in the spool for so long, for a Redis that comes back without its latest data.
            first_sequence: not 0 where a run with the same name goes on.
            journal: key of the stream for the entries that `publish` may be given.
            fence: what must hold for anything to be sent.
            clock: the system's, UTC seconds.
            shift_s: UTC less site time now, seconds; identity events come in site time.

        Raises:
            BrokerError: Redis does not answer, refuses us or is too old.
        """
        self.counters = SinkCounters()
        self.spool = spool
        self._client = client
        self._where = where
        self._site = site
        self._run = run
        self._sequence = first_sequence
        self._keep_s = keep_s
        self._clock, self._shift_s = clock, shift_s
        self._journal = journal
        self._stream = EventStream(
            client, site, max_events=max_events, keeps_numbers=keeps_numbers, journal=journal, fence=fence
        )
        self._changed = threading.Condition()
        self._waiting = Backlog(spool)
        self._untold: Counter[str] = Counter()
        """Given up, by rank, since `daemon.dropped` last said so."""
        self._announced_at = float("-inf")
        self._closing = False
        self._sent = spool.delivered
        self._history: deque[tuple[float, Position]] = deque()
        self._away: str | None = None
        check(client, where)
        with translated(where):
            stored = self._stream.end()
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

    @property
    def is_on_disk(self) -> bool:
        """The spool takes what Redis does not."""
        return self._waiting.is_on_disk

    @property
    def in_memory_only(self) -> int:
        """Events that found no room on the disk."""
        return self._waiting.in_memory_only

    def ready(self) -> tuple[bool, str]:
        """Is there room for events somewhere, and where."""
        if self._away is None:
            return True, "redis"
        if self.is_on_disk:
            return True, f"on disk, since {self._away}"
        return False, f"neither redis ({self._away}) nor the spool takes events"

    def highest_number(self) -> int:
        """Return the highest number that a global ID of this site was ever made of, 0 for a new site.

        Raises:
            BrokerError: Redis does not answer.
        """
        self.flush(_NUMBERS_S)  # what an earlier run left in the spool may have newer ones
        with translated(self._where):
            found: Any = self._client.get(numbers_key(self._site))
        return int(found or 0)

    @property
    def sequence(self) -> int:
        """Number of the next event of this run."""
        return self._sequence

    @property
    def position(self) -> Position:
        """The last position given to an event or an entry."""
        return self._positions.last

    @property
    def sent(self) -> Position:
        """Everything up to here is on Redis."""
        return self._sent

    def recover(self, told: Sequence[tuple[str, int, Event]], present: Mapping[CameraId, Collection[GlobalId]]) -> None:
        """Take events (run, sequence, event) that an earlier daemon decided and did not get to Redis.

        `present`: who was in view when it ended, and is so still as far as anybody knows; nothing was told before.
        """
        with self._changed:
            self._stream.live.begin(present)
            now = self._clock()
            taken: list[Item] = []
            for run, sequence, event in told:
                body = encode(event, site=self._site, run=run, sequence=sequence)
                taken.append((Row(self._positions.next(now), rank_of(event.type), event.type, body), event))
                if run == self._run:
                    self._sequence = max(self._sequence, sequence + 1)
            self._take(taken)
            self._changed.notify_all()

    def publish(self, events: Sequence[Event], entry: Callable[[int], bytes] | None = None) -> None:
        """Take events to send, in order; they are on disk when this returns.

        `entry`: makes the journal's entry from which the events follow, given the number of the first of them; both are
        on disk, or neither.
        """
        if not events and entry is None:
            return
        with self._changed:
            # Nobody listens any more after the news that the daemon has stopped.
            is_last = bool(events) and isinstance(events[-1], DaemonStopped)
            if self._untold and (is_last or time.monotonic() - self._announced_at >= _ANNOUNCE_S):
                self._announce()
            self._keep(events, entry)
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything taken is on the stream; False if it took longer."""
        with self._changed:
            return self._changed.wait_for(lambda: self.backlog <= 0, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Send what is left and stop; False if some had to stay in the spool, for the next start."""
        with self._changed:
            if self._untold:
                self._announce()
        is_done = self.flush(timeout_s)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        # A sender in the middle of a socket's time-out ends soon by itself; it is not waited for without bound.
        self._thread.join(timeout_s if is_done else min(timeout_s, 1.0))
        self.spool.mark(self._sent)
        if not is_done:
            _log.warning("redis_away_at_stop", waiting=self.backlog)
        if not self._thread.is_alive():
            self.spool.close()
        self._client.close()
        return is_done

    def _keep(self, events: Sequence[Event], entry: Callable[[int], bytes] | None = None) -> None:
        now = self._clock()
        taken: list[Item] = []
        if entry is not None and self._journal is not None:
            taken.append((Row.entry(self._positions.next(now), self._journal, entry(self._sequence)), None))
        for decided in events:
            event = in_utc(decided, self._shift_s())
            body = encode(event, site=self._site, run=self._run, sequence=self._sequence)
            taken.append((Row(self._positions.next(now), rank_of(event.type), event.type, body), event))
            self._sequence += 1
        self._take(taken)

    def _take(self, taken: list[Item]) -> None:
        self.counters.accepted += len(taken)
        gone = self._waiting.keep(taken)
        if gone:
            if not self._untold:
                _log.error("spool_full", **gone)
            self.counters.dropped += gone
            self._untold += gone

    def _announce(self) -> None:
        """Tell subscribers what was given up, as an event among the others."""
        gone, self._untold = self._untold, Counter()
        self._announced_at = time.monotonic()
        reason = "the spool is full" if self._waiting.is_on_disk else "the disk is full"
        ranks = {name: gone[name] for name in RANKS}
        self._keep([DaemonDropped(run=self._run, told_at=self._clock(), reason=reason, **ranks)])

    def _send_all(self) -> None:
        delay = _RETRY_FIRST_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._closing and self.backlog <= 0:
                    return
            batch: list[Item] = []
            try:
                stored = self._stream.end()
                if stored < self._sent:
                    self._go_back_to(stored)
                with self._changed:
                    batch = self._waiting.take(self._sent)
                if batch:
                    self._deliver(batch, stored)
            except Exception as error:  # noqa: BLE001 (whatever it is, events wait on disk and the sender tries again)
                self._note_fault(error)
                with self._changed:
                    self._waiting.put_back(batch, self._sent)
                    if self._changed.wait_for(lambda: self._closing, delay):
                        return
                delay = min(delay * 2, _RETRY_MAX_S)
                continue
            delay = _RETRY_FIRST_S
            if self._away is not None:
                _log.info("redis_back", waiting=self.backlog)
                self._away = None
                with self._changed:
                    if self._untold:
                        self._announce()

    def _deliver(self, batch: list[Item], stored: Position) -> None:
        known = self._stream.stored([row for row, _ in batch]) if batch[0][0].position <= stored else frozenset()
        self._stream.follow([item for item in batch if item[0].position in known])
        new = [(row, event) for row, event in batch if row.position not in known]
        found, refused = len(known), new
        if new and new[0][0].position > stored:
            refused, again = self._stream.add(new)
            found += again
        end = self._stream.end() if refused else stored
        with self._changed:
            self.counters.found += found
            self.counters.published += len(batch) - len(refused)
            self._sent = batch[-1][0].position
            if refused:
                left = {row.position for row, _ in refused}
                self._waiting.settle([item for item in batch if item[0].position not in left])
                self._move(refused, end)
            else:
                self._waiting.settle(batch)
            self._forget()
            self._changed.notify_all()

    def _move(self, refused: list[Item], end: Position) -> None:
        """Give refused events, and all behind them, new positions above the stream's end."""
        self._positions.stay_above(end)
        rows = [row for row, _ in refused] + self._waiting.waiting_behind(self._sent)
        now = self._clock()
        moves = [(row.position, self._positions.next(now)) for row in rows]
        self._waiting.put_back(refused, self._sent)
        self._waiting.move(moves)
        self.counters.moved += len(refused)
        self._sent = max(NOWHERE, Position.from_key(moves[0][1].key - 1))
        _log.warning("stream_other_writer", stream=self._stream.key, count=len(rows))

    def _go_back_to(self, stored: Position) -> None:
        """Send again, as far as the spool remembers, what Redis came back without."""
        with self._changed:
            lost = [row for row in self.spool.after(stored, -1) if row.position <= self._sent]
            if lost:
                self.counters.resent += len(lost)
                self.counters.published = max(self.counters.published - len(lost), 0)
                self._sent = Position.from_key(lost[0].position.key - 1)
                self.spool.note(self._sent)
                self._waiting.put_back((), self._sent)
                _log.warning("redis_lost_events", count=len(lost))

    def _forget(self) -> None:
        """Mark what is delivered; delete what was delivered long enough ago."""
        now = time.monotonic()
        self.spool.note(self._sent)
        if not self._history or now - self._history[-1][0] >= 1.0:
            self._history.append((now, self._sent))
            forget = NOWHERE
            while now - self._history[0][0] > self._keep_s:
                forget = self._history.popleft()[1]
            self.spool.mark(self._sent, forget=forget)

    def _note_fault(self, error: BaseException) -> None:
        reason = cause(error)
        # What stands in brackets are details, too many for a label.
        self.counters.faults[reason.partition(" (")[0]] += 1
        self._client.connection_pool.disconnect()
        if self._away != reason:
            _log.warning("redis_away", reason=reason, waiting=self.backlog)
        self._away = reason
