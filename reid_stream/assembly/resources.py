"""Resources of a site: Redis and the spool, operator instructions, the learned topology, the tracklet store, files."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from reid_stream.assembly.spool_place import adopt_former_spool, spool_folder
from reid_stream.config.settings import Camera, Settings
from reid_stream.errors import ConfigError

if TYPE_CHECKING:
    import redis

    from reid_stream.assembly.site_state import SiteState
    from reid_stream.match.topology import Topology
    from reid_stream.operators.dispatch import OperatorInstructions
    from reid_stream.publish.embedded_redis import EmbeddedRedis
    from reid_stream.publish.latest_value import ChangePublisher
    from reid_stream.publish.redis_sink import RedisSink
    from reid_stream.publish.redis_stream import Fence
    from reid_stream.store.writer import StoreWriter

_log = structlog.get_logger(__name__)


def check_files(cameras: Sequence[Camera], *, must_exist: bool = True) -> None:
    """Check that every camera that is a path can be a file.

    Args:
        cameras: of the settings.
        must_exist: False for live cameras, of which a missing file is down and tried again, like a network camera.

    Raises:
        ConfigError: some are folders or missing; the message names them all.
    """
    from reid_stream.ingest.url import address

    faults = []
    for camera in cameras:
        where = address(camera)
        # FFmpeg reads a numbered series of images as `%04d.jpg`.
        if not where.is_local or "%" in where.secret:
            continue
        is_folder = Path(where.secret).is_dir()
        if is_folder or (must_exist and not Path(where.secret).exists()):
            found = "a folder" if is_folder else "nothing"
            faults.append(f"camera {camera.id}: url must name an existing video file, found {found} at {where.name}")
    if faults:
        raise ConfigError("\n".join(faults))


def check_cameras(cameras: Sequence[Camera], *, must_exist: bool) -> None:
    """Check the files of cameras, see `check_files`, and log cameras whose certificate is not verified."""
    check_files(cameras, must_exist=must_exist)
    for camera in cameras:
        if camera.tls == "unverified":
            _log.warning("camera_tls_unverified", camera=camera.id)


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
    """Yield the URL of Redis with secrets; the embedded one runs while the block does."""
    with embedded_redis(settings) as server:
        yield server.url if server is not None else settings.redis.url.get_secret_value()


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
    """Open the spool and the sink to the Redis at `url`.

    `journal`, `fence`, `shift_s`: see `RedisSink`.
    """
    from reid_stream.publish.event_numbers import next_sequence
    from reid_stream.publish.redis_client import connect
    from reid_stream.publish.redis_sink import RedisSink
    from reid_stream.publish.spool import Spool

    client = connect(settings.redis, url=url)
    adopt_former_spool(settings)
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
    """Log risks of the server or the settings: deleted keys, a connection that others can read."""
    from reid_stream.publish.redis_client import eviction

    if settings.redis.tls == "unverified":
        _log.warning("redis_tls_unverified")
    if (policy := eviction(client, url)) is not None:
        _log.warning("redis_may_evict", maxmemory_policy=policy, wanted="noeviction")


@contextmanager
def topology_publisher(settings: Settings, topology: "Topology", url: str | None) -> "Iterator[ChangePublisher]":
    """Keep the learned topology on Redis, for `reid-stream topology`.

    `url`: of the embedded Redis; None for that of the settings.
    """
    from reid_stream.publish.latest_value import ChangePublisher, SideValues, topology_key
    from reid_stream.publish.redis_client import connect

    values = SideValues(connect(settings.redis, url=url))
    publisher = ChangePublisher(partial(values.put, topology_key(settings.site)), topology)
    try:
        yield publisher
        publisher.put(0.0)
    finally:
        values.close()


@contextmanager
def operator_instructions(
    settings: Settings,
    state: "SiteState",
    redis: "RedisSink",
    store: "StoreWriter | None",
    shift_s: Callable[[], float] = float,
) -> "Iterator[OperatorInstructions]":
    """Read operators' instructions, and resume the erasures that the last daemon did not finish.

    Args:
        settings: of cams.yaml.
        state: of the site.
        redis: its sink.
        store: of tracklets; None where they are not stored.
        shift_s: returns UTC less site time now, seconds.
    """
    from reid_stream.operators.dispatch import OperatorInstructions
    from reid_stream.operators.erasure import Eraser
    from reid_stream.operators.reader import InstructionReader
    from reid_stream.operators.seal import Seal
    from reid_stream.publish.redis_client import connect

    seal = Seal()
    reader = InstructionReader(
        connect(settings.redis, url=state.embedded_url), settings.site, state.matcher.override_log.last, seal
    )
    eraser = Eraser(
        connect(settings.redis, url=state.embedded_url),
        settings.site,
        redis,
        store=store,
        purge=state.journal.writer.purge if state.journal is not None else None,
        seal=seal,
    )
    operators = OperatorInstructions(reader, state.matcher, eraser, shift_s)
    unfinished = operators.resume()
    if store is not None:
        store.decided(unfinished)
    try:
        yield operators
    finally:
        reader.close()
        eraser.close()


@contextmanager
def tracklet_store(settings: Settings) -> "Iterator[StoreWriter | None]":
    """Open the tracklet store, None where the settings name no folder; open tracks are written when the block ends."""
    if settings.store.folder is None:
        yield None
        return
    from reid_stream.store.writer import StoreWriter

    writer = StoreWriter(settings.store, settings.store.folder, shows_now=settings.publish.snapshots)
    try:
        yield writer
    finally:
        writer.close()
