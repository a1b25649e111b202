"""Messages between the daemon and its workers over a pipe; records and crops go through ZeroMQ (`link.zmq`, `crops`).

Counts in a report are the increase since the last one, so that work before a crash stays counted.
"""

import pickle

import msgspec

from reid_stream.config.settings import Camera
from reid_stream.events.packed import PackedEvent
from reid_stream.ingest.camera import ResumePoint
from reid_stream.ingest.stats import CameraStats
from reid_stream.pipeline import PerceiveCounts
from reid_stream.records import CameraId


class AddCamera(msgspec.Struct, frozen=True, tag="read"):
    """To a worker: open a camera, or open it again with other settings."""

    camera: CameraId
    settings: bytes
    """`config.settings.Camera`, pickled, since its secrets go along; the pipe is the daemon's own."""
    resume: ResumePoint | None
    """State at which another process stopped reading it."""


class ConfigureCamera(msgspec.Struct, frozen=True, tag="configure"):
    """To a worker: use other settings for a camera without opening it again."""

    settings: bytes
    """Settings as in `AddCamera`."""


class RemoveCamera(msgspec.Struct, frozen=True, tag="leave"):
    """To a worker: close a camera and answer with `CameraClosed`."""

    camera: CameraId


class StopWorker(msgspec.Struct, frozen=True, tag="stop"):
    """To a worker: close the cameras, finish the step in progress, exit."""


class WorkerReady(msgspec.Struct, frozen=True, tag="loaded"):
    """From a worker: its networks are loaded."""


class WorkerFailure(msgspec.Struct, frozen=True, tag="failed"):
    """From a worker, its last message: it has failed."""

    kind: str
    """Name of the error's class, in `errors` or elsewhere."""
    text: str


class CameraChangeMessage(msgspec.Struct, frozen=True, tag="change"):
    """From a worker: a camera came up, changed or went down."""

    change: PackedEvent


class WorkerReport(msgspec.Struct, frozen=True, tag="told"):
    """From a worker, several times per second: its state."""

    stage: str | None
    """Stage that perception is in; None while it waits for frames."""
    stage_s: float
    """Seconds in that stage."""
    lost: tuple[str, ...]
    """Cameras of the frames in that step, one entry per frame."""
    stats: tuple[CameraStats, ...]
    captured: dict[CameraId, float]
    """UTC seconds of each camera's newest frame."""
    in_view: dict[CameraId, int]
    """People in each camera's newest frame."""
    frames: dict[CameraId, int]
    """Frames that perception has finished."""
    replaced: dict[CameraId, int]
    """Frames that newer ones replaced in the inbox."""
    counts: PerceiveCounts
    times: dict[str, list[float]]
    """Seconds of each call of each stage."""
    busy_s: float
    """Seconds spent in perception."""
    crops_lost: int
    """Crops for which the socket to the store had no room."""
    monitoring_faults: dict[str, int] = {}
    """Faults of monitoring code, by part."""


class CameraClosed(msgspec.Struct, frozen=True, tag="left"):
    """From a worker: a camera is closed."""

    camera: CameraId
    resume: ResumePoint


ToWorker = AddCamera | ConfigureCamera | RemoveCamera | StopWorker
FromWorker = WorkerReady | WorkerFailure | CameraChangeMessage | WorkerReport | CameraClosed
_encoder = msgspec.msgpack.Encoder()
_to: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(
    AddCamera | ConfigureCamera | RemoveCamera | StopWorker
)
_from: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(
    WorkerReady | WorkerFailure | CameraChangeMessage | WorkerReport | CameraClosed
)


def encode(message: ToWorker | FromWorker) -> bytes:
    """Encode a message as msgpack."""
    return _encoder.encode(message)


def pack_camera(camera: Camera) -> bytes:
    """Pack the settings of a camera."""
    return pickle.dumps(camera)


def unpack_camera(body: bytes) -> Camera:
    """Return the settings of a camera, which only `pack_camera` may have packed."""
    camera: Camera = pickle.loads(body)  # noqa: S301 (from the daemon over its own pipe, as the job itself)
    return camera


def to_worker(body: bytes) -> ToWorker:
    """Decode a message to a worker."""
    return _to.decode(body)


def from_worker(body: bytes) -> FromWorker:
    """Decode a message from a worker."""
    return _from.decode(body)
