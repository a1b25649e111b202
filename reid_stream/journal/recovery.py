"""From what a daemon left to a matcher and a presence that go on: the newest sound snapshot, and the journal behind it.

    snapshots ─▶ the newest whose digests are right ─▶ matcher, presence
    journal of the spool and of Redis, by index ─▶ the same steps again ─▶ events
    events that the stream and the spool lack ─▶ told now, with their own numbers

Nothing here decides anew: what was decided under other settings is replayed under those, and goes on under the present
ones. Where something is missing, that is said, and identities go on as far as they are known; numbers always do.
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
from reid_stream.publish.stream_ids import NOWHERE, Position
from reid_stream.records import CameraId, Observation, Perceived, TrackEnded, TrackId

Make = Callable[[Match, TopologySettings, MatcherState | None, int], Matcher]
"""Settings, an earlier state and the first new number in, a matcher out."""
Known = Callable[[str, Position], int]
"""A run, and a position that its events are not before -> number of the first event that is nowhere."""
_log = structlog.get_logger(__name__)


@dataclass
class Recovery:
    """What goes on."""

    matcher: Matcher
    presence: Presence
    begun: JournalPosition
    missing: list[tuple[str, int, Event]] = field(default_factory=list)
    """Events that were decided and told nobody: run, number, event."""
    heads: dict[str, SnapshotHeader] = field(default_factory=dict)
    """Sound snapshots by key, the newest first."""
    place: int = -1
    """Of the snapshot gone on from; -1 for none."""
    entries: int = 0
    """Worked off again."""
    diverged: int = 0
    """Of these, other events followed than the first time."""
    notes: list[str] = field(default_factory=list)
    """What was not as it should be, for people."""
    took_s: float = 0.0
    restored_s: float = 0.0
    """Of these, until the matcher was as at the snapshot."""


def recover(
    slots: SnapshotStore,
    spooled: Iterable[bytes],
    *,
    make: Make,
    match: Match,
    publish: Publish,
    topology: TopologySettings,
    first_number: int,
    known: Known,
    run: str,
) -> Recovery:
    """Go on from what is there, or begin.

    Args:
        slots: snapshots and journal on Redis.
        spooled: entries in the spool; read before those on Redis, so that none is missed on its way.
        make: makes the matcher.
        match: settings from now on, like the next two.
        publish: the same.
        topology: the same.
        first_number: beyond every number ever told on this site, as far as Redis knows.
        known: what the stream and the spool have of a run.
        run: that goes on; tracks of other runs have ended.
    """
    begun_at = time.monotonic()
    notes: list[str] = []
    journal = _Journal(notes)
    journal.read(spooled)
    heads, broken = slots.heads()
    notes += [f"snapshot {key} cannot be used: {error}" for key, error in broken.items()]
    state, head = _newest(slots, heads, notes)
    journal.read(slots.entries())
    dials = MatcherSettings.of(match, publish, topology)
    then = (match, publish, topology)
    if head is not None and head.dials != dials:
        try:
            then = head.dials.read()
        except ValueError:
            notes.append("the settings of the last daemon are of another version; its last steps are done by ours")
    replay = _Replay(make, then, head, state, first_number, known)
    restored_s = time.monotonic() - begun_at
    replay.work_off(journal.behind(head.place if head is not None else -1), notes)
    matcher, presence = replay.matcher, replay.presence
    if then != (match, publish, topology):
        matcher = make(match, topology, matcher.state(), first_number)
        presence = Presence(publish, presence.state())
    found = Recovery(
        matcher,
        presence,
        JournalPosition(replay.index, max(replay.number, first_number - 1), replay.taken, replay.tracks.ends(run)),
        missing=replay.missing,
        heads=heads,
        place=head.place if head is not None else -1,
        entries=replay.entries,
        diverged=replay.diverged,
        notes=notes,
        took_s=time.monotonic() - begun_at,
        restored_s=restored_s,
    )
    if found.diverged:
        notes.append(f"{found.diverged} steps gave other events than before the restart")
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
    slots: SnapshotStore, heads: dict[str, SnapshotHeader], notes: list[str]
) -> tuple[MatcherState | None, SnapshotHeader | None]:
    """Read the newest snapshot that is sound; those that are not are taken out of `heads`."""
    for key, head in list(heads.items()):
        try:
            return slots.read(key, head), head
        except SnapshotError as error:
            del heads[key]
            notes.append(f"snapshot {key} cannot be used, {error}; going on from the one before and the journal")
    return None, None


class _Journal:
    """Entries by index, from wherever they lie."""

    def __init__(self, notes: list[str]) -> None:
        self._entries: dict[int, JournalEntry] = {}
        self._notes = notes

    def read(self, bodies: Iterable[bytes]) -> None:
        for body in bodies:
            try:
                entry = decode(body)
            except ValueError as error:
                self._notes.append(f"an entry cannot be used: {error}")
            else:
                self._entries[entry.index] = entry

    def behind(self, place: int) -> list[JournalEntry]:
        return [self._entries[index] for index in sorted(self._entries) if index > place]


class _OpenTracks:
    """Which tracks had begun and not ended, and when each was last seen."""

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
        """Return the ends of those that are not of `run`: nobody will tell them any more."""
        return [
            TrackEnded(of, camera, track, -1, last_at)
            for (of, camera, track), last_at in self._open.items()
            if of != run
        ]


class _Replay:
    """The steps of the last daemon, once more."""

    def __init__(
        self,
        make: Make,
        dials: tuple[Match, Publish, TopologySettings],
        head: SnapshotHeader | None,
        state: MatcherState | None,
        first_number: int,
        known: Known,
    ) -> None:
        self._make, self._dials, self._known, self._head = make, dials, known, head
        # Its own next number is in the state; the first one counts where there is none.
        self.matcher = make(dials[0], dials[2], state, first_number if state is None else 1)
        self.presence = Presence(dials[1], head.visits if head is not None else ())
        self.taken = JournalInput(head.taken if head is not None else None)
        self.tracks = _OpenTracks(state)
        self.index = head.place + 1 if head is not None else 0
        self.number = head.number if head is not None else 0
        self.entries = self.diverged = 0
        self.missing: list[tuple[str, int, Event]] = []
        self._first: dict[str, int] = {}

    def work_off(self, entries: Sequence[JournalEntry], notes: list[str]) -> None:
        for entry in entries:
            if entry.index != self.index:
                notes.append(f"entries {self.index} to {entry.index - 1} are missing; what was seen then is not known")
                self._skip(entry.number)
            self.index = entry.index + 1
            events = advance(self.matcher, self.presence, entry)
            self.taken.note(entry.records)
            self.tracks.note(entry.records)
            self.entries += 1
            for event in events:
                if isinstance(event, IdentityEntered):
                    self.number = max(self.number, int(event.person.rpartition("-")[2]))
            self._tell(entry, events)

    def _skip(self, number: int) -> None:
        """Go on beyond the numbers that were told in what is missing."""
        state = self.matcher.state()
        state.next_number = max(state.next_number, number + 1)
        self.number = max(self.number, number)
        self.matcher = self._make(self._dials[0], self._dials[2], state, 1)

    def _tell(self, entry: JournalEntry, events: list[Event]) -> None:
        """Note the events of an entry that nobody was told of."""
        self.diverged += len(events) != entry.told
        if not entry.told or len(events) != entry.told:
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
