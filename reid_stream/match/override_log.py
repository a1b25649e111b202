"""Log of applied operator instructions: applies each once and allows to undo it (pure)."""

import msgspec

from reid_stream.instructions import NONE, order
from reid_stream.records import IdentityState

_KEPT = 1000
"""Instructions kept for undo; the oldest are dropped first."""
_RECENT = 20_000
"""Stream IDs kept: more than the stream holds (`operators.reader.KEPT`), so that none on it is applied twice."""
_NO_CLOCK_MS = 4_102_444_800_000
"""Milliseconds from which a stream ID is no time of a clock: the year 2100."""


class AppliedOverride(msgspec.Struct):
    """An applied instruction; identities by number, tracks by serial."""

    id: str
    do: str
    person: int
    """Identity that was merged into another, split or named."""
    into: int = 0
    """Identity that received the tracks."""
    serials: list[int] = []
    """Tracks that were moved."""
    held: list[int] = []
    """Tracks that the instruction pins to their identity."""
    barred: list[tuple[int, int]] = []
    """Pairs of tracks that must never share an identity."""
    twins: list[tuple[int, int]] = []
    """Pairs of tracks seen side by side that are one person detected twice."""
    label: str = ""
    """Label of `person` before."""
    heir_label: str = ""
    """Label of `into` before."""
    revision: int = 0
    """Revision of `person` before."""
    state: IdentityState = "provisional"
    """State of `person` before."""
    is_undone: bool = False


class PendingErasure(msgspec.Struct):
    """An erasure in progress: the matcher has forgotten the person, stored data is still being deleted."""

    number: int
    revision: int
    by: str


class OverrideLog(msgspec.Struct):
    """Operator instructions applied so far, as needed for idempotence and undo."""

    last: str = NONE
    """Stream ID of the latest instruction, applied or refused."""
    done: list[AppliedOverride] = []
    erasing: dict[str, PendingErasure] = {}
    """Pending erasures by instruction ID."""
    recent: list[str] = []
    """Stream IDs of the latest instructions, applied or refused, in this order. Not compared by size: a stream that was
    deleted starts again with lower ones."""
    floor: str = NONE
    """`last` when `recent` was empty: state of versions before it had none."""

    def is_known(self, place: str) -> bool:
        """Return whether the instruction at a stream ID was applied or refused before."""
        bound = order(self.floor if self.recent else self.last)
        return place in self.recent or (order(place) <= bound and bound[0] < _NO_CLOCK_MS)

    def note_place(self, place: str) -> None:
        """Note the stream ID of an instruction that is applied or refused now."""
        if not self.recent:
            self.floor = self.last
        self.last = place
        self.recent.append(place)
        del self.recent[:-_RECENT]

    def note(self, done: AppliedOverride) -> None:
        """Append an applied instruction."""
        self.done.append(done)
        del self.done[:-_KEPT]

    def find(self, place: str) -> AppliedOverride | None:
        """Return the instruction applied at a stream ID; None if there is none or it was dropped."""
        return next((done for done in reversed(self.done) if done.id == place), None)

    def forget(self, number: int) -> None:
        """Drop the labels of an erased person, so that no undo restores them."""
        for done in self.done:
            if number == done.person:
                done.label = ""
            if number == done.into:
                done.label = done.heir_label = ""
