"""Settings -> a wired daemon; the only file that names concrete classes.

What must be there before the first frame is checked here, in this order: models, then Redis, then (by the cameras' own
threads, later and again and again) the cameras.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from reid_stream import __version__, shelf
from reid_stream.bundle import BUNDLE_FILE, MODEL_FILE, Bundle, Detector, Embedder, check_probe, probe_input
from reid_stream.config import Camera, Models, Settings
from reid_stream.config import Embed as EmbedSettings
from reid_stream.console.roster import Roster
from reid_stream.daemon import Daemon
from reid_stream.engines.protocol import PixelEngine
from reid_stream.errors import ConfigError, ModelError
from reid_stream.metrics import Metrics
from reid_stream.parts import Sink, Source
from reid_stream.pipeline import Detect, Embed, Identify, Keep, Perceive, PerceiveCounts
from reid_stream.records import CameraId, Decision, Perceived
from reid_stream.scrape import Scrape
from reid_stream.watchdog import Pulse

if TYPE_CHECKING:
    from reid_stream.match.topology import Topology
    from reid_stream.publish.redis_sink import RedisSink
    from reid_stream.publish.side import Teller
    from reid_stream.store.writer import StoreWriter

P = ParamSpec("P")
R = TypeVar("R")

REPLAY_ORIGIN = 1_704_067_200.0
"""2024-01-01T00:00:00Z, when files are replayed fast: the same files give the same events every time."""


@dataclass(frozen=True, slots=True)
class Networks:
    """The two networks, ready to run, and where they came from."""

    detect: Detect
    embed: Embed
    detector: Detector
    embedder: Embedder
    detector_engine: PixelEngine
    embedder_engine: PixelEngine


@dataclass(frozen=True, slots=True)
class Site:
    """A wired daemon with what a shell wants to look at."""

    daemon: Daemon
    source: Source
    networks: Networks
    metrics: Metrics
    roster: Roster
    redis_url: str
    """Where events go, without secrets."""


def load_networks(settings: Settings) -> Networks:
    """Load both bundles, build their engines and make sure that they compute what they should.

    Raises:
        ModelError: a bundle is missing, broken or of the wrong kind, or its network computes something else here.
    """
    from reid_stream.detect.yolo import Detector as Yolo
    from reid_stream.detect.yolo import spec_of as detector_spec
    from reid_stream.detect.zones import zones_of
    from reid_stream.engines.load import load_engine

    folder, detector = shelf.detector(settings.models.detector)
    yolo = detector_spec(detector)
    finds = _checked(detector, load_engine(folder / MODEL_FILE, settings.models, pixels=yolo.pixels), folder)
    embedder, embed, embeds = load_embedder(settings.models, settings.embed)
    return Networks(
        detect=Yolo(finds, yolo, settings.detect, zones_of(settings.cameras)),
        embed=embed,
        detector=detector,
        embedder=embedder,
        detector_engine=finds,
        embedder_engine=embeds,
    )


def load_embedder(models: Models, settings: EmbedSettings) -> tuple[Embedder, Embed, PixelEngine]:
    """Load the embedder's bundle, build its engine and make sure that it computes what it should.

    Raises:
        ModelError: see `load_networks`.
    """
    from reid_stream.embed.embedder import Embedder as Vectors
    from reid_stream.embed.embedder import pixels_of, spec_of
    from reid_stream.engines.load import load_engine

    folder, bundle = shelf.embedder(models.embedder)
    crops = spec_of(bundle.input)
    size = (crops.height, crops.width)
    engine = _checked(bundle, load_engine(folder / MODEL_FILE, models, pixels=pixels_of(crops), size=size), folder)
    return bundle, Vectors(engine, crops, bundle.dim, settings), engine


def perceive(
    settings: Settings,
    networks: Networks,
    run: str,
    metrics: Metrics,
    *,
    pulse: Pulse | None = None,
    counts: PerceiveCounts | None = None,
    keep: Keep | None = None,
) -> Perceive:
    """Wire the first half; `pulse` tells of its thread, `counts` goes on counting, `keep` takes the crops."""
    pulse = pulse or Pulse()

    def stage(name: str, call: Callable[P, R]) -> Callable[P, R]:
        return pulse.watched(name, metrics.timed(name, call))

    from reid_stream.embed.selector import Selector
    from reid_stream.track.tracker import Tracker

    return Perceive(
        run=run,
        model=networks.embedder.hash,
        detect=stage("detect", networks.detect),
        follow={CameraId(camera.id): stage("track", Tracker(settings.track).update) for camera in settings.cameras},
        select=stage("select", Selector(settings.embed)),
        embed=stage("embed", networks.embed),
        keep=keep,
        counts=counts or PerceiveCounts(),
    )


@contextmanager
def assemble(
    settings: Settings,
    *,
    run: str,
    continues: bool = False,
    fast: bool = False,
    sink: Sink | None = None,
    frames: int | None = None,
) -> Iterator[Site]:
    """Wire a daemon; everything it opened is closed when the block ends.

    Args:
        settings: of cams.yaml.
        run: name of this run in events.
        continues: a run of this name may have been before; its events' numbers go on, so that no ID comes twice.
        fast: replay file cameras as fast as the pipeline goes.
        sink: takes the events instead of Redis.
        frames: end after so many, of all cameras together.

    Raises:
        ConfigError: a camera's file is missing, or the tracklet store is not ours to write.
        ModelError: see `load_networks`.
        BrokerError: Redis does not serve.
        StreamError: a camera that is no file was to be replayed fast.
    """
    from reid_stream.ingest.first import FirstFrames
    from reid_stream.ingest.isolated import prepare
    from reid_stream.ingest.live import LiveCameras
    from reid_stream.ingest.replay import FastReplay
    from reid_stream.ingest.stats import CameraChange
    from reid_stream.link.inproc import InprocLink
    from reid_stream.match.matcher import Matcher
    from reid_stream.match.presence import Presence

    cameras = [camera for camera in settings.cameras if camera.enabled]
    check_files(cameras)
    metrics = Metrics()
    if settings.ingest.isolate and not fast:
        prepare()
    networks = load_networks(settings)
    presence, roster = Presence(settings.publish), Roster()
    with ExitStack() as opened:
        where = "nowhere"
        sending: RedisSink | None = None
        if sink is None:
            sending, where = opened.enter_context(
                redis_sink(settings, run, continues=continues, keeps_numbers=not fast)
            )
            sink = sending
        matcher = Matcher(
            settings.match,
            settings.site,
            networks.embedder.hash,
            verifier=networks.embedder.verifier,
            calibration=None if networks.embedder.calibration.kind == "none" else networks.embedder.calibration,
            dim=networks.embedder.dim,
            first_number=sending.highest_number() + 1 if sending is not None and not fast else 1,
            topology=settings.topology,
            cameras=[camera.id for camera in cameras],
        )
        told: list[Daemon] = []

        def camera_changed(change: CameraChange) -> None:
            told[0].camera_changed(change)

        source: Source
        if fast:
            source = FastReplay(cameras, settings.ingest, origin=REPLAY_ORIGIN, on_change=camera_changed)
        else:
            source = LiveCameras(cameras, settings.ingest, camera_changed)
        if frames is not None:
            source = FirstFrames(source, frames)
        pulse, identify_pulse = Pulse(), Pulse()
        storing = opened.enter_context(tracklet_store(settings))
        keep = storing.take if storing is not None else None
        first_half = perceive(settings, networks, run, metrics, pulse=pulse, keep=keep)

        def fresh(number: int, pulse: Pulse) -> Perceive:
            # Networks of its own, since those of the hung call may hang again; tracks count from 0, in a run of theirs.
            another = load_networks(settings)
            return perceive(
                settings, another, f"{run}.{number}", metrics, pulse=pulse, counts=first_half.counts, keep=keep
            )

        teller = opened.enter_context(topology_teller(settings, matcher.topology, where)) if sending else None

        def match(records: Sequence[Perceived], now: float) -> list[Decision]:
            decisions = matcher.update(records, now)
            if teller is not None:
                teller.look(now)
            if storing is not None:
                storing.decided(decisions)
            return decisions

        metrics.registry.register(
            Scrape(
                cameras=source,
                counts=first_half.counts,
                rejected=lambda: matcher.rejected,
                odd=lambda: matcher.odd,
                unnamed=lambda: matcher.unnamed,
                sending=sending,
                storing=storing,
            )
        )
        daemon = Daemon(
            run=run,
            version=__version__,
            source=source,
            perceive=first_half,
            identify=Identify(
                match=identify_pulse.watched("match", metrics.timed("match", match)),
                present=identify_pulse.watched("presence", metrics.timed("presence", presence.update)),
            ),
            finish=presence.close,
            link=InprocLink(),
            sink=sink,
            metrics=metrics,
            cameras=[CameraId(camera.id) for camera in cameras],
            heartbeat_s=settings.publish.heartbeat_s,
            is_live=not fast,
            on_events=roster.update,
            gallery_size=lambda: len(matcher),
            people_in_view=lambda: presence.people,
            watchdog=settings.watchdog,
            pulse=pulse,
            identify_pulse=identify_pulse,
            fresh=fresh,
            sink_ready=sending.ready if sending is not None else lambda: (True, where),
        )
        told.append(daemon)
        yield Site(
            daemon=daemon,
            source=source,
            networks=networks,
            metrics=metrics,
            roster=roster,
            redis_url=where,
        )


def check_files(cameras: Sequence[Camera]) -> None:
    """Make sure that every camera that is a file is there: unlike a camera on the network, it will not come by itself.

    Raises:
        ConfigError: some are not; the message names them all.
    """
    from reid_stream.ingest.address import address

    faults = []
    for camera in cameras:
        where = address(camera)
        # FFmpeg takes a numbered series of pictures as `%04d.jpg`.
        if (
            where.is_local
            and "%" not in where.secret
            and (not Path(where.secret).exists() or Path(where.secret).is_dir())
        ):
            found = "a folder" if Path(where.secret).is_dir() else "nothing"
            faults.append(
                f"camera {camera.id}: url must name a video file that is there, found {found} at {where.name}"
            )
    if faults:
        raise ConfigError("\n".join(faults))


@contextmanager
def redis_sink(
    settings: Settings, run: str, *, continues: bool = False, keeps_numbers: bool = True
) -> "Iterator[tuple[RedisSink, str]]":
    """Open the way to Redis, an embedded one where that is wanted; gives the sink and the address without secrets."""
    from reid_stream.publish.connection import connect, public
    from reid_stream.publish.embedded import EmbeddedRedis, default_directory
    from reid_stream.publish.history import next_sequence
    from reid_stream.publish.redis_sink import RedisSink
    from reid_stream.publish.spool import Spool

    with ExitStack() as opened:
        url = settings.redis.url.get_secret_value()
        if settings.redis.is_embedded:
            server = opened.enter_context(
                EmbeddedRedis(settings.redis.directory or default_directory(settings.site), settings.redis.port)
            )
            url = server.url
        client = connect(settings.redis, url=url)
        spool = Spool(spool_folder(settings), max_bytes=round(settings.spool.max_mb * 2**20))
        sink = RedisSink(
            client,
            where=url,
            site=settings.site,
            run=run,
            spool=spool,
            max_events=settings.publish.max_events,
            keeps_numbers=keeps_numbers,
            keep_s=settings.spool.keep_s,
            first_sequence=next_sequence(client, spool, where=url, site=settings.site, run=run) if continues else 0,
        )
        yield sink, public(url)


@contextmanager
def topology_teller(settings: Settings, topology: "Topology", where: str) -> "Iterator[Teller]":
    """Keep what is learned of the cameras beside the events, for `reid-stream topology`.

    `where`: the address that the sink has, which is the embedded Redis' where that is wanted.
    """
    import msgspec

    from reid_stream.publish.connection import connect
    from reid_stream.publish.side import SideValues, Teller, topology_key

    key = topology_key(settings.site)
    values = SideValues(connect(settings.redis, url=where if settings.redis.is_embedded else None))
    teller = Teller(
        put=lambda value: values.put(key, value),
        value=lambda: msgspec.json.encode(topology.state()),
        version=lambda: topology.version,
    )
    try:
        yield teller
        teller.tell(0.0)
    finally:
        values.close()


@contextmanager
def tracklet_store(settings: Settings) -> "Iterator[StoreWriter | None]":
    """Open the store where one is wanted; what is still open is written when the block ends."""
    if settings.store.folder is None:
        yield None
        return
    from reid_stream.store.writer import StoreWriter

    writer = StoreWriter(settings.store, settings.store.folder)
    try:
        yield writer
    finally:
        writer.close()


def spool_folder(settings: Settings) -> Path:
    """Return where events wait for Redis."""
    import platformdirs

    if settings.spool.directory is not None:
        return settings.spool.directory
    if settings.redis.directory is not None:
        return settings.redis.directory / "spool"
    return platformdirs.user_data_path("reid-stream") / "spool" / settings.site


def _checked(bundle: Bundle, engine: PixelEngine, folder: Path) -> PixelEngine:
    """Run the bundle's probe through the engine."""
    try:
        check_probe(bundle, engine(probe_input(bundle)))
    except ModelError as error:
        raise ModelError(f"{bundle.kind} {folder} must compute what its {BUNDLE_FILE} says: {error}") from error
    return engine
