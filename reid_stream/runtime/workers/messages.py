"""What the daemon and its workers say to each other over a pipe; records and crops have ways of their own (`link.zmq`).

All counts are what was added since the last word, so that whatever a worker did before it crashed stays counted.
"""

from typing import Literal

import msgspec

from reid_stream.ingest.camera import ResumePoint
from reid_stream.ingest.changes import PackedChange
from reid_stream.ingest.stats import CameraStats
from reid_stream.pipeline import PerceiveCounts
from reid_stream.records import CameraId


class AddCamera(msgspec.Struct, frozen=True, tag="read"):
    """To a worker: open this camera."""

    camera: CameraId
    resume: ResumePoint | None
    """Where another process left it."""


class RemoveCamera(msgspec.Struct, frozen=True, tag="leave"):
    """To a worker: close this camera and say where it was left."""

    camera: CameraId


class StopWorker(msgspec.Struct, frozen=True, tag="stop"):
    """To a worker: close the cameras, work off what is under way, end."""


class WorkerReady(msgspec.Struct, frozen=True, tag="loaded"):
    """From a worker: its networks run."""


class WorkerFailure(msgspec.Struct, frozen=True, tag="failed"):
    """From a worker, its last word: it cannot go on."""

    kind: str
    """Name of the error's class in `errors`, or another."""
    text: str


class CameraChangeMessage(msgspec.Struct, frozen=True, tag="change"):
    """From a worker: a camera came up, changed or went down."""

    change: PackedChange


class WorkerReport(msgspec.Struct, frozen=True, tag="told"):
    """From a worker, a few times a second: how it goes."""

    stage: str | None
    """What its first half is at now; none while it waits for frames."""
    stage_s: float
    """For how long."""
    lost: tuple[str, ...]
    """Cameras whose frames are in that step, one entry a frame."""
    stats: tuple[CameraStats, ...]
    captured: dict[CameraId, float]
    """UTC seconds of each camera's newest frame."""
    in_view: dict[CameraId, int]
    """People in each camera's newest frame."""
    frames: dict[CameraId, int]
    """Frames that went through the first half."""
    replaced: dict[CameraId, int]
    """Frames that newer ones replaced in the inbox."""
    counts: PerceiveCounts
    times: dict[str, list[float]]
    """Seconds of each call of each stage."""
    busy_s: float
    """Time at work."""
    crops_lost: int
    """Crops that the way to the store had no room for."""
    monitoring_faults: dict[str, int] = {}
    """Faults of monitoring code, by part."""


class CameraRemoved(msgspec.Struct, frozen=True, tag="left"):
    """From a worker: a camera is closed."""

    camera: CameraId
    resume: ResumePoint


class WorkerEnd(msgspec.Struct, frozen=True, tag="ended"):
    """From a worker, its last word: all it had to say is on the link."""

    code: Literal[0] = 0


ToWorker = AddCamera | RemoveCamera | StopWorker
FromWorker = WorkerReady | WorkerFailure | CameraChangeMessage | WorkerReport | CameraRemoved | WorkerEnd
_encoder = msgspec.msgpack.Encoder()
_to: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(AddCamera | RemoveCamera | StopWorker)
_from: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(
    WorkerReady | WorkerFailure | CameraChangeMessage | WorkerReport | CameraRemoved | WorkerEnd
)


def encode(message: ToWorker | FromWorker) -> bytes:
    """Write a message."""
    return _encoder.encode(message)


def to_worker(body: bytes) -> ToWorker:
    """Read one that a worker got."""
    return _to.decode(body)


def from_worker(body: bytes) -> FromWorker:
    """Read one that a worker sent."""
    return _from.decode(body)
