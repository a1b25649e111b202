"""Events for subscribers: one struct per CloudEvents type, versioned `.v1` (pure).

A struct says everything about its type: fields, priority in the spool, time and subject. A new type is added here, with
a sample in tests/samples/events, and to `StateEvent` if it changes the live keys or the projection of the stream, else
to `NewsEvent`; nothing else lists event types. A change that a subscriber's parser could notice is a new version
beside the old one, never an edit. Times are UTC seconds since 1970.
"""

from typing import ClassVar, Literal, get_args

import msgspec

from reid_stream.records import Box, CameraId, ClockQuality, GlobalId, IdentityState, TrackId

PREFIX = "io.reid-stream."  # reverse DNS
Priority = Literal["identity", "operation", "liveness"]
"""When the spool overflows, liveness events are dropped first, then operation events, identity events last."""


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    type: ClassVar[str]
    priority: ClassVar[Priority]
    time_field: ClassVar[str]
    subject_field: ClassVar[str]

    @property
    def at(self) -> float:
        return float(getattr(self, self.time_field))

    @property
    def subject(self) -> str:
        return str(getattr(self, self.subject_field))


class _Identity(_Event, frozen=True, kw_only=True):
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
    """UTC seconds at which this visit to the camera began."""
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
    """UTC seconds at which the visit began."""
    last_seen_at: float
    """UTC seconds at which the visit ended."""
    clock: ClockQuality
    """Accuracy of the times."""
    state: IdentityState


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


class InstructionAnswered(_Event, frozen=True, kw_only=True):
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
    """What was done, or the reason for refusing."""
    people: tuple[GlobalId, ...]
    """Identities concerned."""
    by: str
    answered_at: float


class _Camera(_Event, frozen=True, kw_only=True):
    priority: ClassVar[Priority] = "operation"
    time_field = "changed_at"
    subject_field = "camera"
    camera: CameraId
    changed_at: float


class CameraUp(_Camera, frozen=True, kw_only=True):
    """A camera delivers frames."""

    type = "camera.up.v1"
    frame_size: tuple[int, int]
    """Width and height, pixels."""
    codec: str
    clock: ClockQuality
    """Accuracy of capture times."""


class CameraAdded(_Camera, frozen=True, kw_only=True):
    """A camera was added to the settings, or switched on, while the daemon runs; `camera.up` follows."""

    type = "camera.added.v1"


class CameraRemoved(_Camera, frozen=True, kw_only=True):
    """A camera was removed from the settings, or switched off, while the daemon runs."""

    type = "camera.removed.v1"


class CameraConfigured(_Camera, frozen=True, kw_only=True):
    """A camera's settings were changed while the daemon runs."""

    type = "camera.configured.v1"
    keys: tuple[str, ...]
    """Keys of its entry in cams.yaml that have changed."""


class CameraChanged(_Camera, frozen=True, kw_only=True):
    """A camera that is up changed its frame size, codec or clock."""

    type = "camera.changed.v1"
    frame_size: tuple[int, int]
    """Width and height now, pixels."""
    codec: str
    clock: ClockQuality
    """Accuracy of capture times from now on."""
    previous_frame_size: tuple[int, int]
    previous_codec: str
    previous_clock: ClockQuality


class CameraDown(_Camera, frozen=True, kw_only=True):
    """A camera stopped delivering frames."""

    type = "camera.down.v1"
    reason: str
    """For people to read; passwords are masked."""


class _Daemon(_Event, frozen=True, kw_only=True):
    priority: ClassVar[Priority] = "operation"
    time_field = "told_at"
    subject_field = "run"
    run: str
    """Run of the daemon."""
    told_at: float


class DaemonStarted(_Daemon, frozen=True, kw_only=True):
    """The daemon started."""

    type = "daemon.started.v1"
    version: str
    cameras: tuple[CameraId, ...]
    model: str
    """Hash of the embedding bundle."""
    in_view: tuple[tuple[CameraId, GlobalId], ...] = ()
    """(camera, global ID) of all people still in view since the previous run; every other visit has ended."""


class DaemonStopped(_Daemon, frozen=True, kw_only=True):
    """The daemon stopped in order."""

    type = "daemon.stopped.v1"
    reason: str


class DaemonHeartbeat(_Daemon, frozen=True, kw_only=True):
    """The daemon is alive; sent every `publish.heartbeat_s`."""

    type = "daemon.heartbeat.v1"
    priority: ClassVar[Priority] = "liveness"
    people: int
    """Identities in view."""
    gallery: int
    """Identities that can be matched."""
    cameras_up: int


class DaemonDropped(_Daemon, frozen=True, kw_only=True):
    """Events are lost; counts since the last such event of the same reason.

    Reasons: the spool or the disk is full, the spool's file was damaged, Redis came back without them, another daemon
    took over the site before they were sent.
    """

    type = "daemon.dropped.v1"
    priority: ClassVar[Priority] = "identity"
    reason: str
    liveness: int
    """`identity.seen` and `daemon.heartbeat`, dropped first."""
    operation: int
    """Camera, worker and daemon events, dropped next."""
    journal: int = 0
    """Journal entries, dropped next; no events, but missing if the daemon crashes."""
    identity: int
    """All other identity events, dropped last."""


class DaemonStalled(_Daemon, frozen=True, kw_only=True):
    """A stage of the daemon hung."""

    type = "daemon.stalled.v1"
    stage: str
    """detect, track, select, embed, match, presence, publish, or `load` while models are loaded again."""
    after_s: float
    """Seconds that the call had taken."""
    action: Literal["restarted", "ended"]
    """`restarted`: perception was started again; `ended`: the daemon exits for its service manager to start it."""
    frames: int
    """Frames lost with the call."""


class DaemonOverloaded(_Daemon, frozen=True, kw_only=True):
    """The machine cannot process all frames: cameras get fewer than their `max_fps` until `daemon.recovered`."""

    type = "daemon.overloaded.v1"
    wanted_fps: float
    """Frames per second of all cameras, each limited to its `max_fps`."""
    used_fps: float
    """Frames per second that went through the detector."""
    slowest: CameraId
    """Camera with the smallest share of its frames."""
    least: float
    """Share of frames used on `slowest`, 0 to 1."""
    most: float
    """Share of frames used on the camera with the largest share, 0 to 1."""


class DaemonRecovered(_Daemon, frozen=True, kw_only=True):
    """An overload is over."""

    type = "daemon.recovered.v1"
    after_s: float
    """Seconds since `daemon.overloaded`."""


class DaemonClockSet(_Daemon, frozen=True, kw_only=True):
    """The system's clock was set: times of events from here on count on the new time base, visits go on."""

    type = "daemon.clock_set.v1"
    by_s: float
    """Seconds by which the clock was set forward; below 0 if back."""


class DaemonSettingsRead(_Daemon, frozen=True, kw_only=True):
    """A changed cams.yaml was read again: applied, or refused as a whole."""

    type = "daemon.settings_read.v1"
    outcome: Literal["applied", "refused"]
    reason: str = ""
    """Every fault of a refused file, one a line; passwords are masked."""
    needs_restart: tuple[str, ...] = ()
    """Keys that differ from those in use, and apply from the next start on, as `detect.score`."""


class _Worker(_Event, frozen=True, kw_only=True):
    priority: ClassVar[Priority] = "operation"
    time_field = "changed_at"
    worker: int
    """Number of the worker process, from 1."""
    changed_at: float
    cameras: tuple[CameraId, ...]

    @property
    def subject(self) -> str:
        return f"worker-{self.worker}"


class WorkerUp(_Worker, frozen=True, kw_only=True):
    """A worker process has loaded its networks and opens its cameras."""

    type = "worker.up.v1"
    starts: int


class WorkerDown(_Worker, frozen=True, kw_only=True):
    """A worker process was lost and will be started again."""

    type = "worker.down.v1"
    cause: Literal["crashed", "stuck", "failed"]
    """`stuck`: hung and was killed; `failed`: gave up by itself."""
    reason: str
    """For people to read."""
    again_in_s: float
    """Seconds until it is started again."""


StateEvent = (
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
    | DaemonStarted
    | DaemonStopped
)
"""Events that change the live keys or the projection; code that handles them ends in `assert_never`."""
# fmt: off
NewsEvent = (
    CameraUp | CameraAdded | CameraRemoved | CameraConfigured | CameraChanged | CameraDown | DaemonHeartbeat
    | DaemonDropped | DaemonStalled | DaemonOverloaded | DaemonRecovered | DaemonClockSet | DaemonSettingsRead
    | WorkerUp | WorkerDown
)
# fmt: on
Event = StateEvent | NewsEvent
EVENT_TYPES: tuple[type[Event], ...] = get_args(Event)
