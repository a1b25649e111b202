"""What subscribers are told; one struct per CloudEvents type, versioned `.v1` (pure).

A change that a subscriber's parser could notice is a new version beside the old one, never an edit. `publish.envelope`
wraps these in CloudEvents 1.0; the JSON Schemas in `configs/schemas/` are generated from them.
"""

from typing import ClassVar, Literal, get_args

import msgspec

from reid_stream.records import Box, CameraId, ClockQuality, GlobalId, IdentityState, TrackId

PREFIX = "io.reid-stream."
"""Reverse-DNS prefix of every CloudEvents `type`."""


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    type: ClassVar[str]

    @property
    def at(self) -> float:
        """UTC seconds at which it happened (the capture time, where a frame shows it)."""
        raise NotImplementedError

    @property
    def subject(self) -> str:
        """What it is about: a global ID, a camera or the daemon's run."""
        raise NotImplementedError


class _Identity(_Event, frozen=True, kw_only=True):
    person: GlobalId
    """The global ID."""
    revision: int
    """Grows by one with every correction of this identity."""

    @property
    def subject(self) -> str:
        return self.person


class _Seen(_Identity, frozen=True, kw_only=True):
    camera: CameraId
    track: TrackId
    """Unique in this camera and run."""
    seen_at: float
    """UTC seconds, capture time of the frame."""
    clock: ClockQuality
    """How good `seen_at` is."""
    box: Box
    """x1, y1, x2, y2 in pixels of the full frame."""
    frame_size: tuple[int, int]
    """Width and height in pixels of the full frame."""
    score: float
    """The detector's, 0 to 1."""
    state: IdentityState
    similarity: float | None
    """Cosine to the identity's best exemplar; null for somebody new."""
    probability: float | None
    """Calibrated probability that this is the same person; null for somebody new or without calibration."""
    model: str
    """Hash of the embedding bundle."""
    since: float
    """UTC seconds since when this person has been on this camera."""
    run: str = ""
    """Run that numbered the track; (camera, run, track) names it for good."""

    @property
    def at(self) -> float:
        return self.seen_at


class IdentityEntered(_Seen, frozen=True, kw_only=True):
    """A person came into a camera's view."""

    type = "identity.entered.v1"


class IdentitySeen(_Seen, frozen=True, kw_only=True):
    """A person is still in view; sent every `publish.seen_interval_s`, and for each further track of the visit."""

    type = "identity.seen.v1"


class IdentityLeft(_Identity, frozen=True, kw_only=True):
    """A person has not been in a camera's view for `publish.left_after_s`."""

    type = "identity.left.v1"
    camera: CameraId
    since: float
    """UTC seconds: when the visit began."""
    last_seen_at: float
    """UTC seconds: when the visit ended."""
    clock: ClockQuality
    state: IdentityState

    @property
    def at(self) -> float:
        return self.last_seen_at


class IdentityConfirmed(_Identity, frozen=True, kw_only=True):
    """A provisional identity is now believed."""

    type = "identity.confirmed.v1"
    camera: CameraId
    track: TrackId
    confirmed_at: float

    @property
    def at(self) -> float:
        return self.confirmed_at


class IdentityMerged(_Identity, frozen=True, kw_only=True):
    """`previous` turned out to be `person`; read every earlier event of `previous` as one of `person`."""

    type = "identity.merged.v1"
    previous: GlobalId
    similarity: float
    probability: float | None
    merged_at: float
    by: str | None = None
    """Who said so; null where the matcher did."""

    @property
    def at(self) -> float:
        return self.merged_at


class IdentitySplit(_Identity, frozen=True, kw_only=True):
    """Some tracks of `person` belong to somebody else, `into`."""

    type = "identity.split.v1"
    into: GlobalId
    tracks: tuple[tuple[CameraId, str, TrackId], ...]
    """(camera, run, track) that moved to `into`."""
    split_at: float
    by: str | None = None
    """Who said so; null where the matcher did."""
    into_revision: int = 1
    """Of `into`."""
    into_state: IdentityState = "provisional"
    """Of `into`."""
    spans: tuple[tuple[float | None, float | None], ...] = ()
    """Of each of `tracks`, where any moved in part only: [since, until) of `seen_at`; null for no bound."""

    @property
    def at(self) -> float:
        return self.split_at


class IdentityNamed(_Identity, frozen=True, kw_only=True):
    """People call this person something."""

    type = "identity.named.v1"
    label: str
    """Empty for no name any more."""
    by: str | None
    """Who said so; null where it was taken over from somebody merged."""
    named_at: float

    @property
    def at(self) -> float:
        return self.named_at


class IdentityRetired(_Identity, frozen=True, kw_only=True):
    """An identity left the gallery and will not be matched again."""

    type = "identity.retired.v1"
    reason: Literal["expired", "gallery full"]
    last_seen_at: float
    retired_at: float

    @property
    def at(self) -> float:
        return self.retired_at


class IdentityErased(_Identity, frozen=True, kw_only=True):
    """Everything kept about a person was deleted on request."""

    type = "identity.erased.v1"
    erased_at: float
    by: str | None = None

    @property
    def at(self) -> float:
        return self.erased_at


class InstructionAnswered(_Event, frozen=True, kw_only=True):
    """What a person told the daemon to do was done, or refused; what followed from it was told just before."""

    type = "instruction.answered.v1"
    instruction: str
    """Its place on the stream of instructions."""
    do: Literal["merge", "split", "name", "erase", "undo"]
    outcome: Literal["done", "refused"]
    text: str
    people: tuple[GlobalId, ...]
    by: str
    answered_at: float

    @property
    def at(self) -> float:
        return self.answered_at

    @property
    def subject(self) -> str:
        return self.instruction


class _Camera(_Event, frozen=True, kw_only=True):
    camera: CameraId
    changed_at: float

    @property
    def at(self) -> float:
        return self.changed_at

    @property
    def subject(self) -> str:
        return self.camera


class CameraUp(_Camera, frozen=True, kw_only=True):
    """A camera delivers frames."""

    type = "camera.up.v1"
    frame_size: tuple[int, int]
    codec: str
    clock: ClockQuality


class CameraDown(_Camera, frozen=True, kw_only=True):
    """A camera stopped delivering frames."""

    type = "camera.down.v1"
    reason: str
    """For people; never holds a password."""


class _Daemon(_Event, frozen=True, kw_only=True):
    run: str
    told_at: float

    @property
    def at(self) -> float:
        return self.told_at

    @property
    def subject(self) -> str:
        return self.run


class DaemonStarted(_Daemon, frozen=True, kw_only=True):
    """The daemon has begun."""

    type = "daemon.started.v1"
    version: str
    cameras: tuple[CameraId, ...]
    model: str
    """Hash of the embedding bundle."""
    in_view: tuple[tuple[CameraId, GlobalId], ...] = ()
    """Who was in view when the last daemon ended, and is until `identity.left` is told; nobody else is."""


class DaemonStopped(_Daemon, frozen=True, kw_only=True):
    """The daemon has ended in order."""

    type = "daemon.stopped.v1"
    reason: str


class DaemonHeartbeat(_Daemon, frozen=True, kw_only=True):
    """The daemon lives; sent every `publish.heartbeat_s`."""

    type = "daemon.heartbeat.v1"
    people: int
    """Identities in view now."""
    gallery: int
    """Identities that can be matched."""
    cameras_up: int


class DaemonDropped(_Daemon, frozen=True, kw_only=True):
    """Events were given up for want of room on the disk while Redis was away; these many since the last such event."""

    type = "daemon.dropped.v1"
    reason: str
    liveness: int
    """`identity.seen` and `daemon.heartbeat`, which go first."""
    operation: int
    """News of cameras and daemon, which go next."""
    journal: int = 0
    """Entries of the journal, which go then; no event, but missed should the daemon crash."""
    identity: int
    """All others about people, which go last."""


class DaemonStalled(_Daemon, frozen=True, kw_only=True):
    """A stage of the daemon hung."""

    type = "daemon.stalled.v1"
    stage: str
    """detect, track, select, embed, match, presence, publish, or `load` for the models of a fresh start."""
    after_s: float
    """How long its call had taken."""
    action: Literal["restarted", "ended"]
    """Restarted: frames go on through a fresh half of the pipeline; ended: the daemon ends, to be started anew."""
    frames: int
    """Frames lost with the call."""


class DaemonOverloaded(_Daemon, frozen=True, kw_only=True):
    """There is more to do than the machine can bear: cameras give fewer frames than they should, until `recovered`."""

    type = "daemon.overloaded.v1"
    wanted_fps: float
    """Frames per second of all cameras, each at its `max_fps` at most."""
    used_fps: float
    """Frames per second that went through the detector."""
    slowest: CameraId
    """The camera that gets the smallest part of its frames."""
    least: float
    """Used of wanted on that camera, 0 to 1."""
    most: float
    """The same on the camera that gets the largest part."""


class DaemonRecovered(_Daemon, frozen=True, kw_only=True):
    """All cameras give the frames that they should again."""

    type = "daemon.recovered.v1"
    after_s: float
    """Since `overloaded`."""


class _Worker(_Event, frozen=True, kw_only=True):
    worker: int
    """Counted from 1."""
    changed_at: float
    cameras: tuple[CameraId, ...]
    """Its own."""

    @property
    def at(self) -> float:
        return self.changed_at

    @property
    def subject(self) -> str:
        return f"worker-{self.worker}"


class WorkerUp(_Worker, frozen=True, kw_only=True):
    """A process that perceives has loaded its networks and opens its cameras."""

    type = "worker.up.v1"
    starts: int
    """How often this one was started in this run of the daemon."""


class WorkerDown(_Worker, frozen=True, kw_only=True):
    """A process that perceives was lost; it is started again, and the others go on."""

    type = "worker.down.v1"
    cause: Literal["crashed", "stuck", "failed"]
    """Stuck: hung and was ended; failed: said why it cannot go on."""
    reason: str
    """For people."""
    again_in_s: float
    """Until it is started again."""


Event = (
    IdentityEntered
    | IdentitySeen
    | IdentityLeft
    | IdentityConfirmed
    | IdentityMerged
    | IdentitySplit
    | IdentityNamed
    | IdentityRetired
    | IdentityErased
    | InstructionAnswered
    | CameraUp
    | CameraDown
    | DaemonStarted
    | DaemonStopped
    | DaemonHeartbeat
    | DaemonDropped
    | DaemonStalled
    | DaemonOverloaded
    | DaemonRecovered
    | WorkerUp
    | WorkerDown
)
EVENT_TYPES: tuple[type[Event], ...] = get_args(Event)
