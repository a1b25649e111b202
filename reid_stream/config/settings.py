"""Settings of the daemon: meaning, unit, bounds and default; each stage gets its own section (pure)."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from reid_stream.config.camera_settings import Camera as Camera  # noqa: PLC0414 (exported from here as well)
from reid_stream.config.camera_settings import SettingsSection as SettingsSection  # noqa: PLC0414
from reid_stream.config.field_types import Fraction, Pair, Passage, Seconds, Transit, Workers
from reid_stream.config.host_settings import Hosts
from reid_stream.config.web_settings import WebProxy

EMBEDDED = "embedded"
"""In place of a URL: the Redis server that the daemon runs."""


class Redis(SettingsSection):
    """Redis that events are published to."""

    url: SecretStr = SecretStr(EMBEDDED)
    """`embedded` runs a Redis server as a child of the daemon; else redis://, rediss:// (TLS), unix://, or
    redis+sentinel://host:26379,host:26379/NAME/0 (rediss+sentinel:// for TLS). May hold ${ENV}."""
    username: str | None = None
    """User of Redis (ACL); null for the default user."""
    password: SecretStr | None = None
    """May be ${ENV}; never logged."""
    password_file: Path | None = None
    """File whose first line is the password; read at each connection, so that it can be rotated."""
    tls: Literal["verified", "unverified"] = "verified"
    """TLS only: `unverified` accepts any certificate: an attacker on the network path can read and change all."""
    ca_file: Path | None = None
    """TLS only: authorities (PEM) that the server's certificate is verified against; null for those of the system."""
    cert_file: Path | None = None
    """TLS only: the client's certificate (PEM), for a Redis that asks for one; with `key_file`."""
    key_file: Path | None = None
    """TLS only: the key (PEM) of `cert_file`."""
    sentinel_username: str | None = None
    """Sentinels only: user of the sentinels themselves; `username` and `password` are Redis's."""
    sentinel_password: SecretStr | None = None
    """Sentinels only: password of the sentinels themselves; may be ${ENV}, never logged."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Embedded only: TCP port on 127.0.0.1, with the password in `redis.password` of its folder; 0 for a Unix socket,
    `redis.sock` there, that only the daemon's user may open."""
    directory: Path | None = None
    """Embedded only: folder for data, socket and `redis.url`, its address; used for nothing else, mode 0700; null for
    one in the user's data folder."""

    @property
    def is_embedded(self) -> bool:
        """Whether the daemon runs its own Redis server."""
        return self.url.get_secret_value() == EMBEDDED


class Models(SettingsSection):
    """Networks and how they run. `models: permissive`: both from those added whose licences allow commercial use."""

    detector: str = "default"
    """A detector bundle's folder or name, `default`, or `permissive`: one added with `reid-stream models add`."""
    embedder: str = "default"
    """An embedder bundle's folder or name, `default`, or `permissive`: one added with `reid-stream models add`."""
    engine: Literal["auto", "openvino", "onnx", "torch", "tensorrt"] = "auto"
    """auto: on an NVIDIA GPU TensorRT, with torch until its engine is built; else OpenVINO, then ONNX Runtime."""
    precision: Literal["auto", "f32", "bf16"] = "auto"
    """auto: bf16 where the CPU has it (about twice as fast), else f32; on a GPU f16, or more if f16 is off."""
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    """CPU threads for the networks, of all workers together; 0 for all CPUs that affinity and cgroup quota allow."""

    @model_validator(mode="before")
    @classmethod
    def _may_be_a_word(cls, given: object) -> object:
        return {"detector": given, "embedder": given} if given == "permissive" else given


class Ingest(SettingsSection):
    """Reading cameras."""

    open_timeout_s: Seconds = 10
    """Time limit for opening a camera, seconds; then it is down."""
    read_timeout_s: Seconds = 10
    """Time without a packet, seconds, after which a camera is down."""
    backoff_first_s: Seconds = 0.5
    """Wait before the first reconnection, seconds; doubles with each attempt."""
    backoff_max_s: Seconds = 30
    """Longest wait between attempts, seconds."""
    isolate: bool = True
    """Decode each camera in its own process, so that a crash inside FFmpeg or a driver affects that camera alone; costs
    about 9 MB per camera and 4 ms per full HD frame over threads of the daemon."""
    hardware_decode: bool = False
    """Decode on the GPU where FFmpeg can; falls back to the CPU, counted in the metrics."""
    gpu_frames: bool = False
    """Keep decoded frames in the memory of an NVIDIA GPU up to boxes and vectors; needs `hardware_decode`, the extra
    `gpu` and `isolate: false`, since such frames cannot pass between processes."""


class Detect(SettingsSection):
    """Person detection."""

    score: Fraction = 0.1
    """Boxes with a lower score are dropped. Low, since weak boxes keep tracks alive (ByteTrack, section 3)."""
    iou: Fraction = 0.7
    """IoU above which two boxes are one person (non-maximum suppression)."""
    min_height_px: Annotated[float, Field(ge=0)] = 16
    """Smaller boxes are dropped."""
    max_batch: Annotated[int, Field(ge=1, le=64)] = 8
    """Maximum frames per call of the network."""
    gate: Literal["auto", "off"] = "auto"
    """auto: detect only in frames of cameras where something moves or a person is followed; off: in every frame."""
    full_every_s: Seconds = 2.0
    """Under `gate: auto`, detect in a whole frame of each camera at least at this interval, seconds."""
    packing: Literal["auto", "off"] = "off"
    """auto: under `gate: auto`, detect only where something moves or people should be, and pack these parts of several
    cameras into shared images where that costs less; off: always in whole frames."""
    min_fps: Annotated[float, Field(gt=0)] | None = None
    """Under `gate: auto`, detect at least this often where all people in view can be predicted, and predict them
    in between; null: in every frame with people."""


class Track(SettingsSection):
    """Tracking within one camera."""

    algorithm: Literal["bytetrack", "botsort", "ocsort"] = "bytetrack"
    """Algorithm of the `trackers` package."""
    lost_s: Seconds = 2.0
    """Time unseen, seconds, after which a track ends; the matcher links the next track of the person to it."""
    birth_score: Fraction = 0.7
    """Minimum score of the box that starts a track; lower it for a detector with low scores."""
    high_score: Fraction = 0.6
    """Boxes with at least this score are matched first, weaker ones only continue tracks (ByteTrack, section 3)."""
    still_score: Fraction = 0.5
    """A track whose boxes stay below this score and in place for half a second has been left behind on an object: it
    is no longer seen, and ends after `lost_s` without a stronger box or movement. 0 follows every box."""
    first_iou: Fraction = 0.2
    """Minimum IoU of a track and a strong box, both slightly enlarged; low, since frames are far apart at low rates."""


class Embed(SettingsSection):
    """Selection of crops and their embedding."""

    choose: Literal["interval", "gain"] = "gain"
    """When to embed a track again. interval: after `interval_s`. gain: twice soon after the first, then when the person
    shows another side (walks another way) or another size, else after twice `interval_s`."""
    interval_s: Seconds = 1.0
    """Time between two embeddings of a track, seconds; the first is immediate."""
    better_by: Fraction = 0.15
    """A crop whose quality exceeds the best of its track by this much is embedded earlier."""
    min_height_px: Annotated[float, Field(ge=8)] = 40
    """Lower boxes are tracked but not embedded."""
    min_width_px: Annotated[float, Field(ge=4)] = 14
    """Narrower boxes are tracked but not embedded."""
    min_score: Fraction = 0.4
    """Boxes with a lower score are tracked but not embedded."""
    max_overlap: Fraction = 0.5
    """A box covered more than this by one in front of it is not embedded: its vector would be the other's."""
    edge_px: Annotated[float, Field(ge=0)] = 2
    """Boxes this close to the left, right or upper edge of the image count as cut off."""
    max_batch: Annotated[int, Field(ge=1, le=256)] = 16
    """Maximum crops per call of the network."""


class Match(SettingsSection):
    """Identity matching."""

    similarity: Fraction | None = None
    """Minimum cosine similarity to a known identity; null uses the calibration of the bundle."""
    false_match_rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.004
    """Accepted rate of false matches with a given identity; the threshold follows from the calibration."""
    answer_s: Annotated[float, Field(ge=0, le=8)] = 0.9
    """Time, seconds, for which a track without a clear match collects vectors before it gets an identity. Longer waits
    give fewer corrections; a clear match is published at once."""
    doubt_s: Annotated[float, Field(ge=0, le=8)] = 2.0
    """Time, seconds, added to `answer_s` for a track that resembles a known person, but not clearly. 0 adds none."""
    settle_s: Annotated[float, Field(ge=0)] = 900
    """Time unseen, seconds, after which an identity is no longer corrected. 0 corrects nothing: no track is cut, no
    identity merged or split, unless two tracks of one identity are seen side by side."""
    confirm_vectors: Annotated[int, Field(ge=1, le=100)] = 3
    """Vectors of a track that confirm a new identity."""
    exemplars: Annotated[int, Field(ge=1, le=64)] = 8
    """Views kept per identity, the most different ones of good quality; a view is the mean vector of a track."""
    max_identities: Annotated[int, Field(ge=1)] = 10_000
    """Maximum identities; the one unseen for longest is retired first. Bounds memory and time."""
    retention_s: Seconds = 86_400
    """Time unseen, seconds, after which an identity is retired."""


class TopologySettings(SettingsSection):
    """Passages between cameras; learned where they are not stated."""

    learn: bool = True
    """Learn overlaps, passages and transit times from people recognised with certainty."""
    overlaps: tuple[Pair, ...] | None = None
    """Pairs of cameras with overlapping views, [[a, b], ...]; no others see a person at once. null learns them."""
    never: tuple[Pair, ...] = ()
    """Pairs of cameras, [[a, c], ...], between which there is no way that avoids all other cameras."""
    transit_s: dict[Passage, Transit] = {}  # noqa: RUF012 (pydantic copies it)
    """Transit times in seconds from leaving a camera to entering the next, {a->b: [minimum, typical, maximum]}."""

    def transits(self) -> dict[tuple[str, str], tuple[float, float, float]]:
        """Return `transit_s` by (from, to)."""
        pairs = {name: name.partition("->") for name in self.transit_s}
        return {(pairs[name][0], pairs[name][2]): times for name, times in self.transit_s.items()}


class Publish(SettingsSection):
    """Publication of events."""

    seen_interval_s: Seconds = 1.0
    """Interval of `identity.seen` per person and camera, seconds."""
    left_after_s: Seconds = 3.0
    """Time unseen on a camera, seconds, after which `identity.left` is sent."""
    heartbeat_s: Seconds = 10.0
    """Interval of `daemon.heartbeat`, seconds."""
    max_events: Annotated[int, Field(ge=1000)] = 1_000_000
    """Approximate number of events kept on the Redis stream; the oldest are trimmed."""
    zone_settle_s: Annotated[float, Field(ge=0)] = 0.5
    """Time inside or outside a zone, seconds, before it counts; a shorter stay, as by jitter of a box, is none."""
    snapshots: bool = True
    """With `store.folder`: name the best picture of each visit in `identity.left`, and keep the best picture so far of
    people in view."""


class SpoolSettings(SettingsSection):
    """Buffer on disk for events while Redis is unavailable."""

    directory: Path | None = None
    """Folder, used by one daemon at a time; null for one per Redis and site in the user's data folder."""
    max_mb: Annotated[float, Field(ge=0.1)] = 512
    """Maximum size in MiB, about a million events; the write-ahead log takes up to 16 more. When it is full, the oldest
    `seen` events and heartbeats are dropped first, then those of cameras and daemon, identity events last;
    `daemon.dropped` counts them."""
    keep_s: Annotated[float, Field(ge=0)] = 30
    """Time that delivered events are kept, seconds, for a Redis that returns or fails over without its latest data."""


class StateSettings(SettingsSection):
    """State of identities in Redis, by the embedder's hash, so that global IDs survive a restart."""

    enabled: bool = True
    """Continue with the state of the last daemon; false starts without identities, with numbers never used before."""
    snapshot_s: Seconds = 60
    """Interval of snapshots, seconds; longer where writing them would take more than 5 % of a core. The journal holds
    what comes between and is replayed after a crash."""
    lease_s: Annotated[float, Field(ge=1)] = 10
    """Time after the last sign of life of this daemon, seconds, when one on another machine may take over the site."""


class Store(SettingsSection):
    """Tracklet store: crops of tracks on disk, for replay with another model and for training on the site."""

    folder: Path | None = None
    """Folder, used by one daemon at a time; null stores no images of people."""
    max_gb: Annotated[float, Field(gt=0)] = 10
    """Maximum disk space, GB, counted in whole blocks of files; the oldest tracks are removed first."""
    retention_s: Seconds = 30 * 86_400
    """Age at which tracks are deleted, seconds."""
    crops_per_track: Annotated[int, Field(ge=1, le=1000)] = 24
    """Maximum crops per track, the best of those that were embedded."""
    vectors: bool = True
    """Store the vectors too, so that matching can be replayed without the network."""
    settle_s: Annotated[float, Field(ge=0)] = 15
    """Delay after the end of a track before it is written, seconds; later corrections reach it, too."""


class Watchdog(SettingsSection):
    """Detection of stages that hang."""

    stage_s: Seconds = 30
    """Time limit of one call of a stage, seconds: perception is then restarted, identification ends the daemon."""
    restarts: Annotated[int, Field(ge=0, le=100)] = 3
    """Maximum restarts of perception within an hour; one more ends the daemon, for the service manager to restart."""


class Observe(SettingsSection):
    """Metrics, health checks and log."""

    host: str = "127.0.0.1"
    """Address of /metrics, /healthz and /readyz."""
    port: Annotated[int, Field(ge=0, le=65535)] | None = 9464
    """TCP port of /metrics, /healthz and /readyz; 0 takes a free one, null turns them off."""
    log: Literal["text", "json"] = "text"
    """Format of log lines on the standard error output; json is one object per line."""
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    """info: one line per change of state."""


class Web(SettingsSection):
    """The web console and the HTTP API."""

    enabled: bool = False
    """Start the console with the daemon; `reid-stream web` starts it alone."""
    host: str = "127.0.0.1"
    """Address to listen on. Any but a loopback one needs `users_file`, `token` or `proxy`."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """TCP port; 0 takes a free one."""
    names: tuple[str, ...] = ()
    """Host names under which browsers reach it, such as that of a proxy; IP addresses and the machine's own name are
    always allowed."""
    users_file: Path | None = None
    """Users and their roles, written by `reid-stream web user`. null for open access, on loopback only."""
    local: Literal["user", "everyone"] = "user"
    """Users of this machine with open access: the user who runs the console (and root), or all. Only Linux tells
    users apart."""
    token: SecretStr | None = None
    """For programs: `Authorization: Bearer TOKEN`, at least 16 characters; may be ${ENV}, never logged."""
    token_role: Literal["viewer", "operator", "admin"] = "viewer"  # noqa: S105 (a role)
    """Rights of `token`: look, correct as well, erase as well."""
    camera_networks: tuple[Annotated[str, Field(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$")], ...] = (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",
    )
    """Networks (CIDR) of cameras that an admin may add, change or test through the API; cams.yaml may name others."""
    cert_file: Path | None = None
    """TLS: the server's certificate (PEM); with `key_file`."""
    key_file: Path | None = None
    """TLS: the key (PEM) of `cert_file`."""
    proxy: WebProxy | None = None
    """Reverse proxy that signs users in, such as oauth2-proxy; null for none."""
    blur: bool = False
    """Blur the head (the upper fifth) in every picture that is shown."""


class Settings(SettingsSection):
    """The whole of cams.yaml."""

    site: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")] = "site"
    """Prefix of global IDs and Redis keys; lower case letters, digits, `_`, `-`."""
    workers: Workers = "auto"
    """Perception processes, each with its own cameras, networks and CPU cores; 1 runs perception in the daemon's
    process. auto: one per four cores, at most one per camera."""
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
    hosts: Hosts = Hosts()
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
