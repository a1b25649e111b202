"""One step of identification as the journal keeps it: its inputs, and the numbers of the events it caused (pure).

Identification is deterministic: the same entries after the same state give the same decisions and events, so an entry
need not hold its events. It is written in one transaction with them, before they are published.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import msgspec

from reid_stream.config.presence_settings import PresenceSettings
from reid_stream.errors import DECODE_ERRORS
from reid_stream.events import Event
from reid_stream.instructions import Instruction
from reid_stream.pipeline import Identification
from reid_stream.records import CameraId, Perceived

SCHEMA = "v1"
"""Part of every key; a journal of another schema is not read."""
_RUNS = 100
"""Runs whose latest records are remembered; the oldest are forgotten first."""


class JournalEntry(msgspec.Struct, frozen=True, array_like=True):
    """One step."""

    index: int
    """Counts the site's entries from 0, without gaps."""
    run: str
    """Run of the daemon, as in its events."""
    sequence: int
    """Number of the first event that the step caused."""
    event_count: int
    """Events that the step caused."""
    number: int
    """Highest number in a global ID published before."""
    now: float
    """UTC seconds."""
    kind: Literal["step", "closed"]
    """`closed`: the daemon stopped and all visits ended."""
    records: Sequence[Perceived] = ()
    instructions: Sequence[Instruction] = ()
    presence: bytes = b""
    """Settings of visits, zones and lines from this step on, as in a snapshot; empty for those of the step before."""


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[JournalEntry] = msgspec.msgpack.Decoder(JournalEntry)


def encode(entry: JournalEntry) -> bytes:
    """Encode an entry as msgpack."""
    return _encoder.encode(entry)


def decode(body: bytes) -> JournalEntry:
    """Decode an entry.

    Raises:
        ValueError: the bytes are no entry of this schema.
    """
    try:
        return _decoder.decode(body)
    except DECODE_ERRORS as error:
        raise ValueError(f"a journal entry must be msgpack of schema {SCHEMA}: {error}") from error


def advance(identification: Identification, entry: JournalEntry) -> list[Event]:
    """Repeat the step of an entry; return the events that it caused."""
    if entry.kind == "closed":
        return identification.finish()
    ends: list[Event] = []
    if entry.presence:
        # Those of another version are left out: the step is repeated under the settings before.
        with suppress(ValueError):
            ends = identification.change_presence(PresenceSettings.model_validate_json(entry.presence))
    return ends + identification.step(entry.records, entry.now, entry.instructions)


@dataclass(frozen=True, slots=True)
class StateKeys:
    """Redis keys of a site's state; all private."""

    lease: str
    journal: str
    snapshots: tuple[str, str]
    current: str
    """Model whose state was written last."""

    @classmethod
    def of(cls, site: str, model: str, replay: str | None = None) -> "StateKeys":
        """Return the keys for identities known by vectors of `model` (a bundle's hash).

        `replay`: name of a replay, whose state is separate; None for live cameras.
        """
        scope = f"reid:{site}:state:{SCHEMA}" if replay is None else f"reid:{site}:state:{SCHEMA}:replay:{replay}"
        of_model = f"{scope}:{model[:16]}"
        return cls(
            lease=f"{scope}:lease",
            journal=f"{of_model}:journal",
            snapshots=(f"{of_model}:snapshot:a", f"{of_model}:snapshot:b"),
            current=f"{scope}:current",
        )


class JournalInput:
    """Records taken so far: each has a unique (run, camera, sequence), and sequences increase within a camera."""

    def __init__(self, last: Mapping[str, Mapping[CameraId, int]] | None = None) -> None:
        self._last = {run: dict(cameras) for run, cameras in (last or {}).items()}

    def last(self) -> dict[str, dict[CameraId, int]]:
        """Return the latest sequence taken, by run and camera, as a copy."""
        return {run: dict(cameras) for run, cameras in self._last.items()}

    def fresh(self, records: Sequence[Perceived]) -> list[Perceived]:
        """Return the records that were not taken before, and note them as taken."""
        found = [record for record in records if not self._has(record)]
        self.note(found)
        return found

    def has(self, records: Iterable[Perceived]) -> bool:
        """Return whether all of these were taken."""
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
