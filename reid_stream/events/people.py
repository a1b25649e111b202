"""Events about people: identities, zones and lines, operators' instructions (pure)."""

from typing import ClassVar, Literal

from reid_stream.events.base import EventBase, Priority
from reid_stream.records import Box, CameraId, ClockQuality, GlobalId, IdentityState, TrackId


class _Identity(EventBase, frozen=True, kw_only=True):
    priority: ClassVar[Priority] = "identity"
    subject_field = "person"
    person: GlobalId
    """Global ID."""
    revision: int
    """Revision of the identity; every correction of it adds one."""


class _Sighting(_Identity, frozen=True, kw_only=True):
    time_field = "seen_at"
    camera: CameraId
    track: TrackId
    """Unique within the camera and the run."""
    seen_at: float
    """UTC seconds, capture time of the frame."""
    clock: ClockQuality
    """Accuracy of `seen_at`: `rtcp` camera clock, `arrival` clock of this host, `file` position in a file."""
    box: Box
    """x1, y1, x2, y2 in pixels of the full frame."""
    frame_size: tuple[int, int]
    """Width and height of the full frame, pixels."""
    score: float
    """Detection score, 0 to 1."""
    state: IdentityState
    """`provisional` until enough evidence has been seen, then `confirmed`."""
    similarity: float | None
    """Cosine similarity of the mean vectors of track and identity at the match, -1 to 1; null for a new identity."""
    probability: float | None
    """Calibrated probability, 0 to 1, that the track shows this identity; null for a new or uncalibrated one."""
    model: str
    """Hash of the embedding bundle."""
    since: float
    """UTC seconds at which this visit to the camera started."""
    run: str = ""
    """Run of the daemon that numbered the track; (camera, run, track) is unique for good."""


class IdentityEntered(_Sighting, frozen=True, kw_only=True):
    """A person came into a camera's view."""

    type = "identity.entered.v1"


class IdentitySeen(_Sighting, frozen=True, kw_only=True):
    """A person is still in view; sent every `publish.seen_interval_s`, and for each further track of the visit."""

    type = "identity.seen.v1"
    priority: ClassVar[Priority] = "liveness"


class IdentityLeft(_Identity, frozen=True, kw_only=True):
    """A person has not been in a camera's view for `publish.left_after_s`."""

    type = "identity.left.v1"
    time_field = "last_seen_at"
    camera: CameraId
    since: float
    """UTC seconds at which the visit started."""
    last_seen_at: float
    """UTC seconds at which the visit ended."""
    clock: ClockQuality
    """Accuracy of the times."""
    state: IdentityState
    snapshot: str | None = None
    """Name of the visit's best picture, <camera>/<run>/<track>/<milliseconds>, for `GET /api/v1/snapshots/<name>`; null
    where no pictures are stored."""


class IdentityConfirmed(_Identity, frozen=True, kw_only=True):
    """A provisional identity has gathered enough evidence."""

    type = "identity.confirmed.v1"
    time_field = "confirmed_at"
    camera: CameraId
    track: TrackId
    confirmed_at: float


class IdentityMerged(_Identity, frozen=True, kw_only=True):
    """`previous` and `person` are one; read every earlier event of `previous` as one of `person`."""

    type = "identity.merged.v1"
    time_field = "merged_at"
    previous: GlobalId
    """Global ID that is no longer used."""
    similarity: float
    """Cosine similarity of the two, -1 to 1."""
    probability: float | None
    """Calibrated probability that they are one person, 0 to 1."""
    merged_at: float
    by: str | None = None
    """Operator who asked for it; null for the matcher's own correction."""


class IdentitySplit(_Identity, frozen=True, kw_only=True):
    """Some tracks of `person` show another person, `into`."""

    type = "identity.split.v1"
    time_field = "split_at"
    into: GlobalId
    tracks: tuple[tuple[CameraId, str, TrackId], ...]
    """(camera, run, track) of each track that moved to `into`."""
    split_at: float
    by: str | None = None
    """Operator who asked for it; null for the matcher's own correction."""
    into_revision: int = 1
    into_state: IdentityState = "provisional"
    spans: tuple[tuple[float | None, float | None], ...] = ()
    """Empty if all `tracks` moved whole; else, per track, the interval [since, until) of `seen_at` that moved, UTC
    seconds, null where it is unbounded."""


class IdentityNamed(_Identity, frozen=True, kw_only=True):
    """An identity was given a label."""

    type = "identity.named.v1"
    time_field = "named_at"
    label: str
    """Empty to remove the label."""
    by: str | None
    """Operator; null where the label was taken over from a merged identity."""
    named_at: float


class IdentityRetired(_Identity, frozen=True, kw_only=True):
    """An identity left the gallery and will not be matched again."""

    type = "identity.retired.v1"
    time_field = "retired_at"
    reason: Literal["expired", "gallery full"]
    last_seen_at: float
    retired_at: float


class IdentityErased(_Identity, frozen=True, kw_only=True):
    """Everything kept about a person was deleted on request."""

    type = "identity.erased.v1"
    time_field = "erased_at"
    erased_at: float
    by: str | None = None
    """Operator who asked for it."""


class _Place(_Identity, frozen=True, kw_only=True):
    camera: CameraId
    clock: ClockQuality
    """Accuracy of the times."""


class ZoneEntered(_Place, frozen=True, kw_only=True):
    """A person's feet came into a zone, and stayed for `publish.zone_settle_s`."""

    type = "zone.entered.v1"
    time_field = "entered_at"
    zone: str
    """Name in `cameras[].zones`."""
    entered_at: float


class ZoneLeft(_Place, frozen=True, kw_only=True):
    """A person's feet left a zone, or the person left the camera's view; every `zone.entered` has one."""

    type = "zone.left.v1"
    time_field = "left_at"
    zone: str
    """Name in `cameras[].zones`."""
    since: float
    """UTC seconds of `entered_at`."""
    left_at: float
    dwell_s: float
    """Seconds in the zone."""


class LineCrossed(_Place, frozen=True, kw_only=True):
    """A person's feet crossed a line."""

    type = "line.crossed.v1"
    time_field = "crossed_at"
    line: str
    """Name in `cameras[].lines`."""
    direction: Literal["in", "out"]
    """`in`: to the right, as seen from the line's first point to its second."""
    crossed_at: float


class InstructionAnswered(EventBase, frozen=True, kw_only=True):
    """An operator's instruction was carried out or refused; the events that it caused come just before."""

    type = "instruction.answered.v1"
    priority: ClassVar[Priority] = "identity"
    time_field = "answered_at"
    subject_field = "instruction"
    instruction: str
    """Entry ID on the stream of instructions."""
    do: Literal["merge", "split", "name", "erase", "undo"]
    outcome: Literal["done", "refused"]
    text: str
    """Description of the result, or the reason for refusing."""
    people: tuple[GlobalId, ...]
    """Identities concerned."""
    by: str
    answered_at: float
