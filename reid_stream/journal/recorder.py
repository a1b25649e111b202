"""Identify, and what it must remember: every step is an entry of the journal before its events are told.

    match ─▶ present ─▶ (the daemon) ─▶ publish
      │ step's inputs      │ events         └ entry and events into the spool, in one transaction
      └ a snapshot, when it is time

Stands where the matcher, presence and the sink stood: `match` and `present` are identify's two calls, `publish` and
`close` the sink's. Concurrency: `match`, `present` and the publishing of what they said are one thread's; others may
publish beside it.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

from reid_stream.events import Event, IdentityEntered
from reid_stream.instructions import Instruction
from reid_stream.journal.entry import JournalEntry, JournalInput, encode
from reid_stream.journal.snapshot import MatcherSettings, SnapshotHeader
from reid_stream.journal.snapshot_writer import SHARE, SnapshotWriter
from reid_stream.match.matcher import Matcher
from reid_stream.match.presence import Presence
from reid_stream.publish.stream_ids import Position
from reid_stream.records import Decision, Perceived

_WAIT_S = 2.0
"""Longest wait at the end for a snapshot under way: without a last one the journal is enough."""
_NUMBER = re.compile(r"-([0-9]{1,18})$", re.ASCII)


class JournalSink(Protocol):
    """What takes entries and events; `publish.redis_sink.RedisSink`."""

    @property
    def sequence(self) -> int:
        """Number of the next event."""
        ...

    @property
    def position(self) -> Position:
        """The last one given out."""
        ...

    @property
    def sent(self) -> Position:
        """The last one that Redis has."""
        ...

    def publish(self, events: Sequence[Event], entry: Callable[[int], bytes] | None = None) -> None:
        """Take events, and the entry that they follow from."""
        ...

    def close(self, timeout_s: float) -> bool:
        """Send what is left; False if some had to stay on disk."""
        ...


@dataclass(slots=True)
class JournalPosition:
    """Where a keeper goes on."""

    index: int = 0
    """Of the next entry."""
    number: int = 0
    """Highest number told."""
    taken: JournalInput = field(default_factory=JournalInput)
    ended: Sequence[Perceived] = ()
    """Ends of tracks whose perceive is no more; the first step takes them in."""


class JournalRecorder:
    """Identify that can be gone on with by another process."""

    def __init__(
        self,
        matcher: Matcher,
        presence: Presence,
        sink: JournalSink,
        writer: SnapshotWriter,
        *,
        run: str,
        begun: JournalPosition,
        dials: MatcherSettings,
        every_s: float,
        check: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Go on from `begun`.

        Args:
            matcher: as it was at the last entry.
            presence: the same.
            sink: takes entries and events.
            writer: takes snapshots.
            run: names this run in entries.
            dials: the settings that matcher and presence have.
            every_s: between snapshots, at least.
            check: raises where the site is no longer ours.
            clock: seconds, for the time between snapshots.
        """
        self.instructions: Callable[[], Sequence[Instruction]] = tuple
        """What people said since the last step; asked once a step."""
        self.stalled_s = 0.0
        """Longest that a snapshot held a step up."""
        self.entries = 0
        """Put into the journal."""
        self._matcher, self._presence, self._sink, self._writer = matcher, presence, sink, writer
        self._run, self._begun, self._dials = run, begun, dials
        self._every_s, self._check, self._clock = every_s, check, clock
        self._snapshot_at = -float("inf")
        self._purge: Callable[[bool], None] | None = None
        self._step: JournalEntry | None = None
        """What went into the step under way; none where there is nothing new in it."""
        self._pending: tuple[JournalEntry, list[Event]] | None = None
        """The entry of the last step, until its events are told."""

    @property
    def snapshots(self) -> dict[str, int]:
        """Snapshots by what became of them."""
        return {"written": self._writer.written, "failed": self._writer.failed}

    @property
    def snapshot_bytes(self) -> int:
        """Size of the last one."""
        return self._writer.size_bytes

    @property
    def snapshot_s(self) -> float:
        """What the last one took in the background."""
        return self._writer.took_s

    def match(self, records: Sequence[Perceived], now: float) -> list[Decision]:
        """Take in what was perceived; records that were taken before, by this daemon or an earlier one, are left out.

        Raises:
            LeaseLostError: another daemon has taken over the site.
        """
        self._settle()
        self._check()
        self._look()
        fresh = self._begun.taken.fresh(records)
        if records and not fresh:
            self._step = None
            return []
        if self._begun.ended:
            fresh, self._begun.ended = [*self._begun.ended, *fresh], ()
        told = tuple(self.instructions())
        self._step = self._entry(now, "step", fresh, told)
        said = [decision for instruction in told for decision in self._matcher.instruct(instruction, now)]
        return [*said, *self._matcher.update(fresh, now)]

    def knows(self, records: Sequence[Perceived]) -> bool:
        """Say whether all of these were taken before."""
        return self._begun.taken.has(records)

    def present(self, decisions: Sequence[Decision], now: float) -> list[Event]:
        """Turn decisions into events, which are to be published next."""
        if self._step is None:
            return []
        return self._follow(self._step, self._presence.update(decisions, now))

    def finish(self) -> list[Event]:
        """End all visits: the daemon stops looking."""
        self._settle()
        return self._follow(self._entry(0.0, "closed"), self._presence.close())

    def publish(self, events: Sequence[Event]) -> None:
        """Take events; those of the last step take its entry along."""
        pending = self._pending
        if pending is not None and events and pending[1] and events[0] is pending[1][0]:
            self._pending = None
            self._put(pending[0], events, len(pending[1]))
        else:
            self._sink.publish(events)

    def close(self, timeout_s: float) -> bool:
        """Send what is left, and a last snapshot; False if some had to stay on disk."""
        deadline = self._clock() + timeout_s
        self._settle()
        if self._writer.wait(min(_WAIT_S, timeout_s / 2)):
            self._capture()
        is_done = self._sink.close(timeout_s)
        self._writer.close(max(0.1, deadline - self._clock()) if is_done else 0.1)
        return is_done

    def purge(self, done: Callable[[bool], None]) -> None:
        """Let the next snapshot be the only one, and the journal begin behind it: what was forgotten is then gone.

        `done` is called by another thread with whether that was done; where not, ask again.
        """
        self._purge = done

    def _look(self) -> None:
        """Take a snapshot if it is time."""
        since_s = self._clock() - self._snapshot_at
        is_due = since_s >= max(self._every_s, self._writer.took_s / SHARE)
        if (is_due or self._purge is not None) and not self._writer.is_busy:
            self._capture()

    def _capture(self) -> None:
        begun = self._clock()
        head = SnapshotHeader(
            place=self._begun.index - 1,
            position=str(self._sink.position),
            run=self._run,
            sequence=self._sink.sequence,
            number=self._begun.number,
            made_at=time.time(),
            dials=self._dials,
            visits=self._presence.state(),
            taken=self._begun.taken.last(),
        )
        capture = self._matcher.capture()
        done, self._purge = self._purge, None
        self._writer.offer(head, capture, lambda: self._sink.sent, only=done is not None, done=done)
        self._snapshot_at = self._clock()
        self.stalled_s = max(self.stalled_s, self._snapshot_at - begun)

    def _entry(
        self,
        now: float,
        kind: Literal["step", "closed"],
        records: Sequence[Perceived] = (),
        instructions: Sequence[Instruction] = (),
    ) -> JournalEntry:
        index, self._begun.index = self._begun.index, self._begun.index + 1
        return JournalEntry(index, self._run, 0, 0, self._begun.number, now, kind, records, instructions)

    def _follow(self, entry: JournalEntry, events: list[Event]) -> list[Event]:
        self._pending = (entry, events)
        for event in events:
            if isinstance(event, IdentityEntered) and (found := _NUMBER.search(event.person)) is not None:
                self._begun.number = max(self._begun.number, int(found[1]))
        if not events:
            self._settle()
        return events

    def _settle(self) -> None:
        """Keep the entry of a step whose events nobody asked to publish."""
        if self._pending is not None:
            entry, self._pending = self._pending[0], None
            self._put(entry, (), 0)

    def _put(self, entry: JournalEntry, events: Sequence[Event], told: int) -> None:
        self._sink.publish(
            events, lambda sequence: encode(msgspec.structs.replace(entry, sequence=sequence, told=told))
        )
        self.entries += 1
