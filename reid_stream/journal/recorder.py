"""Identification with a journal: each step is one entry, written in one transaction with the events it caused.

    step(records, now) ─▶ events ─▶ commit(events) ─▶ spool: the entry and its events, in one transaction
      └ a snapshot, when one is due

Concurrency: one thread calls `step`, `finish` and `commit`; other threads may publish other events to the same sink.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

from reid_stream.config.presence_settings import PresenceSettings
from reid_stream.events import Event, IdentityEntered
from reid_stream.instructions import Instruction
from reid_stream.journal.direct import DirectIdentification
from reid_stream.journal.entry import JournalEntry, JournalInput, encode
from reid_stream.journal.snapshot import MatcherSettings, SnapshotHeader
from reid_stream.journal.snapshot_writer import SHARE, SnapshotWriter
from reid_stream.pipeline import Identification
from reid_stream.publish.stream_ids import Position
from reid_stream.records import Perceived

_WAIT_S = 2.0
"""Longest wait at the end for a snapshot in progress; without a last snapshot the journal is enough."""
_NUMBER = re.compile(r"-([0-9]{1,18})$", re.ASCII)


class JournalSink(Protocol):
    """Destination of journal entries and events; `publish.redis_sink.RedisSink`."""

    @property
    def sequence(self) -> int:
        """Number of the next event."""
        ...

    @property
    def position(self) -> Position:
        """Last position assigned to an event or entry."""
        ...

    @property
    def sent(self) -> Position:
        """Last position that Redis has stored."""
        ...

    def publish(self, events: Sequence[Event], entry: Callable[[int], bytes] | None = None, /) -> None:
        """Take events, and the entry that caused them, in one transaction.

        `entry` encodes the entry, given the number of the first event.
        """
        ...

    def close(self, timeout_s: float) -> bool:
        """Send the rest; False if some had to stay on disk."""
        ...


@dataclass(slots=True)
class JournalPosition:
    """Position at which a recorder continues."""

    index: int = 0
    """Index of the next entry."""
    number: int = 0
    """Highest number in a published global ID."""
    taken: JournalInput = field(default_factory=JournalInput)
    ended: Sequence[Perceived] = ()
    """Ends of tracks of earlier perception runs, which no longer exist; the first step takes them."""


class JournalRecorder(DirectIdentification):
    """Identification that another process can continue."""

    _sink: JournalSink

    def __init__(
        self,
        identification: Identification,
        sink: JournalSink,
        writer: SnapshotWriter,
        *,
        run: str,
        position: JournalPosition,
        settings: MatcherSettings,
        every_s: float,
        instructions: Callable[[], Sequence[Instruction]] = tuple,
        check: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Continue from `position`.

        Args:
            identification: with the state after the entry before `position`.
            sink: takes entries and events.
            writer: writes snapshots.
            run: name of this run in entries.
            position: where the journal ends.
            settings: of the matcher and presence in `identification`.
            every_s: least seconds between snapshots.
            instructions: returns the operator instructions since its last call; called once per step.
            check: raises where another daemon has taken over the site.
            clock: seconds, for the time between snapshots.
        """
        super().__init__(identification, sink, instructions=instructions, check=check)
        self.stalled_s = 0.0
        """Longest delay of a step by taking a snapshot, seconds."""
        self.entries = 0
        """Entries written to the journal."""
        self._writer = writer
        self._run, self._position, self._settings = run, position, settings
        self._every_s, self._clock = every_s, clock
        self._snapshot_at = -float("inf")
        self._uncommitted: JournalEntry | None = None
        """Entry of the last step, until `commit` writes it with the step's events."""

    @property
    def snapshots(self) -> dict[str, int]:
        """Snapshots by outcome."""
        return {"written": self._writer.written, "failed": self._writer.failed}

    @property
    def snapshot_bytes(self) -> int:
        """Size of the last snapshot."""
        return self._writer.size_bytes

    @property
    def snapshot_s(self) -> float:
        """Seconds that writing the last snapshot took, in the background."""
        return self._writer.took_s

    def step(self, records: Sequence[Perceived], now: float) -> list[Event]:
        """Advance to `now` (UTC seconds) by one batch of records, which may be empty; return events to `commit`.

        Records that this daemon or an earlier one has taken before are left out.

        Raises:
            LeaseLostError: another daemon has taken over the site.
        """
        self._write_uncommitted()
        self._check()
        self._take_due_snapshot()
        fresh = self._position.taken.fresh(records)
        if records and not fresh:
            return []
        if self._position.ended:
            fresh, self._position.ended = [*self._position.ended, *fresh], ()
        instructions = tuple(self._instructions())
        settings = self._new_presence_settings()
        entry = self._entry(now, "step", fresh, instructions, settings)
        events = self._identification.change_presence(settings) if settings is not None else []
        events += self._identification.step(fresh, now, instructions)
        self._uncommitted = entry
        self._note_numbers(events)
        return events

    def finish(self) -> list[Event]:
        """End all visits; return events to `commit`."""
        self._write_uncommitted()
        entry = self._entry(0.0, "closed")
        events = self._identification.finish()
        self._uncommitted = entry
        return events

    def commit(self, events: Sequence[Event]) -> None:
        """Write the entry of the last `step` or `finish` and the events that it returned, in one transaction.

        Raises:
            ValueError: there are events without a step.
        """
        entry, self._uncommitted = self._uncommitted, None
        if entry is not None:
            self._write(entry, events)
        elif events:
            raise ValueError(f"events must be committed once, right after their step; got {len(events)} without one")

    def knows(self, records: Sequence[Perceived]) -> bool:
        """Return whether all of these records were taken before."""
        return self._position.taken.has(records)

    def close(self, timeout_s: float) -> bool:
        """Send the rest and write a last snapshot; False if some events had to stay on disk."""
        deadline = self._clock() + timeout_s
        self._write_uncommitted()
        if self._writer.wait(min(_WAIT_S, timeout_s / 2)):
            self._take_snapshot()
        is_done = self._sink.close(timeout_s)
        self._writer.close(max(0.1, deadline - self._clock()) if is_done else 0.1)
        return is_done

    def _take_due_snapshot(self) -> None:
        since_s = self._clock() - self._snapshot_at
        is_due = since_s >= max(self._every_s, self._writer.took_s / SHARE)
        if (is_due or self._writer.has_purge) and not self._writer.is_busy:
            self._take_snapshot()

    def _take_snapshot(self) -> None:
        start = self._clock()
        head = SnapshotHeader(
            place=self._position.index - 1,
            position=str(self._sink.position),
            run=self._run,
            sequence=self._sink.sequence,
            number=self._position.number,
            made_at=time.time(),
            settings=self._settings,
            visits=self._identification.presence.state(),
            taken=self._position.taken.last(),
        )
        self._writer.offer(head, self._identification.matcher.capture(), lambda: self._sink.sent)
        self._snapshot_at = self._clock()
        self.stalled_s = max(self.stalled_s, self._snapshot_at - start)

    def _entry(
        self,
        now: float,
        kind: Literal["step", "closed"],
        records: Sequence[Perceived] = (),
        instructions: Sequence[Instruction] = (),
        settings: PresenceSettings | None = None,
    ) -> JournalEntry:
        index, self._position.index = self._position.index, self._position.index + 1
        presence = b""
        if settings is not None:
            presence = settings.model_dump_json().encode()
            self._settings = msgspec.structs.replace(self._settings, publish=presence)
        return JournalEntry(index, self._run, 0, 0, self._position.number, now, kind, records, instructions, presence)

    def _note_numbers(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, IdentityEntered) and (found := _NUMBER.search(event.person)) is not None:
                self._position.number = max(self._position.number, int(found[1]))

    def _write_uncommitted(self) -> None:
        """Write the entry of a step whose events were never committed, and are lost: the watchdog stopped it."""
        if self._uncommitted is not None:
            entry, self._uncommitted = self._uncommitted, None
            self._write(entry, ())

    def _write(self, entry: JournalEntry, events: Sequence[Event]) -> None:
        self._sink.publish(
            events,
            lambda sequence: encode(msgspec.structs.replace(entry, sequence=sequence, event_count=len(events))),
        )
        self.entries += 1
