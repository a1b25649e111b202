"""Records that flow between the stages: frozen, validated on construction, never filled in later.

    Frame ─▶ Detections ─▶ Tracks ─▶ Observation | TrackEnded ─▶ Sighting ─▶ (events)

Conventions, stated once: boxes are `(x1, y1, x2, y2)` in pixels of the full frame; images are RGB; `*_at` is UTC epoch
seconds, `*_s` a duration in seconds; vectors have unit length, so that a dot product is a cosine; scores and qualities
are in [0, 1]. Letters in shapes: n boxes, d dimensions, h and w pixels.

`Observation` and `TrackEnded` are the contract between perceive and identify and cross processes as msgpack
(`encode`, `decode`); a change of theirs raises `SCHEMA`.
"""

import math
from dataclasses import dataclass
from typing import Literal, NewType

import msgspec
import numpy as np
import numpy.typing as npt

from reid_stream.errors import DECODE_ERRORS
from reid_stream.images import Detail, Picture, UInt8, host

CAMERA_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
PERSON_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,31}-[0-9]{1,18}$"
RUN_PATTERN = r"^[A-Za-z0-9_.-]{1,100}$"
CameraId = NewType("CameraId", str)
TrackId = NewType("TrackId", int)
"""Unique within one camera and one run of the daemon; only a GlobalId crosses cameras."""
GlobalId = NewType("GlobalId", str)
"""`<site>-<number>`; never reused."""

ClockQuality = Literal["rtcp", "arrival", "file"]
"""Source of a capture time: the camera's own wall clock, our clock at arrival, or the file's timestamps."""

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Box = tuple[float, float, float, float]

SCHEMA = 1


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded image of one camera."""

    camera: CameraId
    sequence: int
    """Counts this camera's frames of this run, from 0, the dropped ones included."""
    captured_at: float
    """UTC seconds."""
    clock: ClockQuality
    image: Picture
    """(h, w, 3) RGB."""
    moving: Floats | None = None
    """Boxes (n, 4) of what moves; None where that is unknown, so that everything may."""
    regions: Floats | None = None
    """Boxes (n, 4) to detect people in, none of which overlap; None for the whole image."""
    detail: Detail | None = None
    """A larger image of about this time, to cut people out of; None for the frame itself."""

    def __post_init__(self) -> None:
        if len(self.image.shape) != 3 or self.image.shape[2] != 3:
            raise ValueError(f"image must be (h, w, 3), got {self.image.shape}")
        if isinstance(self.image, np.ndarray) and self.image.dtype != np.uint8:
            raise ValueError(f"image must be uint8, got {self.image.dtype}")

    @property
    def pixels(self) -> UInt8:
        """The image in main memory."""
        return host(self.image)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.image.shape[1], self.image.shape[0]


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The people found in one frame."""

    boxes: Floats
    """(n, 4)."""
    scores: Floats
    """(n,)."""

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4 or self.boxes.dtype != np.float32:
            raise ValueError(f"boxes must be (n, 4) float32, got {self.boxes.shape} {self.boxes.dtype}")
        if self.scores.shape != self.boxes.shape[:1] or self.scores.dtype != np.float32:
            raise ValueError(
                f"scores must be ({len(self.boxes)},) float32, got {self.scores.shape} {self.scores.dtype}"
            )

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """The people of one frame with their track numbers, and which tracks have ended since the last frame."""

    camera: CameraId
    seen_at: float
    boxes: Floats
    """(n, 4)."""
    scores: Floats
    """(n,)."""
    ids: Ints
    """(n,), unique; TrackIds."""
    unassigned: int
    """Boxes that the tracker left without a number, such as first detections that are not confirmed yet."""
    ended: tuple[TrackId, ...]
    """Tracks that ended for good."""
    unconfirmed: int = 0
    """Boxes among the unassigned that become tracks if the next detection finds them again."""

    def __post_init__(self) -> None:
        n = len(self.ids)
        if self.boxes.shape != (n, 4) or self.scores.shape != (n,):
            raise ValueError(f"boxes, scores, ids must agree, got {self.boxes.shape}, {self.scores.shape}, ({n},)")
        if len(np.unique(self.ids)) != n:
            raise ValueError(f"track ids must be unique within a frame, got {self.ids.tolist()}")

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class Pick:
    """A track of a frame that is due for a new vector."""

    index: int
    """Row of the frame's Tracks."""
    quality: float
    """[0, 1]."""
    crop: Picture
    """(h, w, 3) RGB."""


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A crop that was embedded, with where it comes from: what the tracklet store keeps."""

    camera: CameraId
    run: str
    track: TrackId
    at: float
    """UTC seconds."""
    clock: ClockQuality
    box: Box
    quality: float
    """[0, 1]."""
    image: UInt8
    """(h, w, 3) RGB."""
    vector: bytes | None
    """float16 (d,), as observations carry it."""
    model: str
    """Hash of the embedder's bundle."""


class Observation(msgspec.Struct, frozen=True, tag="observation", tag_field="kind"):
    """One tracked person in one frame, with or without a new vector; sent from perception to identification."""

    run: str
    """Which run of the daemon made `track` and `sequence`."""
    camera: CameraId
    track: TrackId
    sequence: int
    """Counts this camera's observations and track ends of this run, from 0, without gaps."""
    seen_at: float
    """UTC seconds, the frame's capture time."""
    clock: ClockQuality
    box: Box
    frame_size: tuple[int, int]
    """(width, height) in pixels of the full frame."""
    score: float
    """The detector's, [0, 1]."""
    quality: float
    """Trust in the crop, [0, 1]; 0 where no vector was made."""
    vector: bytes | None
    """float16 little endian (d,), unit length; none where this sighting was not embedded."""
    model: str
    """Hash of the bundle that made the vector; vectors of two bundles are never compared."""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if not 0 <= self.quality <= 1 or not 0 <= self.score <= 1:
            raise ValueError(f"score and quality must be in [0, 1], got {self.score} and {self.quality}")
        if not (self.box[0] < self.box[2] and self.box[1] < self.box[3] and math.isfinite(sum(self.box))):
            raise ValueError(f"box must be finite (x1, y1, x2, y2) with x1 < x2 and y1 < y2, got {self.box}")
        if not math.isfinite(self.seen_at):
            raise ValueError(f"seen_at must be UTC seconds, got {self.seen_at}")
        if self.vector is not None and (not self.vector or len(self.vector) % 2):
            raise ValueError(f"vector must be float16 bytes, got {len(self.vector)} bytes")


class TrackEnded(msgspec.Struct, frozen=True, tag="track-ended", tag_field="kind"):
    """The end of a track; no observation of it follows."""

    run: str
    camera: CameraId
    track: TrackId
    sequence: int
    seen_at: float
    """UTC seconds of the frame at which the tracker ended it."""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if not math.isfinite(self.seen_at):
            raise ValueError(f"seen_at must be UTC seconds, got {self.seen_at}")


Perceived = Observation | TrackEnded

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Perceived] = msgspec.msgpack.Decoder(Perceived)


def encode(record: Perceived) -> bytes:
    """Write a record as msgpack."""
    return _encoder.encode(record)


def decode(data: bytes) -> Perceived:
    """Read a record from msgpack.

    Raises:
        ValueError: the bytes are no record of this schema.
    """
    try:
        record = _decoder.decode(data)
    except DECODE_ERRORS as error:
        raise ValueError(f"an observation must be msgpack of schema {SCHEMA}: {error}") from error
    if record.schema != SCHEMA:
        raise ValueError(f"an observation must have schema {SCHEMA}, got {record.schema}")
    return record


def pack_vector(vector: Floats) -> bytes:
    """Write a unit vector (d,) as float16 bytes."""
    return vector.astype("<f2").tobytes()


def unpack_vector(data: bytes) -> Floats:
    """Read a vector (d,) back, scaled to unit length again after the rounding to float16.

    Raises:
        ValueError: it has no length, or holds a NaN or an infinity.
    """
    vector = np.frombuffer(data, dtype="<f2").astype(np.float32)
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0:
        raise ValueError(f"a vector must be finite and not zero, got length {length}")
    return vector / np.float32(length)


IdentityState = Literal["provisional", "confirmed"]
"""`provisional` until the evidence is sufficient, then `confirmed`."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """The matcher's answer to one observation: who this is, as far as we know."""

    person: GlobalId
    state: IdentityState
    similarity: float | None
    """Cosine similarity of the mean vectors of track and identity when they were matched; None for a new identity."""
    probability: float | None
    """Calibrated P(same) of the assignment; None for a new identity or a bundle without calibration."""
    revision: int
    """Revision of the identity; grows with each correction."""
    observation: Observation


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A provisional identity has enough evidence now."""

    person: GlobalId
    revision: int
    at: float
    observation: Observation


@dataclass(frozen=True, slots=True)
class Merge:
    """`gone` was `into` all along; every track of `gone` is `into`'s from now on."""

    gone: GlobalId
    into: GlobalId
    revision: int
    """Revision of `into` after the merge."""
    similarity: float
    probability: float | None
    at: float
    by: str | None = None
    """Operator; None for the matcher's own correction."""
    label: str = ""
    """Label of `gone` where it becomes the label of `into`; else empty."""


@dataclass(frozen=True, slots=True)
class Split:
    """Some tracks of `person` show another person, `into`."""

    person: GlobalId
    into: GlobalId
    tracks: tuple[tuple[CameraId, str, TrackId], ...]
    """(camera, run, track) that are `into`'s from now on."""
    revision: int
    """Revision of `person` after the split."""
    at: float
    by: str | None = None
    """Operator; None for the matcher's own correction."""
    into_revision: int = 1
    """Revision of `into` after the split."""
    into_state: IdentityState = "provisional"
    """State of `into` after the split."""
    spans: tuple[tuple[float | None, float | None], ...] = ()
    """Part of each of `tracks` that moved, if any moved in part: [since, until) in UTC seconds; none for no bound."""

    @property
    def last_parts(self) -> tuple[tuple[CameraId, str, TrackId], ...]:
        """The `tracks` that moved with their end: a track that has one name has that of its last person."""
        return last_parts(self.tracks, self.spans)


def last_parts(
    tracks: tuple[tuple[CameraId, str, TrackId], ...], spans: tuple[tuple[float | None, float | None], ...]
) -> tuple[tuple[CameraId, str, TrackId], ...]:
    """Return the tracks of a split that moved with their end."""
    return tuple(track for track, (_, until) in zip(tracks, spans, strict=True) if until is None) if spans else tracks


@dataclass(frozen=True, slots=True)
class Retirement:
    """An identity left the gallery (too old, or the gallery is full) and will not be matched again."""

    person: GlobalId
    reason: Literal["expired", "gallery full"]
    at: float
    last_seen_at: float
    revision: int


@dataclass(frozen=True, slots=True)
class Naming:
    """An operator has named a person."""

    person: GlobalId
    label: str
    """Empty if the name was removed."""
    revision: int
    by: str
    at: float


@dataclass(frozen=True, slots=True)
class Erasing:
    """The matcher has removed a person; the daemon deletes the other data and confirms by an instruction `Erased`."""

    person: GlobalId
    instruction: str
    """`id` of the instruction that asked for it."""
    at: float


@dataclass(frozen=True, slots=True)
class Erasure:
    """All data of a person has been deleted."""

    person: GlobalId
    revision: int
    by: str
    at: float


@dataclass(frozen=True, slots=True)
class Answer:
    """An instruction was carried out, or refused; what follows from it was decided just before."""

    instruction: str
    """`id` of the instruction."""
    do: Literal["merge", "split", "name", "erase", "undo"]
    outcome: Literal["done", "refused"]
    text: str
    """Result for people to read."""
    people: tuple[GlobalId, ...]
    by: str
    at: float


Decision = Sighting | Confirmation | Merge | Split | Retirement | Naming | Erasing | Erasure | Answer
"""Output of the matcher; each holds after those before it."""
