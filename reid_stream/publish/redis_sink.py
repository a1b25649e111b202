"""Events to Redis: on disk first, then in order to the stream, the channel and the live keys, whatever Redis does.

    publish(): event ─▶ envelope, position ─▶ spool ─▶ memory      the caller's thread; never waits for Redis
    sender:    memory or spool ─▶ MULTI: XADD, PUBLISH, live keys ─▶ mark as delivered

A batch is one transaction, so a lost reply leaves all of it or nothing. Before each batch, and every second, the sender
checks how far Redis has what was sent: behind the batch's first position, it leaves out what is stored already; before
the last transaction, Redis has lost data (it came back empty, or with an old copy). Then what the spool still has goes
again, what is gone is reported by `daemon.dropped`, the live keys are written again, and the owners of other keys
(`when_lost`) write theirs. Thus every event is on the stream once and in order; on the Pub/Sub channel at most once
while Redis keeps its data.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from reid_stream.config import stopping
from reid_stream.events import DaemonStopped, Event
from reid_stream.publish.event_numbers import highest_given
from reid_stream.publish.live_keys import highest_number
from reid_stream.publish.live_mirror import EvictionWatch
from reid_stream.publish.redis_client import check, translated
from reid_stream.publish.redis_stream import EventStream, Fence, Look, StreamEndError
from reid_stream.publish.send_queue import Backlog, EventRows, Item
from reid_stream.publish.sink_status import LossReport, Outage, SinkCounters
from reid_stream.publish.spool import Spool
from reid_stream.publish.spool_row import RANKS
from reid_stream.publish.stream_ids import NOWHERE, Position
from reid_stream.records import CameraId, GlobalId

if TYPE_CHECKING:
    import redis

_NUMBERS_S = 5.0
_LOOK_S = 1.0
"""Interval of checks of Redis while there is nothing to send, seconds."""
_QUIET_S = 60.0
"""Time without another writer on the stream after which the next one is logged again, seconds."""
_log = structlog.get_logger(__name__)


class RedisSink:
    """The daemon's sink to Redis. `publish` may be called from any thread; a separate thread sends."""

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
            client: Redis; closed with the sink.
            where: the address, for messages.
            site: prefix of the keys.
            run: names this run in every event.
            spool: keeps events until they are sent; closed with the sink.
            max_events: length that the stream is trimmed to, approximately.
            keeps_numbers: note the highest number of a global ID, on Redis and in the spool.
            keep_s: seconds that delivered events stay in the spool, for a Redis that comes back without them.
            first_sequence: not 0 where a run of the same name continues.
            journal: key of the stream for the entries that `publish` may be given.
            fence: what must hold for anything to be sent; rows of the spool that another daemon's holding made stale
                are dropped.
            clock: the system's, UTC seconds.
            shift_s: UTC less site time now, seconds; identity events come in site time.

        Raises:
            BrokerError: Redis does not answer, refuses us or is too old.
        """
        self.counters = SinkCounters()
        self.spool = spool
        self._owners: list[Callable[[], None]] = []
        self.server_fault: Callable[[], str | None] = lambda: None
        """Returns why the server does not serve, where this process runs it; else None."""
        self._client, self._where, self._site, self._run = client, where, site, run
        self._max_events, self._keeps_numbers, self._keep_s, self._clock = max_events, keeps_numbers, keep_s, clock
        self._rows = EventRows(site, run, journal=journal, first_sequence=first_sequence, clock=clock, shift_s=shift_s)
        self._stream = EventStream(
            client, site, max_events=max_events, keeps_numbers=keeps_numbers, journal=journal, fence=fence
        )
        self._changed, self._waiting = threading.Condition(), Backlog(spool)
        self._report = LossReport()
        self.counters.lost = self._report.lost
        self._closing = self._is_restoring = self._has_lost = False
        self._outage = Outage(self.counters.faults)
        self._other_writer_at, self._history = float("-inf"), deque[tuple[float, Position]]()
        self._evictions = EvictionWatch(client)
        check(client, where)
        if fence is not None:
            spool.begin_epoch(fence.epoch)
            fence.begin()
        self._sent = spool.delivered
        if spool.log.last > NOWHERE:
            self._stream.marked = spool.delivered
        if keeps_numbers:
            self._stream.live.know_highest(spool.number(site))
        self._rows.positions.stay_above(spool.last())
        with translated(where):
            self._stream.load_live()
            try:
                self._rows.positions.stay_above(self._stream.read_progress().end)
            except StreamEndError as error:
                self._note_fault(error)
        self.counters.accepted = spool.waiting()
        self._note_lost()
        self._thread = threading.Thread(target=self._send_all, name="publish", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """Events taken and not yet on the stream."""
        return max(self.counters.accepted - self.counters.published - sum(self.counters.dropped.values()), 0)

    @property
    def is_sending(self) -> bool:
        """The sending thread runs; after `close` it may for a moment."""
        return self._thread.is_alive()

    @property
    def away(self) -> str | None:
        """Why Redis does not serve at the moment; none while it does."""
        return self._outage.reason

    @property
    def is_on_disk(self) -> bool:
        """The spool takes what Redis does not."""
        return self._waiting.is_on_disk

    @property
    def in_memory_only(self) -> int:
        """Events that found no room on the disk."""
        return self._waiting.in_memory_only

    def ready(self) -> tuple[bool, str]:
        """Return whether events can be stored anywhere, and where."""
        if (fault := self.server_fault()) is not None:
            return False, f"the embedded Redis {fault}"
        if self._outage.reason is None:
            return True, "redis"
        if self.is_on_disk:
            return True, f"on disk, since {self._outage.reason}"
        return False, f"neither redis ({self._outage.reason}) nor the spool takes events"

    def when_lost(self, write_again: Callable[[], None]) -> None:
        """Call `write_again` whenever Redis has lost data, for what others keep there; at once if it has already.

        Called by the sending thread; again where it raises.
        """
        with self._changed:
            self._owners.append(write_again)
            self._is_restoring |= self._has_lost

    def highest_number(self) -> int:
        """Return the highest number that a global ID of this site was ever made of, 0 for a new site.

        The spool knows it, too, should Redis have lost it.

        Raises:
            BrokerError: Redis does not answer.
        """
        self.flush(_NUMBERS_S)  # what an earlier run left in the spool may have newer ones
        known = self.spool.number(self._site)
        with translated(self._where):
            highest = max(highest_given(self._client, self._site), known)
        self._stream.live.know_highest(highest)
        return highest

    @property
    def sequence(self) -> int:
        """Number of the next event of this run."""
        return self._rows.sequence

    @property
    def position(self) -> Position:
        """The last position given to an event or an entry."""
        return self._rows.positions.last

    @property
    def sent(self) -> Position:
        """Everything up to here is on Redis."""
        return self._sent

    def recover(
        self, events: Sequence[tuple[str, int, Event]], present: Mapping[CameraId, Collection[GlobalId]]
    ) -> None:
        """Take events (run, sequence, event) that an earlier daemon decided and did not get to Redis.

        `present`: people in view when it ended, who have not left as far as is known; call this before `publish`.
        """
        with self._changed:
            self._stream.live.begin(present)
            self._take(self._rows.recovered(events))
            self._changed.notify_all()

    def publish(self, events: Sequence[Event], entry: Callable[[int], bytes] | None = None) -> None:
        """Take events to send, in order; they are on disk when this returns.

        `entry`: makes the journal's entry from which the events follow, given the number of the first of them; both are
        on disk, or neither.
        """
        if not events and entry is None:
            return
        with self._changed:
            # Subscribers may stop listening at the event that the daemon has stopped.
            is_last = bool(events) and isinstance(events[-1], DaemonStopped)
            if self._report.is_due or (is_last and self._report.is_open):
                self._announce()
            self._report.log_room(is_sent=False)
            self._keep(events, entry)
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything taken is on the stream; False if it took longer."""
        with self._changed:
            return self._changed.wait_for(lambda: self.backlog <= 0, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Send what is left and stop; False if some had to stay in the spool, for the next start."""
        with self._changed:
            if self._report.is_open:
                self._announce()
        # A server of this process that ended while the daemon is being stopped is not started again.
        is_gone = self.server_fault() is not None and stopping.is_requested()
        is_done = self.flush(0.0 if is_gone else timeout_s)
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
        self._take(self._rows.decided(events, entry))

    def _take(self, taken: list[Item]) -> None:
        self.counters.accepted += len(taken)
        highest = highest_number(event for _, event in taken if event is not None) if self._keeps_numbers else 0
        gone = self._waiting.keep(taken, {self._site: highest} if highest > self.spool.number(self._site) else None)
        self.counters.dropped += gone
        self._report.add_dropped(gone, is_on_disk=self._waiting.is_on_disk)
        self._note_lost()

    def _note_lost(self) -> None:
        """Take over what the spool has lost."""
        for why, counts in self.spool.take_lost().items():
            self._report.add_lost(why, counts)
            if why == "damaged":
                self.counters.accepted -= min(counts.total(), self.backlog)

    def _announce(self) -> None:
        """Report what was lost to subscribers, as events among the others."""
        self._keep(self._report.events(self._run, self._clock()))

    def _send_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing, _LOOK_S)
                if self._closing and self.backlog <= 0:
                    return
            batch: list[Item] = []
            try:
                look = self._look()
                with self._changed:
                    batch = self._waiting.take(self._sent)
                    self._note_lost()
                if batch:
                    self._deliver(batch, look)
            except Exception as error:  # noqa: BLE001 (whatever it is, events wait on disk and the sender tries again)
                self._note_fault(error)
                with self._changed:
                    self._waiting.put_back(batch, self._sent)
                    if self._changed.wait_for(lambda: self._closing, self._outage.next_wait_s()):
                        return
                continue
            self._note_service()

    def _look(self) -> Look:
        """Check how far Redis has what was sent; start to resend what it has lost."""
        look = self._stream.read_progress()
        behind = self._stream.lost_behind(look, self._sent)
        if behind is not None:
            self._go_back_to(behind, look)
        if self._evictions.has_evicted() or self._is_restoring or self._stream.is_restoration_due:
            self._restore()
        return look

    def _go_back_to(self, stored: Position, look: Look) -> None:
        """Resend events that Redis has lost, as far as the spool has them, and report the others as lost."""
        with self._changed:
            rows = [row for row in self.spool.after(stored, -1) if row.position <= self._sent]
            since = Counter(dict(zip(RANKS, self.spool.log.since(stored, self._max_events), strict=True)))
            since.subtract(RANKS[row.rank] for row in rows)
            del since["journal"]  # a fresh snapshot takes the place of its entries
            gone = +since
            _log.error("redis_lost_events", resent=len(rows), gone=gone.total(), stream=self._stream.key)
            self._report.add_lost("redis", gone)
            if self._report.is_open:
                self._announce()
            self.counters.resent += len(rows)
            self.counters.published = max(self.counters.published - len(rows), 0)
            self._sent = min(self._sent, stored)
            self._stream.begin_again(look)
            self.spool.take_back(self._sent, rows)
            self._waiting.put_back((), self._sent)
            self._is_restoring = self._has_lost = True

    def _restore(self) -> None:
        """Write the live keys again, and have others write theirs."""
        self._is_restoring = self._stream.is_restoration_due = False
        try:
            count = self._stream.restore_live(self._sent)
            for write_again in tuple(self._owners):
                write_again()
        except BaseException:
            self._is_restoring = True
            raise
        _log.info("live_keys_restored", keys=count)

    def _deliver(self, batch: list[Item], look: Look) -> None:
        is_behind = any(row.position <= look.ends[self._stream.key_of(row)] for row, _ in batch)
        known = self._stream.stored([row for row, _ in batch]) if is_behind else frozenset()
        self._stream.follow([item for item in batch if item[0].position in known])
        new = [(row, event) for row, event in batch if row.position not in known]
        found, refused = len(known), new
        if new and all(row.position > look.ends[self._stream.key_of(row)] for row, _ in new):
            refused, again = self._stream.add(new)
            found += again
        end = self._stream.read_progress().end if refused else NOWHERE
        with self._changed:
            self.counters.found += found
            self.counters.published += len(batch) - len(refused)
            self._sent = batch[-1][0].position
            left = {row.position for row, _ in refused}
            done = [item for item in batch if item[0].position not in left]
            self._waiting.settle(done)
            if refused:
                self._move(refused, end)
            self._forget(Counter(row.rank for row, _ in done))
            self._changed.notify_all()

    def _move(self, refused: list[Item], end: Position) -> None:
        """Give refused events, and all behind them, new positions above the stream's end."""
        self._rows.positions.stay_above(end)
        rows = [row for row, _ in refused] + self._waiting.waiting_behind(self._sent)
        now = self._clock()
        moves = [(row.position, self._rows.positions.next(now)) for row in rows]
        self._waiting.put_back(refused, self._sent)
        self._waiting.move(moves)
        self.counters.moved += len(refused)
        if time.monotonic() - self._other_writer_at > _QUIET_S:
            _log.warning("stream_other_writer", stream=self._stream.key, count=len(rows), end=str(end))
        self._other_writer_at = time.monotonic()

    def _forget(self, delivered: Counter[int]) -> None:
        """Note what is delivered; delete what was delivered long enough ago."""
        now = time.monotonic()
        self.spool.note(self._sent, [delivered[rank] for rank in range(len(RANKS))])
        if not self._history or now - self._history[-1][0] >= 1.0:
            self._history.append((now, self._sent))
            forget = NOWHERE
            while now - self._history[0][0] > self._keep_s:
                forget = self._history.popleft()[1]
            self.spool.mark(self._sent, forget=forget)

    def _note_service(self) -> None:
        with self._changed:
            self._outage.end(waiting=self.backlog)
            if self._report.is_open and self.backlog <= 0:
                self._announce()
            self._report.log_room(is_sent=self.backlog <= 0)

    def _note_fault(self, error: BaseException) -> None:
        self._outage.add_fault(error, waiting=self.backlog)
        # Not those in use: `highest_number` may be asking in another thread.
        self._client.connection_pool.disconnect(inuse_connections=False)
