"""Everything identify knows at one entry of the journal, in parts whose digests are known: a spoilt one is found out.

    Head ─ digests of ─▶ parts of the matcher (match.capture)

A snapshot is one Redis hash: `part:<n>` first, `head` last, so that one whose writer died is no snapshot.
"""

import hashlib
from collections.abc import Iterable

import msgspec

from reid_stream.config.settings import Match, Publish, TopologySettings
from reid_stream.match.presence import VisitState
from reid_stream.match.snapshot import MatcherState, join
from reid_stream.records import CameraId

HEAD = "head"
_DIGEST = 32


class MatcherSettings(msgspec.Struct, frozen=True):
    """The settings that decide what follows from an entry: what was decided under them is replayed under them."""

    match: bytes
    publish: bytes
    topology: bytes

    @classmethod
    def of(cls, match: Match, publish: Publish, topology: TopologySettings) -> "MatcherSettings":
        """Write them down."""
        return cls(*(section.model_dump_json().encode() for section in (match, publish, topology)))

    def read(self) -> tuple[Match, Publish, TopologySettings]:
        """Read them back.

        Raises:
            ValueError: another version wrote them.
        """
        return (
            Match.model_validate_json(self.match),
            Publish.model_validate_json(self.publish),
            TopologySettings.model_validate_json(self.topology),
        )


class SnapshotHeader(msgspec.Struct, frozen=True):
    """What a snapshot holds beside the matcher."""

    place: int
    """Index of the last entry that it knows; -1 for none."""
    position: str
    """Where the journal's stream was then; what is not behind it is known."""
    run: str
    sequence: int
    """Number of the run's next event."""
    number: int
    """Highest number of a global ID told."""
    made_at: float
    """UTC seconds."""
    dials: MatcherSettings
    visits: list[VisitState]
    taken: dict[str, dict[CameraId, int]]
    digests: list[bytes] = []
    """Of the parts, SHA-256."""


class SnapshotError(Exception):
    """A snapshot that cannot be used."""


def digest(part: bytes) -> bytes:
    """Return what a part is known by."""
    return hashlib.sha256(part).digest()


def pack(head: SnapshotHeader) -> bytes:
    """Write a head, with a digest of its own."""
    body = msgspec.msgpack.encode(head)
    return digest(body) + body


def unpack(body: bytes) -> SnapshotHeader:
    """Read a head.

    Raises:
        SnapshotError: it is spoilt, or of another version.
    """
    if digest(body[_DIGEST:]) != body[:_DIGEST]:
        raise SnapshotError("its head is spoilt")
    try:
        return msgspec.msgpack.decode(body[_DIGEST:], type=SnapshotHeader)
    except msgspec.DecodeError as error:
        raise SnapshotError(f"its head is of another version: {error}") from error


def assemble(head: SnapshotHeader, parts: Iterable[bytes | None]) -> MatcherState:
    """Put the matcher's state together.

    Raises:
        SnapshotError: a part is missing or spoilt, or of another version.
    """
    sound = []
    for number, (wanted, part) in enumerate(zip(head.digests, parts, strict=True)):
        if part is None or digest(part) != wanted:
            raise SnapshotError(f"part {number} of {len(head.digests)} is {'missing' if part is None else 'spoilt'}")
        sound.append(part)
    try:
        return join(sound)
    except ValueError as error:
        raise SnapshotError(str(error)) from error
