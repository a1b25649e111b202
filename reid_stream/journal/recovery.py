"""Restore identification from the state that the last daemon left: the newest valid snapshot, and the journal since it.

    snapshots ─▶ the newest with valid digests ─▶ matcher, presence
    journal in the spool and on Redis, by index ─▶ the same steps repeated ─▶ events
    events that are neither on the stream nor in the spool ─▶ published now, with their original numbers

Steps are repeated under the settings they were decided under, and new steps use the current settings. Missing entries
are logged; identities are restored as far as they are known, and numbers of global IDs never repeat.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from reid_stream.config.settings import Match, Publish, TopologySettings
from reid_stream.events import Event, IdentityEntered
from reid_stream.journal.entry import JournalEntry, JournalInput, advance, decode
from reid_stream.journal.recorder import JournalPosition
from reid_stream.journal.snapshot import MatcherSettings, SnapshotError, SnapshotHeader
from reid_stream.journal.snapshot_store import SnapshotStore
from reid_stream.match.matcher import Matcher
from reid_stream.match.presence import Presence
from reid_stream.match.snapshot import MatcherState
from reid_stream.pipeline import Identification
from reid_stream.publish.stream_ids import NOWHERE, Position
from reid_stream.records import CameraId, Observation, Perceived, TrackEnded, TrackId

Make = Callable[[Match, TopologySettings, MatcherState | None, int], Matcher]
"""Makes a matcher from settings, an earlier state (or None) and the first new number."""
Known = Callable[[str, Position], int]
"""Takes a run and a position before its events; returns the number of its first event that was never published."""
_log = structlog.get_logger(__name__)


@dataclass
class Recovery:
    """Restored state."""

    matcher: Matcher
    presence: Presence
    position: JournalPosition
    missing: list[tuple[str, int, Event]] = field(default_factory=list)
    """Events that were decided and never published: (run, number, event)."""
    heads: dict[str, SnapshotHeader] = field(default_factory=dict)
    """Valid snapshots by key, newest first."""
    place: int = -1
    """Index of the last entry in the snapshot used; -1 for no snapshot."""
    entries: int = 0
    """Entries repeated."""
    diverged: int = 0
    """Entries that caused a different number of events than the first time."""
    notes: list[str] = field(default_factory=list)
    """Problems found, for the log."""
    took_s: float = 0.0
    restored_s: float = 0.0
    """Part of `took_s` until the snapshot was loaded."""


def recover(
    store: SnapshotStore,
    spooled: Iterable[bytes],
    *,
    make: Make,
    match: Match,
    publish: Publish,
    topology: TopologySettings,
    first_number: int,
    known: Known,
    run: str | None,
) -> Recovery:
    """Restore the last daemon's state, or start with none.

    Args:
        store: snapshots and journal on Redis.
        spooled: entries in the spool; read before those on Redis, so that none is missed on its way there.
        make: makes the matcher.
        match: settings for new steps.
        publish: settings for new steps.
        topology: settings for new steps.
        first_number: above every number in a global ID of this site, as far as Redis knows.
        known: returns the number of a run's first unpublished event.
        run: current run; tracks of other runs have ended. None where perception goes on elsewhere, with all tracks.
    """
    start_at = time.monotonic()
    notes: list[str] = []
    journal = _Journal(notes)
    journal.read(spooled)
    heads, broken = store.heads()
    notes += [f"snapshot {key} cannot be used: {error}" for key, error in broken.items()]
    state, head = _newest(store, heads, notes)
    journal.read(store.entries())
    settings = MatcherSettings.of(match, publish, topology)
    then = (match, publish, topology)
    if head is not None and head.settings != settings:
        try:
            then = head.settings.read()
        except ValueError:
            notes.append(
                "the last daemon wrote settings of another version; its last steps are repeated under the current ones"
            )
    replay = _Replay(make, then, head, state, first_number, known)
    restored_s = time.monotonic() - start_at
    replay.repeat(journal.after(head.place if head is not None else -1), notes)
    matcher, presence = replay.identification.matcher, replay.identification.presence
    if (then[0], presence.settings, then[2]) != (match, publish, topology):
        matcher = make(match, topology, matcher.state(), first_number)
        presence = Presence(publish, presence.state())
    found = Recovery(
        matcher,
        presence,
        JournalPosition(
            replay.index,
            max(replay.number, first_number - 1),
            replay.taken,
            replay.tracks.ends(run) if run is not None else (),
        ),
        missing=replay.missing,
        heads=heads,
        place=head.place if head is not None else -1,
        entries=replay.entries,
        diverged=replay.diverged,
        notes=notes,
        took_s=time.monotonic() - start_at,
        restored_s=restored_s,
    )
    if found.diverged:
        notes.append(f"{found.diverged} steps caused other events than before the restart")
    for note in notes:
        _log.warning("state_mismatch", what=note)
    if head is not None or found.entries:
        _log.info(
            "identities_restored",
            people=len(matcher),
            entries=found.entries,
            untold=len(found.missing),
            took_s=round(found.took_s, 3),
        )
    return found


def _newest(
    store: SnapshotStore, heads: dict[str, SnapshotHeader], notes: list[str]
) -> tuple[MatcherState | None, SnapshotHeader | None]:
    """Read the newest valid snapshot; invalid ones are removed from `heads`."""
    for key, head in list(heads.items()):
        try:
            return store.read(key, head), head
        except SnapshotError as error:
            del heads[key]
            notes.append(f"snapshot {key} cannot be used, {error}; continuing from the one before and the journal")
    return None, None


class _Journal:
    """Entries by index, from the spool and Redis."""

    def __init__(self, notes: list[str]) -> None:
        self._entries: dict[int, JournalEntry] = {}
        self._notes = notes

    def read(self, bodies: Iterable[bytes]) -> None:
        for body in bodies:
            try:
                entry = decode(body)
            except ValueError as error:
                self._notes.append(f"a journal entry cannot be used: {error}")
            else:
                self._entries[entry.index] = entry

    def after(self, place: int) -> list[JournalEntry]:
        return [self._entries[index] for index in sorted(self._entries) if index > place]


class _OpenTracks:
    """Open tracks, with the time each was last seen."""

    def __init__(self, state: MatcherState | None) -> None:
        self._open: dict[tuple[str, CameraId, TrackId], float] = {
            (track.stay.run, track.stay.camera, track.stay.track): track.stay.last_at
            for track in (state.tracks if state is not None else ())
            if track.ended_at is None
        }

    def note(self, records: Sequence[Perceived]) -> None:
        for record in records:
            key = record.run, record.camera, record.track
            if isinstance(record, Observation):
                self._open[key] = record.seen_at
            else:
                self._open.pop(key, None)

    def ends(self, run: str) -> list[Perceived]:
        """Return the ends of tracks of other runs, whose perception no longer exists to send them."""
        return [
            TrackEnded(of, camera, track, -1, last_at)
            for (of, camera, track), last_at in self._open.items()
            if of != run
        ]


class _Replay:
    """Repeats the steps of the last daemon."""

    def __init__(
        self,
        make: Make,
        settings: tuple[Match, Publish, TopologySettings],
        head: SnapshotHeader | None,
        state: MatcherState | None,
        first_number: int,
        known: Known,
    ) -> None:
        self._make, self._settings, self._known, self._head = make, settings, known, head
        # A state has its own next number.
        self.identification = Identification(
            make(settings[0], settings[2], state, first_number if state is None else 1),
            Presence(settings[1], head.visits if head is not None else ()),
        )
        self.taken = JournalInput(head.taken if head is not None else None)
        self.tracks = _OpenTracks(state)
        self.index = head.place + 1 if head is not None else 0
        self.number = head.number if head is not None else 0
        self.entries = self.diverged = 0
        self.missing: list[tuple[str, int, Event]] = []
        self._first: dict[str, int] = {}

    def repeat(self, entries: Sequence[JournalEntry], notes: list[str]) -> None:
        for entry in entries:
            if entry.index != self.index:
                notes.append(f"entries {self.index} to {entry.index - 1} are missing; what was seen then is unknown")
                self._skip(entry.number)
            self.index = entry.index + 1
            events = advance(self.identification, entry)
            self.taken.note(entry.records)
            self.tracks.note(entry.records)
            self.entries += 1
            for event in events:
                if isinstance(event, IdentityEntered):
                    self.number = max(self.number, int(event.person.rpartition("-")[2]))
            self._note_missing(entry, events)

    def _skip(self, number: int) -> None:
        """Continue above the numbers that were published in the missing entries."""
        state = self.identification.matcher.state()
        state.next_number = max(state.next_number, number + 1)
        self.number = max(self.number, number)
        self.identification = Identification(
            self._make(self._settings[0], self._settings[2], state, 1), self.identification.presence
        )

    def _note_missing(self, entry: JournalEntry, events: list[Event]) -> None:
        """Note the events of an entry that were never published."""
        self.diverged += len(events) != entry.event_count
        if not entry.event_count or len(events) != entry.event_count:
            return
        first = self._first.get(entry.run)
        if first is None:
            head = self._head
            first = self._known(entry.run, Position.parse(head.position) if head is not None else NOWHERE)
            if head is not None and head.run == entry.run:
                first = max(first, head.sequence)
            self._first[entry.run] = first
        self.missing += [
            (entry.run, entry.sequence + place, event)
            for place, event in enumerate(events)
            if entry.sequence + place >= first
        ]
