"""Events about cameras, the daemon and its workers (pure)."""

from typing import ClassVar, Literal

from reid_stream.events.base import EventBase, Priority
from reid_stream.records import CameraId, ClockQuality, GlobalId


class _Camera(EventBase, frozen=True, kw_only=True):
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


class _Daemon(EventBase, frozen=True, kw_only=True):
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
    """An overload has ended."""

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


class _Worker(EventBase, frozen=True, kw_only=True):
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
