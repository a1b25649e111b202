"""State of identification after one journal entry, in parts with digests, so that damage is detected.

    SnapshotHeader ─ digests of ─▶ parts of the matcher's state (match.snapshot)

A snapshot is one Redis hash. Its `part:<n>` fields are written first and `head` last, so that a snapshot whose writer
died has no `head` and does not count.
"""

import hashlib
from collections.abc import Iterable

import msgspec

from reid_stream.config.presence_settings import PresenceSettings
from reid_stream.config.settings import Match, Publish, TopologySettings
from reid_stream.errors import DECODE_ERRORS
from reid_stream.match.presence import VisitState
from reid_stream.match.snapshot import MatcherState, join
from reid_stream.records import CameraId

HEAD = "head"
_DIGEST = 32


class MatcherSettings(msgspec.Struct, frozen=True):
    """Settings on which decisions depend: entries written under them are replayed under them."""

    match: bytes
    publish: bytes
    topology: bytes

    @classmethod
    def of(cls, match: Match, publish: Publish, topology: TopologySettings) -> "MatcherSettings":
        """Encode them."""
        return cls(*(section.model_dump_json().encode() for section in (match, publish, topology)))

    def read(self) -> tuple[Match, Publish, TopologySettings]:
        """Decode them.

        Raises:
            ValueError: another version wrote them.
        """
        return (
            Match.model_validate_json(self.match),
            PresenceSettings.model_validate_json(self.publish),
            TopologySettings.model_validate_json(self.topology),
        )


class SnapshotHeader(msgspec.Struct, frozen=True):
    """All that a snapshot holds besides the matcher's state."""

    place: int
    """Index of the last entry included; -1 for none."""
    position: str
    """Last position in the journal's stream that is included."""
    run: str
    sequence: int
    """Number of the run's next event."""
    number: int
    """Highest number in a published global ID."""
    made_at: float
    """UTC seconds."""
    settings: MatcherSettings = msgspec.field(name="dials")
    visits: list[VisitState]
    taken: dict[str, dict[CameraId, int]]
    digests: list[bytes] = []
    """SHA-256 of each part."""


class SnapshotError(Exception):
    """A snapshot that cannot be used."""


def digest(part: bytes) -> bytes:
    """Return the SHA-256 of a part."""
    return hashlib.sha256(part).digest()


def pack(head: SnapshotHeader) -> bytes:
    """Encode a header, preceded by its digest."""
    body = msgspec.msgpack.encode(head)
    return digest(body) + body


def unpack(body: bytes) -> SnapshotHeader:
    """Decode a header.

    Raises:
        SnapshotError: the header is damaged or of another version.
    """
    if digest(body[_DIGEST:]) != body[:_DIGEST]:
        raise SnapshotError("its header is damaged")
    try:
        return msgspec.msgpack.decode(body[_DIGEST:], type=SnapshotHeader)
    except DECODE_ERRORS as error:
        raise SnapshotError(f"its header is of another version: {error}") from error


def assemble(head: SnapshotHeader, parts: Iterable[bytes | None]) -> MatcherState:
    """Join the parts of the matcher's state.

    Raises:
        SnapshotError: a part is missing, damaged or of another version.
    """
    sound = []
    for number, (wanted, part) in enumerate(zip(head.digests, parts, strict=True)):
        if part is None or digest(part) != wanted:
            raise SnapshotError(f"part {number} of {len(head.digests)} is {'missing' if part is None else 'damaged'}")
        sound.append(part)
    try:
        return join(sound)
    except ValueError as error:
        raise SnapshotError(str(error)) from error
