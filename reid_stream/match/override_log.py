"""What people said and the matcher keeps of it: enough to take each instruction once, and to take it back (pure)."""

import msgspec

from reid_stream.instructions import NONE
from reid_stream.records import IdentityState

_KEPT = 1000
"""Instructions that can be undone; the oldest go first."""


class AppliedOverride(msgspec.Struct):
    """An instruction that was carried out; people and tracks by the matcher's own numbers."""

    id: str
    do: str
    person: int
    """Whom it was about: merged away, split, named."""
    into: int = 0
    """Whom the tracks went to."""
    serials: list[int] = []
    """Tracks that went."""
    held: list[int] = []
    """Tracks that it holds to their person."""
    barred: list[tuple[int, int]] = []
    """Pairs of tracks that it keeps from ever being one person's."""
    twins: list[tuple[int, int]] = []
    """Pairs of tracks seen side by side that it calls one body found twice."""
    label: str = ""
    """What `person` was called before."""
    heir_label: str = ""
    """What `into` was called before."""
    revision: int = 0
    """Of `person`, before."""
    state: IdentityState = "provisional"
    """Of `person`, before."""
    is_undone: bool = False


class PendingErasure(msgspec.Struct):
    """A person whom the matcher forgot, and of whom the shell still deletes the rest."""

    number: int
    revision: int
    by: str


class OverrideLog(msgspec.Struct):
    """Everything that people said, as far as it still matters."""

    last: str = NONE
    """Place of the last instruction taken."""
    done: list[AppliedOverride] = []
    erasing: dict[str, PendingErasure] = {}
    """By the instruction's id."""

    def note(self, done: AppliedOverride) -> None:
        """Remember what was carried out."""
        self.done.append(done)
        del self.done[:-_KEPT]

    def find(self, place: str) -> AppliedOverride | None:
        """Return what was carried out at a place; none if nothing was, or too long ago."""
        return next((done for done in reversed(self.done) if done.id == place), None)

    def forget(self, number: int) -> None:
        """Drop what would bring an erased person's name back."""
        for done in self.done:
            if number == done.person:
                done.label = ""
            if number == done.into:
                done.label = done.heir_label = ""
