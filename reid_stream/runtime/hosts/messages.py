"""Reports of a perceive host to identification.

Counts are totals of the host's run, and reports are numbered, so that one that comes twice or not at all does no harm.
"""

import msgspec

from reid_stream.events.packed import PackedEvent
from reid_stream.ingest.stats import CameraStats
from reid_stream.pipeline import PerceiveCounts
from reid_stream.records import CameraId

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
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise ValueError(f"a host's report must be msgpack of this version: {error}") from error
