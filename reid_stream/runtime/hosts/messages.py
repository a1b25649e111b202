"""Reports of a perceive host to identification.

Counts are totals of the host's run, and reports are numbered, so that one that comes twice or not at all does no harm.
"""

import math

import msgspec

from reid_stream.errors import DECODE_ERRORS
from reid_stream.events import Event
from reid_stream.events.packed import PackedEvent
from reid_stream.ingest.stats import CameraStats
from reid_stream.link.foreign import MOST_NUMBER, check_names
from reid_stream.pipeline import PerceiveCounts
from reid_stream.records import CameraId

MOST_CAMERAS = 256
"""Cameras of one host."""
_MOST_NAME = 253
"""Characters of a host's name."""
_MOST_TEXT = 2000
"""Characters of a text in a report."""
REPORT_S = 1.0
"""Interval of reports, seconds; one that has events to bring is sent at once."""


class HostReport(msgspec.Struct, frozen=True, tag="report"):
    """State of a host."""

    run: str
    """Run of its process, another one at each start."""
    number: int
    """Counts the reports of the run, from 0."""
    at: float
    """UTC seconds by the host's clock."""
    version: str
    model: str
    """Hash of the embedder's bundle."""
    stats: tuple[CameraStats, ...]
    """Of all its cameras."""
    up: tuple[PackedEvent, ...]
    """The latest `camera.up` or `camera.changed` of each camera that delivers, for one who has just begun to listen."""
    frames: dict[CameraId, int]
    """Frames that perception has finished."""
    replaced: dict[CameraId, int]
    """Frames that newer ones replaced in the inbox."""
    counts: PerceiveCounts
    waited_s: float
    """Time that perception waited for the link, seconds."""
    crops_lost: int
    """Crops for which there was no room on the way to the store."""
    events: tuple[PackedEvent, ...]
    """Events of the host since its last report, in order."""
    is_last: bool
    """Whether the host has ended in order."""
    sent: dict[CameraId, tuple[str, int]] = {}
    """Run and sequence number of the newest record of each camera on the stream, before this report."""


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[HostReport] = msgspec.msgpack.Decoder(HostReport)


def encode(report: HostReport) -> bytes:
    """Encode a report as msgpack."""
    return _encoder.encode(report)


def decode(body: bytes) -> HostReport:
    """Decode a report.

    Raises:
        ValueError: the bytes are no report of this version.
    """
    try:
        report = _decoder.decode(body)
    except DECODE_ERRORS as error:
        raise ValueError(f"a host's report must be msgpack of this version: {error}") from error
    cameras = {*(stats.camera for stats in report.stats), *report.frames, *report.replaced, *report.sent}
    if len(cameras) > MOST_CAMERAS:
        raise ValueError(f"a host must have at most {MOST_CAMERAS} cameras, got {len(cameras)}")
    for camera in cameras:
        check_names(camera, "run")
    for run in {report.run, *(run for run, _ in report.sent.values())}:
        check_names("host", run)
    _check_values(msgspec.to_builtins(msgspec.structs.replace(report, events=(), up=())))
    return report


def check_host(name: str) -> None:
    """Check the name of a host.

    Raises:
        ValueError: it is empty, too long, or not printable.
    """
    if not 1 <= len(name) <= _MOST_NAME or not name.isprintable():
        raise ValueError(f"a host's name must have 1 to {_MOST_NAME} printable characters, got {name[:80]!r}")


def unpack(packed: PackedEvent) -> Event:
    """Return an event of a report.

    Raises:
        ValueError: it is none of this version, or none that a host may make.
    """
    event = packed.unpack()
    if not event.is_of_host:
        raise ValueError(f"a host must report events about itself and its cameras, got {packed.type!r:.60}")
    check_names(getattr(event, "camera", "none"), getattr(event, "run", "none"))
    _check_values(msgspec.to_builtins(event))
    return event


def _check_values(value: object) -> None:
    """Check the numbers and texts of a report: what is published and shown must be finite and of a sane length."""
    match value:
        case bool() | None:
            pass
        case int() | float():
            if not (math.isfinite(value) and abs(value) < MOST_NUMBER):
                raise ValueError(f"a number of a report must be below 2^53, got {value}")
        case str():
            if len(value) > _MOST_TEXT:
                raise ValueError(f"a text of a report must have at most {_MOST_TEXT} characters, got {len(value)}")
        case dict():
            for pair in value.items():
                _check_values(pair)
        case list() | tuple():
            for part in value:
                _check_values(part)
