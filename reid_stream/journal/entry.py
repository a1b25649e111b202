"""One step of identify as the journal keeps it: all that went in, and the numbers of what came out (pure).

Identify is deterministic: the same entries after the same state give the same decisions and events, so an entry need
not hold what follows from it. It is written with the events that follow, before anybody hears of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from reid_stream.events import Event
from reid_stream.instructions import Instruction
from reid_stream.match.matcher import Matcher
from reid_stream.match.presence import Presence
from reid_stream.records import CameraId, Perceived

SCHEMA = "v1"
"""Named in every key; another schema's journal is not read."""
_RUNS = 100
"""Runs whose latest records are remembered; the oldest go first."""


class JournalEntry(msgspec.Struct, frozen=True, array_like=True):
    """One step."""

    index: int
    """Counts the entries of the site, from 0, without gaps."""
    run: str
    """Of the daemon; its events bear it."""
    sequence: int
    """Number of the first event that follows."""
    told: int
    """How many events follow."""
    number: int
    """Highest number of a global ID that was told before."""
    now: float
    """UTC seconds."""
    kind: Literal["step", "closed"]
    """closed: the daemon stopped looking, all visits ended."""
    records: Sequence[Perceived] = ()
    instructions: Sequence[Instruction] = ()


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[JournalEntry] = msgspec.msgpack.Decoder(JournalEntry)


def encode(entry: JournalEntry) -> bytes:
    """Write an entry."""
    return _encoder.encode(entry)


def decode(body: bytes) -> JournalEntry:
    """Read an entry.

    Raises:
        ValueError: it is none of this schema.
    """
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise ValueError(f"an entry of the journal must be msgpack of schema {SCHEMA}: {error}") from error


def advance(matcher: Matcher, presence: Presence, entry: JournalEntry) -> list[Event]:
    """Do again what the daemon did at an entry; return the events that followed."""
    if entry.kind == "closed":
        return presence.close()
    said = [decision for told in entry.instructions for decision in matcher.instruct(told, entry.now)]
    return presence.update([*said, *matcher.update(entry.records, entry.now)], entry.now)


@dataclass(frozen=True, slots=True)
class StringTable:
    """The Redis keys of a site's state; all private."""

    lease: str
    journal: str
    snapshots: tuple[str, str]
    current: str
    """Says which model's state was written last."""

    @classmethod
    def of(cls, site: str, model: str, replay: str | None = None) -> "StringTable":
        """Name the keys for people known by vectors of `model` (a bundle's hash); a replay has a state of its own."""
        scope = f"reid:{site}:state:{SCHEMA}" if replay is None else f"reid:{site}:state:{SCHEMA}:replay:{replay}"
        of_model = f"{scope}:{model[:16]}"
        return cls(
            lease=f"{scope}:lease",
            journal=f"{of_model}:journal",
            snapshots=(f"{of_model}:snapshot:a", f"{of_model}:snapshot:b"),
            current=f"{scope}:current",
        )


class JournalInput:
    """Which records were taken: each is known by (run, camera, sequence), and comes in order within its camera."""

    def __init__(self, last: Mapping[str, Mapping[CameraId, int]] | None = None) -> None:
        self._last = {run: dict(cameras) for run, cameras in (last or {}).items()}

    def last(self) -> dict[str, dict[CameraId, int]]:
        """Return the latest sequence taken, by run and camera; shares nothing."""
        return {run: dict(cameras) for run, cameras in self._last.items()}

    def fresh(self, records: Sequence[Perceived]) -> list[Perceived]:
        """Return the records that were not taken yet, and note them."""
        found = [record for record in records if not self._has(record)]
        self.note(found)
        return found

    def has(self, records: Iterable[Perceived]) -> bool:
        """Say whether all of these were taken."""
        return all(map(self._has, records))

    def _has(self, record: Perceived) -> bool:
        return 0 <= record.sequence <= self._last.get(record.run, {}).get(record.camera, -1)

    def note(self, records: Iterable[Perceived]) -> None:
        """Note records as taken."""
        for record in records:
            if record.run not in self._last and len(self._last) >= _RUNS:
                del self._last[next(iter(self._last))]
            cameras = self._last.setdefault(record.run, {})
            cameras[record.camera] = max(record.sequence, cameras.get(record.camera, -1))
