"""What a site opens and must close again: Redis with its spool, the learned topology, the tracklet store, the files."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from reid_stream.config.settings import Camera, Settings
from reid_stream.errors import ConfigError

if TYPE_CHECKING:
    import redis

    from reid_stream.assembly.identification import IdentificationParts
    from reid_stream.instructions import Instruction
    from reid_stream.match.topology import Topology
    from reid_stream.operators.dispatch import InstructionDispatcher
    from reid_stream.publish.embedded_redis import EmbeddedRedis
    from reid_stream.publish.latest_value import Teller
    from reid_stream.publish.redis_sink import RedisSink
    from reid_stream.publish.redis_stream import Fence
    from reid_stream.store.writer import StoreWriter

_log = structlog.get_logger(__name__)


def check_files(cameras: Sequence[Camera], *, must_exist: bool = True) -> None:
    """Check that every camera that is a path can be a file.

    Args:
        cameras: of the settings.
        must_exist: live, a missing file is down and tried again, like a camera on the network.

    Raises:
        ConfigError: some are folders or missing; the message names them all.
    """
    from reid_stream.ingest.url import address

    faults = []
    for camera in cameras:
        where = address(camera)
        # FFmpeg takes a numbered series of pictures as `%04d.jpg`.
        if not where.is_local or "%" in where.secret:
            continue
        is_folder = Path(where.secret).is_dir()
        if is_folder or (must_exist and not Path(where.secret).exists()):
            found = "a folder" if is_folder else "nothing"
            faults.append(
                f"camera {camera.id}: url must name a video file that is there, found {found} at {where.name}"
            )
    if faults:
        raise ConfigError("\n".join(faults))


@contextmanager
def embedded_redis(settings: Settings) -> "Iterator[EmbeddedRedis | None]":
    """Run the embedded Redis while the block does; None where the settings name another Redis."""
    from reid_stream.publish.embedded_redis import EmbeddedRedis, default_directory

    if not settings.redis.is_embedded:
        yield None
        return
    with EmbeddedRedis(settings.redis.directory or default_directory(settings.site), settings.redis.port) as server:
        yield server


@contextmanager
def redis_url(settings: Settings) -> Iterator[str]:
    """Give the address of Redis, secrets included; the embedded one runs while the block does."""
    with embedded_redis(settings) as server:
        yield server.url if server is not None else settings.redis.url.get_secret_value()


def sink_ready(sending: "RedisSink", server: "EmbeddedRedis | None") -> tuple[bool, str]:
    """Say whether events get to Redis or the spool, and where; not while the embedded Redis does not serve."""
    if server is not None and server.fault is not None:
        return False, f"the embedded Redis {server.fault}"
    return sending.ready()


@contextmanager
def redis_sink(
    settings: Settings,
    url: str,
    run: str,
    *,
    continues: bool = False,
    keeps_numbers: bool = True,
    journal: str | None = None,
    fence: "Fence | None" = None,
    shift_s: Callable[[], float] = float,
) -> "Iterator[RedisSink]":
    """Open the way to the Redis at `url`, and the spool before it.

    `journal`, `fence`, `shift_s`: see `RedisSink`.
    """
    from reid_stream.publish.event_numbers import next_sequence
    from reid_stream.publish.redis_client import connect
    from reid_stream.publish.redis_sink import RedisSink
    from reid_stream.publish.spool import Spool

    client = connect(settings.redis, url=url)
    spool = Spool(spool_folder(settings), max_bytes=round(settings.spool.max_mb * 2**20))
    try:
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
            journal=journal,
            fence=fence,
            shift_s=shift_s,
        )
        report_risks(settings, client, url)
    except BaseException:
        spool.close()
        raise
    yield sink


def report_risks(settings: Settings, client: "redis.Redis", url: str) -> None:
    """Log what Redis or its settings may cost: deleted keys, a connection that anyone can read."""
    from reid_stream.publish.redis_client import eviction

    if settings.redis.tls == "unverified":
        _log.warning("redis_tls_unverified")
    if (policy := eviction(client, url)) is not None:
        _log.warning("redis_may_evict", maxmemory_policy=policy, wanted="noeviction")


@contextmanager
def topology_teller(settings: Settings, topology: "Topology", url: str | None) -> "Iterator[Teller]":
    """Keep what is learned of the cameras beside the events, for `reid-stream topology`.

    `url`: of the embedded Redis; none for that of the settings.
    """
    import msgspec

    from reid_stream.publish.latest_value import SideValues, Teller, topology_key
    from reid_stream.publish.redis_client import connect

    key = topology_key(settings.site)
    values = SideValues(connect(settings.redis, url=url))
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
def people_heard(
    settings: Settings,
    second: "IdentificationParts",
    sending: "RedisSink",
    store: "StoreWriter | None",
    shift_s: Callable[[], float] = float,
) -> "Iterator[InstructionDispatcher]":
    """Listen to what people say about people; see `people.heard`."""
    from reid_stream.operators.dispatch import InstructionDispatcher
    from reid_stream.operators.erasure import Eraser
    from reid_stream.operators.reader import InstructionReader
    from reid_stream.operators.seal import Seal
    from reid_stream.publish.redis_client import connect
    from reid_stream.publish.site_time import in_site_time

    keeper, matcher, seal = second.keeper, second.matcher, Seal()
    inbox = InstructionReader(connect(settings.redis, url=second.url), settings.site, matcher.override_log.last, seal)
    eraser = Eraser(
        connect(settings.redis, url=second.url),
        settings.site,
        sending,
        store=store,
        purge=keeper.purge if keeper is not None else None,
        seal=seal,
    )

    def instructions() -> "Sequence[Instruction]":
        return [in_site_time(instruction, shift_s()) for instruction in inbox.take()]

    if keeper is not None:
        keeper.instructions = instructions
    heard = InstructionDispatcher(matcher, eraser, instructions if keeper is None else None)
    unfinished = heard.unfinished()
    if store is not None:
        store.decided(unfinished)
    try:
        yield heard
    finally:
        inbox.close()
        eraser.close()


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
