"""Operator instructions about people: one struct per instruction, read from `reid:<site>:instructions` (pure).

    merge A into B | split tracks off A | name A | erase A | undo an earlier instruction

Each entry of that Redis Stream is one instruction as JSON (`encode`, `decode`); the stream is the log of who asked for
what, and when. The matcher applies an instruction or refuses it (`match.overrides`) and reports that in an event
`instruction.answered`. `Erased` is the daemon's own: it reports to the matcher that all data of a person is deleted.

An instruction takes effect once: its `id` is its place on the stream, and what is not behind the last one applied was
applied before.
"""

import re
from typing import Literal, Self

import msgspec

from reid_stream.errors import DECODE_ERRORS
from reid_stream.records import CameraId, GlobalId, TrackId

NONE = "0-0"
"""Before the first instruction."""
_PLACE = re.compile(r"\d{1,20}-\d{1,20}")
MOST_TEXT = 200
"""Characters of a name, an ID, `who` and `why`."""
MOST_TRACKS = 500
"""Tracks, and visits, of one split."""
MOST_BYTES = 65_536
"""Largest size of an encoded instruction."""


class _Instruction(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", forbid_unknown_fields=True):
    id: str = NONE
    """Place on the stream, `<ms>-<n>`; given by Redis, filled in by who reads it."""
    at: float
    """UTC seconds, by the clock of who asked."""
    who: str
    """Operator who asked; named in the events that follow."""
    why: str = ""

    def __post_init__(self) -> None:
        if not _PLACE.fullmatch(self.id):
            raise ValueError(f"an instruction's id must be <number>-<number>, got {self.id!r:.60}")
        if not self.who or not is_line(self.who) or not is_line(self.why):
            raise ValueError(
                f"who must have 1 to {MOST_TEXT} characters and why at most {MOST_TEXT}, all printable, "
                f"got {self.who!r:.60} and {self.why!r:.60}"
            )
        for name in ("person", "gone", "into", "instruction"):
            value = getattr(self, name, "")
            if not is_line(value):
                raise ValueError(f"{name} must be an ID of at most {MOST_TEXT} printable characters, got {value!r:.60}")

    @property
    def do(self) -> str:
        """Verb of the instruction."""
        return str(self.__struct_config__.tag)

    def placed(self, place: str) -> Self:
        """Return it with its place on the stream."""
        return msgspec.structs.replace(self, id=place)


class TrackSpan(msgspec.Struct, frozen=True, kw_only=True):
    """One person's time on one camera: all tracks there that touch it."""

    camera: CameraId
    since: float = 0.0
    """UTC seconds."""
    until: float | None = None
    """UTC seconds; none for no end."""


class MergePeople(_Instruction, frozen=True, kw_only=True, tag="merge"):
    """`gone` was `into` all along; only an operator can split them again."""

    gone: GlobalId
    into: GlobalId
    duplicates: bool = False
    """They were seen side by side on a camera, but as one body found twice."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gone == self.into:
            raise ValueError(f"two people must be merged, got {self.gone} twice")

    @property
    def description(self) -> str:
        """What is to be done, for people."""
        return f"{self.gone} is {self.into}{' (found twice)' if self.duplicates else ''}"


class SplitTracks(_Instruction, frozen=True, kw_only=True, tag="split"):
    """Some tracks of `person` are of another, new person; the two are apart for good."""

    person: GlobalId
    tracks: tuple[tuple[CameraId, str, TrackId], ...] = ()
    """(camera, run, track)."""
    visits: tuple[TrackSpan, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tracks and not self.visits:
            raise ValueError("a split must name the tracks or visits that leave, got neither")
        if len(self.tracks) > MOST_TRACKS or len(self.visits) > MOST_TRACKS:
            raise ValueError(
                f"a split must have at most {MOST_TRACKS} tracks and as many visits, "
                f"got {len(self.tracks)} and {len(self.visits)}"
            )
        names = [*(name for camera, run, _ in self.tracks for name in (camera, run)), *(v.camera for v in self.visits)]
        if bad := next((name for name in names if not is_line(name)), None):
            raise ValueError(f"cameras and runs must have at most {MOST_TEXT} printable characters, got {bad!r:.60}")

    @property
    def description(self) -> str:
        """What is to be done, for people."""
        return f"not {self.person}: {', '.join([*_keys(self.tracks), *(visit.camera for visit in self.visits)])}"


class NamePerson(_Instruction, frozen=True, kw_only=True, tag="name"):
    """Give this person the name `label`; empty removes the name."""

    person: GlobalId
    label: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_line(self.label):
            raise ValueError(f"a name must have at most {MOST_TEXT} printable characters, got {self.label!r:.60}")

    @property
    def description(self) -> str:
        """What is to be done, for people."""
        return f"{self.person} is called {self.label!r}"


class ErasePerson(_Instruction, frozen=True, kw_only=True, tag="erase"):
    """Delete all that is kept of a person: vectors, crops, journal, spool, live keys, name."""

    person: GlobalId

    @property
    def description(self) -> str:
        """What is to be done, for people."""
        return f"erase {self.person}"


class Undo(_Instruction, frozen=True, kw_only=True, tag="undo"):
    """Undo an earlier instruction, as far as the identities it changed still exist."""

    instruction: str
    """`id` of the instruction to undo."""

    @property
    def description(self) -> str:
        """What is to be done, for people."""
        return f"undo {self.instruction}"


class Erased(_Instruction, frozen=True, kw_only=True, tag="erased"):
    """Sent by the daemon to itself: the data of an `erase` is gone from disk and from Redis."""

    instruction: str
    """`id` of the `erase`."""
    person: GlobalId
    report: str
    """What was removed, for people."""

    @property
    def description(self) -> str:
        """What is to be done, for people."""
        return f"{self.person} is erased"


Instruction = MergePeople | SplitTracks | NamePerson | ErasePerson | Undo | Erased
Verb = Literal["merge", "split", "name", "erase", "undo"]
VERBS: dict[type[Instruction], Verb] = {
    MergePeople: "merge",
    SplitTracks: "split",
    NamePerson: "name",
    ErasePerson: "erase",
    Undo: "undo",
}
"""Instructions by the name that answers give them."""


def _keys(tracks: tuple[tuple[CameraId, str, TrackId], ...]) -> list[str]:
    return [f"{camera}/{run}/{track}" for camera, run, track in tracks]


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Instruction] = msgspec.json.Decoder(Instruction)


def is_line(text: str) -> bool:
    """Whether a text is short and has no control or invisible characters: it is shown on terminals and web pages."""
    return len(text) <= MOST_TEXT and text.isprintable()


def encode(instruction: Instruction) -> bytes:
    """Write an instruction as JSON.

    Raises:
        ValueError: it is too large.
    """
    body = _encoder.encode(instruction)
    _bound(body)
    return body


def decode(body: bytes, place: str) -> Instruction:
    """Read the instruction at `place` on the stream.

    Raises:
        ValueError: it is no instruction, or too large.
    """
    _bound(body)
    try:
        return _decoder.decode(body).placed(place)
    except DECODE_ERRORS as error:
        raise ValueError(f"an instruction must be JSON of a known shape: {error}") from error


def _bound(body: bytes) -> None:
    if len(body) > MOST_BYTES:
        raise ValueError(f"an instruction must have at most {MOST_BYTES} bytes, got {len(body)}")


def order(place: str) -> tuple[int, int]:
    """Return the key by which stream IDs are compared.

    Raises:
        ValueError: it is no stream ID.
    """
    if not _PLACE.fullmatch(place):
        raise ValueError(f"a stream ID must be <number>-<number>, got {place!r:.60}")
    ms, _, number = place.partition("-")
    return int(ms), int(number)
