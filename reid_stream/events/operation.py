"""Events about cameras, the daemon and its workers (pure)."""

from typing import ClassVar, Literal

from reid_stream.events.base import EXAMPLE_RUN, EventBase, NewsEvent, Priority, values
from reid_stream.records import CameraId, ClockQuality, GlobalId


class _Camera(NewsEvent, frozen=True, kw_only=True):
    priority: ClassVar[Priority] = "operation"
    time_field = "changed_at"
    subject_field = "camera"
    is_of_host: ClassVar[bool] = True
    camera: CameraId
    changed_at: float
    example = values(camera="door", changed_at=1795236195.25)


class CameraUp(_Camera, frozen=True, kw_only=True):
    """A camera delivers frames."""

    type = "camera.up.v1"
    frame_size: tuple[int, int]
    """Width and height, pixels."""
    codec: str
    clock: ClockQuality
    """Accuracy of capture times."""
    example = values(frame_size=(1920, 1080), codec="h264", clock="rtcp")


class CameraAdded(_Camera, frozen=True, kw_only=True):
    """A camera was added to the settings, or switched on, while the daemon runs; `camera.up` follows."""

    type = "camera.added.v1"
    is_of_host: ClassVar[bool] = False


class CameraRemoved(_Camera, frozen=True, kw_only=True):
    """A camera was removed from the settings, or switched off, while the daemon runs."""

    type = "camera.removed.v1"
    is_of_host: ClassVar[bool] = False


class CameraConfigured(_Camera, frozen=True, kw_only=True):
    """A camera's settings were changed while the daemon runs."""

    type = "camera.configured.v1"
    keys: tuple[str, ...]
    """Keys of its entry in cams.yaml that have changed."""
    example = values(keys=("url", "max_fps"))


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
    example = values(
        frame_size=(1920, 1080),
        codec="h264",
        clock="rtcp",
        previous_frame_size=(640, 480),
        previous_codec="h264",
        previous_clock="arrival",
    )


class CameraDown(_Camera, frozen=True, kw_only=True):
    """A camera stopped delivering frames."""

    type = "camera.down.v1"
    reason: str
    """For people to read; passwords are masked."""
    example = values(reason="no packet for 10.0 s")


class _Daemon(EventBase, frozen=True, kw_only=True):
    priority: ClassVar[Priority] = "operation"
    time_field = "told_at"
    subject_field = "run"
    run: str
    """Run of the daemon."""
    told_at: float
    example = values(run=EXAMPLE_RUN, told_at=1795236194.25)


class DaemonStarted(_Daemon, frozen=True, kw_only=True):
    """The daemon started."""

    type = "daemon.started.v1"
    version: str
    cameras: tuple[CameraId, ...]
    model: str
    """Hash of the embedding bundle."""
    in_view: tuple[tuple[CameraId, GlobalId], ...] = ()
    """(camera, global ID) of all people still in view since the previous run; every other visit has ended."""
    example = values(
        version="0.1.0",
        cameras=("door", "till"),
        model="9b1c6f0e2d7a4c35",
        in_view=(("door", "shop-7"),),
    )


class DaemonStopped(_Daemon, frozen=True, kw_only=True):
    """The daemon stopped in order."""

    type = "daemon.stopped.v1"
    reason: str
    example = values(reason="stopped")


class _DaemonNews(_Daemon, NewsEvent, frozen=True, kw_only=True):
    is_of_host: ClassVar[bool] = True


class DaemonHeartbeat(_DaemonNews, frozen=True, kw_only=True):
    """The daemon is alive; sent every `publish.heartbeat_s`."""

    type = "daemon.heartbeat.v1"
    is_of_host: ClassVar[bool] = False
    priority: ClassVar[Priority] = "liveness"
    people: int
    """Identities in view."""
    gallery: int
    """Identities that can be matched."""
    cameras_up: int
    example = values(people=3, gallery=41, cameras_up=2)


class DaemonDropped(_DaemonNews, frozen=True, kw_only=True):
    """Events are lost; counts since the last such event of the same reason.

    Reasons: the spool or the disk is full, the spool's file was damaged, Redis came back without them, another daemon
    took over the site before they were sent.
    """

    type = "daemon.dropped.v1"
    is_of_host: ClassVar[bool] = False
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
    example = values(reason="the spool is full", liveness=1200, operation=3, journal=0, identity=0)


class DaemonStalled(_DaemonNews, frozen=True, kw_only=True):
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
    example = values(stage="detect", after_s=30.2, action="restarted", frames=4)


class DaemonOverloaded(_DaemonNews, frozen=True, kw_only=True):
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
    example = values(wanted_fps=1000.0, used_fps=48.5, slowest="door", least=0.047, most=0.05)


class DaemonRecovered(_DaemonNews, frozen=True, kw_only=True):
    """An overload has ended."""

    type = "daemon.recovered.v1"
    after_s: float
    """Seconds since `daemon.overloaded`."""
    example = values(after_s=60.0)


class DaemonClockSet(_DaemonNews, frozen=True, kw_only=True):
    """The system's clock was set: times of events from here on count on the new time base, visits continue."""

    type = "daemon.clock_set.v1"
    by_s: float
    """Seconds by which the clock was set forward; below 0 if back."""
    example = values(by_s=-90.0)


class DaemonSettingsRead(_DaemonNews, frozen=True, kw_only=True):
    """A changed cams.yaml was read again: applied, or refused as a whole."""

    type = "daemon.settings_read.v1"
    outcome: Literal["applied", "refused"]
    reason: str = ""
    """Every fault of a refused file, one a line; passwords are masked."""
    needs_restart: tuple[str, ...] = ()
    """Keys that differ from those in use, and apply from the next start on, as `detect.score`."""
    example = values(
        outcome="refused",
        reason="cams.yaml, line 7: cameras[1].max_fps: must be greater than 0, found -1",
    )


class _Worker(NewsEvent, frozen=True, kw_only=True):
    priority: ClassVar[Priority] = "operation"
    time_field = "changed_at"
    is_of_host: ClassVar[bool] = True
    worker: int
    """Number of the worker process, from 1."""
    changed_at: float
    cameras: tuple[CameraId, ...]
    example = values(worker=2, changed_at=1795236220.0, cameras=("door", "till"))

    @property
    def subject(self) -> str:
        return f"worker-{self.worker}"


class WorkerUp(_Worker, frozen=True, kw_only=True):
    """A worker process has loaded its networks and opens its cameras."""

    type = "worker.up.v1"
    starts: int
    example = values(starts=1)


class WorkerDown(_Worker, frozen=True, kw_only=True):
    """A worker process was lost and will be started again."""

    type = "worker.down.v1"
    cause: Literal["crashed", "stuck", "failed"]
    """`stuck`: hung and was killed; `failed`: gave up by itself."""
    reason: str
    """For people to read."""
    again_in_s: float
    """Seconds until it is started again."""
    example = values(cause="crashed", reason="it crashed (SIGKILL)", again_in_s=0.42)


OperationStateEvent = DaemonStarted | DaemonStopped
