"""Events to CloudEvents 1.0 JSON and back (pure).

One flat JSON object per event; `data` is one of the structs of `events`, named by `type`. Two extension attributes:
`sequence` (of the CloudEvents sequence extension: a string that sorts; grows by one per event and run, so a gap is a
loss) and `runid`. `source` and `id` together are unique.

Source: CloudEvents 1.0.2, spec.md and extensions/sequence.md.
"""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from reid_stream.events import EVENT_TYPES, PREFIX, Event

SCHEMA_URI = "urn:reid-stream:schema:"
"""`dataschema` is this and the event's short type, as is the `$id` of the file in configs/schemas/events."""
_LAST_TIME = 253_402_300_799.0
"""The last second of the year 9999, the last that RFC 3339 can express."""
_SEQUENCE_DIGITS = 12
_SEQUENCE = re.compile(r"[0-9]{0,18}")
_TYPES: dict[str, type[Event]] = {PREFIX + event.type: event for event in EVENT_TYPES}
_ATTRIBUTES = {event: (PREFIX + event.type, SCHEMA_URI + event.type) for event in EVENT_TYPES}


class UnknownEvent(msgspec.Struct, frozen=True):
    """An event of a type or version that this program does not know yet."""

    fields: dict[str, Any]
    """The event's `data`, as it came."""


class _Sent(msgspec.Struct):
    specversion: str
    id: str
    source: str
    type: str
    time: str
    subject: str
    datacontenttype: str
    dataschema: str
    sequence: str
    runid: str
    data: Event


class _Read(msgspec.Struct):
    specversion: str
    id: str
    source: str
    type: str
    time: datetime
    data: msgspec.Raw
    subject: str = ""
    sequence: str = ""
    runid: str = ""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One event as subscribers get it."""

    id: str
    """Unique with `source`; the same when an event is delivered twice."""
    source: str
    """`reid-stream/<site>`."""
    type: str
    """`io.reid-stream.` and the event's type and version."""
    time: datetime
    """Time of the event, UTC, to the microsecond; `data` has it as epoch seconds."""
    subject: str
    """Global ID, camera or run that the event is about."""
    run: str
    """Run of the daemon that sent the event."""
    sequence: int
    """Counts the events of the run, from 0, without gaps."""
    data: Event | UnknownEvent


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Read)
_bodies: dict[str, msgspec.json.Decoder[Any]] = {name: msgspec.json.Decoder(event) for name, event in _TYPES.items()}
_any = msgspec.json.Decoder(dict[str, Any])


def encode(event: Event, *, site: str, run: str, sequence: int) -> bytes:
    """Write an event as CloudEvents JSON."""
    kind, schema = _ATTRIBUTES[type(event)]
    return _encoder.encode(
        _Sent(
            specversion="1.0",
            id=f"{run}-{sequence}",
            source=f"reid-stream/{site}",
            type=kind,
            time=_rfc3339(event.at),
            subject=event.subject,
            datacontenttype="application/json",
            dataschema=schema,
            sequence=f"{sequence:0{_SEQUENCE_DIGITS}d}",
            runid=run,
            data=event,
        )
    )


def decode(body: bytes | str) -> Envelope:
    """Read an event from CloudEvents JSON; one of an unknown type or version comes as `UnknownEvent`.

    Raises:
        ValueError: it is not CloudEvents 1.0 JSON, or its data does not fit its type.
    """
    try:
        read = _decoder.decode(body)
        if read.specversion != "1.0":
            raise ValueError(f"an event must have specversion 1.0, got {read.specversion!r}")
        bodies = _bodies.get(read.type)
        data = bodies.decode(read.data) if bodies is not None else UnknownEvent(_any.decode(read.data))
        if not _SEQUENCE.fullmatch(read.sequence):
            raise ValueError(f"an event must have a sequence of up to 18 digits, got {read.sequence!r:.40}")
        sequence = int(read.sequence or 0)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"an event must be CloudEvents 1.0 JSON of a known shape: {error}") from error
    return Envelope(
        id=read.id,
        source=read.source,
        type=read.type,
        time=read.time if read.time.tzinfo else read.time.replace(tzinfo=UTC),
        subject=read.subject,
        run=read.runid,
        sequence=sequence,
        data=data,
    )


def _rfc3339(at: float) -> str:
    # A camera's clock may give any time; `data` has it unchanged.
    at = min(max(at, 0.0), _LAST_TIME) if at == at else 0.0  # noqa: PLR0124 (not a number is unlike itself)
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
