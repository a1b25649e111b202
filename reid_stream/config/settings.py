"""Settings of the daemon: meaning, unit, bound, default and reason; each stage is given its own section (pure)."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from reid_stream.config.field_types import Fraction, Name, Pair, Passage, Polygon, Seconds, Transit, Workers


class SettingsSection(BaseModel):
    """A part of cams.yaml: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Camera(SettingsSection):
    """One camera."""

    id: Name
    """Name in events; letters, digits, `_`, `.`, `-`."""
    url: SecretStr
    """rtsp://, rtsps://, http(s)://, a file, or a device such as /dev/video0. May hold ${ENV}."""
    username: str | None = None
    """Put into the URL, so that a password needs no escaping; with `password` or `password_file`."""
    password: SecretStr | None = None
    """May be ${ENV}; never logged."""
    password_file: Path | None = None
    """File whose first line is the password (Docker and Kubernetes secrets)."""
    enabled: bool = True
    """False keeps the entry but leaves the camera alone."""
    tls: Literal["verified", "unverified"] = "verified"
    """rtsps:// and https:// only. `unverified` takes any certificate: whoever stands between gets the password."""
    ca_file: Path | None = None
    """rtsps:// and https:// only: certificates (PEM) that the camera's must come from; none for those of the system."""
    fingerprint: Annotated[str, Field(pattern=r"^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$")] | None = None
    """rtsps:// and https:// only: SHA-256 of the camera's own certificate, instead of an authority and a name."""
    transport: Literal["tcp", "udp"] = "tcp"
    """RTSP only. TCP loses nothing; UDP is for networks where TCP stalls."""
    max_fps: Annotated[float, Field(gt=0, le=120)] | None = 10
    """Frames used per second at most; none for all. 10 is enough to follow walking people."""
    priority: Annotated[int, Field(ge=1, le=100)] = 1
    """Where there is more to do than the machine can bear: one of 2 keeps twice the frames of one of 1."""
    resize: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] | None = None
    """(width, height) in pixels to scale frames to before all else; none keeps the camera's own."""
    region: Polygon | None = None
    """Only people whose feet are inside count. Corners as fractions of width and height, (0, 0) top left."""
    ignore: tuple[Polygon, ...] = ()
    """People whose feet are inside one of these are not seen (a poster, a screen). Fractions as in `region`."""
    loop: bool = False
    """Files only: begin again at the end."""
    start_after_s: Annotated[float, Field(ge=0)] = 0
    """Files only: wait so long before the first frame, to stagger replayed cameras."""

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password is not None and self.password_file is not None:
            raise ValueError("give password or password_file, not both")
        return self


class Redis(SettingsSection):
    """Where events go."""

    url: SecretStr = SecretStr("embedded")
    """`embedded` starts a Redis of our own beside the daemon; else redis://, rediss:// (TLS), unix://, or
    redis+sentinel://host:26379,host:26379/NAME/0 (rediss+sentinel:// for TLS). May hold ${ENV}."""
    username: str | None = None
    """Of a Redis with users (ACL); none for the default user."""
    password: SecretStr | None = None
    """May be ${ENV}; never logged."""
    password_file: Path | None = None
    """File whose first line is the password; read anew at each connection, so that it can be changed meanwhile."""
    tls: Literal["verified", "unverified"] = "verified"
    """TLS only: `unverified` accepts any certificate: whoever is on the network path can read and change everything."""
    ca_file: Path | None = None
    """TLS only: certificates (PEM) that the server's must come from; none for those of the system."""
    cert_file: Path | None = None
    """TLS only: our own certificate (PEM), for a Redis that asks clients for one; with `key_file`."""
    key_file: Path | None = None
    """TLS only: the key (PEM) of `cert_file`."""
    sentinel_username: str | None = None
    """Sentinels only: user of the sentinels themselves; `username` and `password` are Redis's."""
    sentinel_password: SecretStr | None = None
    """Sentinels only: password of the sentinels themselves; may be ${ENV}, never logged."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Embedded only: TCP port on 127.0.0.1, with the password of `redis.password` in its folder; 0 for none, but a Unix
    socket for the daemon's user alone, `redis.sock` there."""
    directory: Path | None = None
    """Embedded only: folder of its own (made private, mode 0700) for data, socket and `redis.url`, its address; none
    for one in the user's data folder."""

    @property
    def is_embedded(self) -> bool:
        """A Redis of our own is wanted."""
        return self.url.get_secret_value() == "embedded"


class Models(SettingsSection):
    """Which networks, run how. `models: permissive`: both from those added whose licences allow commercial use."""

    detector: str = "default"
    """A detector bundle's folder or name, `default`, or `permissive`: one added with `reid-stream models add`."""
    embedder: str = "default"
    """An embedder bundle's folder or name, `default`, or `permissive`: one added with `reid-stream models add`."""
    engine: Literal["auto", "openvino", "onnx", "torch", "tensorrt"] = "auto"
    """auto: on an NVIDIA GPU TensorRT, and torch until that is built; else OpenVINO, then ONNX Runtime."""
    precision: Literal["auto", "f32", "bf16"] = "auto"
    """auto: bf16 where the processor has it (about twice as fast), else f32; on a GPU f16, or more if that differs."""
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    """Processor threads for the networks, all workers' together; 0 for all cores."""

    @model_validator(mode="before")
    @classmethod
    def _may_be_a_word(cls, given: object) -> object:
        return {"detector": given, "embedder": given} if given == "permissive" else given


class Ingest(SettingsSection):
    """Reading cameras."""

    open_timeout_s: Seconds = 10
    """A camera that has not answered by then counts as down."""
    read_timeout_s: Seconds = 10
    """A stream without a packet for so long counts as down."""
    backoff_first_s: Seconds = 0.5
    """Wait before the first new attempt; doubles from there."""
    backoff_max_s: Seconds = 30
    """Longest wait between attempts."""
    isolate: bool = True
    """Decode each camera in a process of its own, so that a crash inside FFmpeg or a driver costs that camera alone;
    about 9 MB a camera and 4 ms a full HD frame dearer than on threads of the daemon."""
    hardware_decode: bool = False
    """Decode on the GPU where FFmpeg can; falls back in silence, counted in the metrics."""
    gpu_frames: bool = False
    """Leave what an NVIDIA GPU has decoded in its memory up to boxes and vectors; needs `hardware_decode` and the extra
    `gpu`, and `isolate: false`, since such pictures cannot pass from process to process."""


class Detect(SettingsSection):
    """Finding people."""

    score: Fraction = 0.1
    """Boxes below are dropped. Low, since the tracker uses weak boxes to hold on to people (ByteTrack, section 3)."""
    iou: Fraction = 0.7
    """Two boxes that overlap more are one person (non-maximum suppression)."""
    min_height_px: Annotated[float, Field(ge=0)] = 16
    """Smaller people are not seen."""
    max_batch: Annotated[int, Field(ge=1, le=64)] = 8
    """Frames per call of the network at most."""
    gate: Literal["auto", "off"] = "auto"
    """auto: detect only in frames of cameras where something moves or a person is followed; off: in every frame."""
    full_every_s: Seconds = 2.0
    """Under `gate: auto`, detect in a frame of each camera at least so often."""


class Track(SettingsSection):
    """Following people within one camera."""

    algorithm: Literal["bytetrack", "botsort", "ocsort"] = "bytetrack"
    """From the `trackers` package."""
    lost_s: Seconds = 2.0
    """A person unseen for so long is a new track when seen again; the matcher then links the two."""
    birth_score: Fraction = 0.7
    """A new track begins with a box at least this good; lower for a detector that is less sure of itself."""
    high_score: Fraction = 0.6
    """Boxes at least this good are matched first, weaker ones only prolong tracks (ByteTrack, section 3)."""
    first_iou: Fraction = 0.2
    """Least overlap of a track and a good box, both a little widened; low, since frames are far apart at low rates."""


class Embed(SettingsSection):
    """Choosing crops and turning them into vectors."""

    interval_s: Seconds = 1.0
    """A track is embedded at once, then again after so long."""
    better_by: Fraction = 0.15
    """... or earlier, once a crop beats the track's best quality by this much."""
    min_height_px: Annotated[float, Field(ge=8)] = 40
    """Smaller people are tracked but not embedded."""
    min_width_px: Annotated[float, Field(ge=4)] = 14
    """Narrower boxes are tracked but not embedded."""
    min_score: Fraction = 0.4
    """Weaker boxes are tracked but not embedded."""
    max_overlap: Fraction = 0.5
    """A box covered more than this by another in front of it is not embedded: it would give the other's vector."""
    edge_px: Annotated[float, Field(ge=0)] = 2
    """Boxes this near to the picture's side or top edge count as cut off."""
    max_batch: Annotated[int, Field(ge=1, le=256)] = 16
    """Crops per call of the network at most."""


class Match(SettingsSection):
    """Deciding who is who."""

    similarity: Fraction | None = None
    """Least cosine to a known person; none takes the bundle's own calibration."""
    false_match_rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.004
    """How often a stranger may be taken for a given known person; the threshold follows from the calibration."""
    settle_s: Annotated[float, Field(ge=0)] = 900
    """People unseen for longer have settled: no second thoughts about them. 0 has none at all: no track is cut, and
    nobody merged or split, unless two tracks of one person are seen side by side."""
    confirm_vectors: Annotated[int, Field(ge=1, le=100)] = 3
    """Vectors of a track after which a new identity is confirmed."""
    exemplars: Annotated[int, Field(ge=1, le=64)] = 8
    """Views kept per identity, one a track, the mean of its vectors: the most different ones of good quality."""
    max_identities: Annotated[int, Field(ge=1)] = 10_000
    """Identities kept; the longest unseen goes first. Bounds memory and time."""
    retention_s: Seconds = 86_400
    """Identities unseen for so long are forgotten."""


class TopologySettings(SettingsSection):
    """How people get from camera to camera; learned where it is not stated."""

    learn: bool = True
    """Learn overlaps, paths and transit times from people who were surely recognised."""
    overlaps: tuple[Pair, ...] | None = None
    """Pairs of cameras that see the same ground, as [[a, b], ...]: nobody is on two others at once. none learns it."""
    never: tuple[Pair, ...] = ()
    """Pairs of cameras, as [[a, c], ...], between which nobody comes without being on another in between."""
    transit_s: dict[Passage, Transit] = {}
    """Seconds from leaving one camera to coming into the next, as {a->b: [least, typical, most]}."""

    def transits(self) -> dict[tuple[str, str], tuple[float, float, float]]:
        """Return `transit_s` by (from, to)."""
        pairs = {name: name.partition("->") for name in self.transit_s}
        return {(pairs[name][0], pairs[name][2]): times for name, times in self.transit_s.items()}


class Publish(SettingsSection):
    """Telling subscribers."""

    seen_interval_s: Seconds = 1.0
    """`identity.seen` is sent so often per person and camera."""
    left_after_s: Seconds = 3.0
    """A person unseen on a camera for so long has left it."""
    heartbeat_s: Seconds = 10.0
    """`daemon.heartbeat` is sent so often."""
    max_events: Annotated[int, Field(ge=1000)] = 1_000_000
    """Events kept on the Redis stream, approximately; the oldest go first."""


class SpoolSettings(SettingsSection):
    """Where events wait on disk while Redis is away."""

    directory: Path | None = None
    """Belongs to one daemon at a time; none for the user's data folder."""
    max_mb: Annotated[float, Field(ge=0.1)] = 512
    """Room in MiB, about a million events; its write-ahead log takes up to 16 more. When it is full, the oldest `seen`
    events and heartbeats go first, then news of cameras and daemon, identity events last; `daemon.dropped` tells."""
    keep_s: Annotated[float, Field(ge=0)] = 30
    """Delivered events stay for so long, for a Redis that comes back, or fails over, without its latest data."""


class StateSettings(SettingsSection):
    """What outlives the daemon: who is who, so that a restart changes nobody's ID. In Redis, by the embedder's hash."""

    enabled: bool = True
    """Go on where the last daemon ended; false begins with nobody, and numbers that were never given."""
    snapshot_s: Seconds = 60
    """Everything known is written so often, and not more often than takes a twentieth of one processor; what comes
    between is in the journal, which is worked off again after a crash."""
    lease_s: Annotated[float, Field(ge=1)] = 10
    """A daemon on another machine may take over the site so long after this one was last heard of."""


class Store(SettingsSection):
    """Crops of tracks on disk: for replay with another model, and for training on the site's own people."""

    folder: Path | None = None
    """Where tracks are kept, by one daemon at a time; none keeps no picture of anybody."""
    max_gb: Annotated[float, Field(gt=0)] = 10
    """Room in GB; the oldest tracks go first."""
    retention_s: Seconds = 30 * 86_400
    """Tracks are deleted after so long."""
    crops_per_track: Annotated[int, Field(ge=1, le=1000)] = 24
    """The best ones of those that were embedded."""
    vectors: bool = True
    """Keep the vectors too, so that matching can be replayed without the network."""
    settle_s: Annotated[float, Field(ge=0)] = 15
    """A track is written so long after its end, when who it was is settled; corrections reach it later, too."""


class Watchdog(SettingsSection):
    """Stages that hang."""

    stage_s: Seconds = 30
    """A call of a stage that takes longer counts as stuck: perceive is started anew, identify ends the daemon."""
    restarts: Annotated[int, Field(ge=0, le=100)] = 3
    """Within an hour; once more and the daemon ends, for the service manager to start it."""


class Observe(SettingsSection):
    """Looking at the daemon."""

    host: str = "127.0.0.1"
    """Address of /metrics, /healthz and /readyz."""
    port: Annotated[int, Field(ge=0, le=65535)] | None = 9464
    """TCP port of /metrics, /healthz and /readyz; 0 takes a free one, none turns them off."""
    log: Literal["text", "json"] = "text"
    """How log lines look on the standard error output; json is one object a line."""
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    """info: one line per change of state."""


class Web(SettingsSection):
    """The web console and the HTTP API."""

    enabled: bool = False
    """The daemon starts the console beside itself; `reid-stream web` starts it alone."""
    host: str = "127.0.0.1"
    """Address to listen on. Any but a loopback one needs `users_file` or `token`."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """TCP port; 0 takes a free one."""
    names: tuple[str, ...] = ()
    """Host names under which browsers reach it, such as that of a proxy; IP addresses and the machine's own name are
    always allowed."""
    users_file: Path | None = None
    """Who may sign in, with which role; made by `reid-stream web user`. none for open access, on loopback only."""
    token: SecretStr | None = None
    """For programs: `Authorization: Bearer TOKEN`, at least 16 characters; may be ${ENV}, never logged."""
    token_role: Literal["viewer", "operator", "admin"] = "viewer"  # noqa: S105 (a role)
    """Rights of `token`: look, correct as well, erase as well."""
    cert_file: Path | None = None
    """TLS: the server's certificate (PEM); with `key_file`."""
    key_file: Path | None = None
    """TLS: the key (PEM) of `cert_file`."""
    blur: bool = False
    """Blur the head (the upper fifth) in every picture that is shown."""


class Settings(SettingsSection):
    """The whole of cams.yaml."""

    site: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")] = "site"
    """Prefix of global IDs and of the Redis keys; lower case letters, digits, `_`, `-`."""
    workers: Workers = "auto"
    """Processes that perceive, each with cameras, networks and processor cores of its own; 1 does it in the daemon's
    process. auto: one for every four cores, and no more than cameras."""
    redis: Redis = Redis()
    models: Models = Models()
    cameras: Annotated[tuple[Camera, ...], Field(min_length=1)]
    ingest: Ingest = Ingest()
    detect: Detect = Detect()
    track: Track = Track()
    embed: Embed = Embed()
    match: Match = Match()
    topology: TopologySettings = TopologySettings()
    publish: Publish = Publish()
    spool: SpoolSettings = SpoolSettings()
    state: StateSettings = StateSettings()
    store: Store = Store()
    watchdog: Watchdog = Watchdog()
    observe: Observe = Observe()
    web: Web = Web()

    @model_validator(mode="after")
    def _own_ids(self) -> Self:
        ids = [camera.id for camera in self.cameras]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"cameras: every camera needs its own id, {', '.join(map(repr, twice))} appears twice")
        return self
