"""Build the two halves of a site on many hosts: a perceive host, and the perception of an identify daemon."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from reid_stream.assembly.perception import LoadedPerception
from reid_stream.assembly.site_state import SiteState
from reid_stream.bundles import catalog
from reid_stream.config.settings import Settings
from reid_stream.errors import ConfigError
from reid_stream.link.redis_receiver import RedisReceiver
from reid_stream.observe.host_metrics import HostMetrics, LinkCollector
from reid_stream.observe.metrics import Metrics
from reid_stream.publish.redis_client import connect
from reid_stream.records import CameraId
from reid_stream.runtime.hosts.camera_list import CameraListWriter
from reid_stream.runtime.hosts.crops import RedisCropReceiver
from reid_stream.runtime.hosts.remote_perception import RemotePerception

if TYPE_CHECKING:
    from reid_stream.store.writer import StoreWriter


def check_shared(settings: Settings) -> None:
    """Check that Redis is one that several hosts reach.

    Raises:
        ConfigError: it is the embedded one.
    """
    if settings.redis.is_embedded:
        raise ConfigError("redis.url must name a Redis that all hosts of the site reach, found embedded")


def remote_networks(settings: Settings) -> LoadedPerception:
    """Return what identification needs of perception that runs on other hosts: the embedder's bundle, no network.

    Raises:
        ConfigError: Redis is embedded.
        ModelError: there is no such embedder.
    """
    check_shared(settings)
    cameras = [camera for camera in settings.cameras if camera.enabled]
    return LoadedPerception(cameras, 0, catalog.embedder(settings.models.embedder)[1], None)


@contextmanager
def open_hosts(
    settings: Settings,
    loaded: LoadedPerception,
    state: SiteState,
    store: "StoreWriter | None",
    metrics: Metrics,
    now: Callable[[], float],
) -> Iterator[RemotePerception]:
    """Read the observations of all hosts while the block runs.

    Args:
        settings: of the site.
        loaded: see `remote_networks`.
        state: of the site, whose lease fences what is read.
        store: of tracklets; None where they are not stored.
        metrics: of the daemon.
        now: returns the site's time, UTC seconds.
    """
    sink = state.redis
    assert sink is not None, "identification publishes to Redis"
    assert state.lease is not None, "a live site has a lease"

    def durable() -> Callable[[], bool]:
        position = sink.position
        return lambda: sink.sent >= position

    with ExitStack() as opened:
        client = connect(settings.redis)
        opened.callback(client.close)

        def link(on_message: Callable[[str, bytes], None]) -> RedisReceiver:
            return RedisReceiver(
                client, settings.site, fence=state.lease, durable=durable, on_message=on_message, now=now
            )

        shared = CameraListWriter(
            connect(settings.redis),
            settings.site,
            state.lease,
            settings.cameras if settings.hosts.share_cameras else None,
        )
        opened.callback(shared.close)
        perception = RemotePerception(
            link,
            model=loaded.embedder.hash,
            cameras=[CameraId(camera.id) for camera in loaded.cameras],
            limit_s=settings.watchdog.stage_s,
            metrics=HostMetrics(metrics.registry),
            on_cameras=state.matcher.change_cameras,
            on_settings=shared.change_cameras,
        )
        metrics.registry.register(LinkCollector(perception.link))
        opened.callback(perception.link.delete_stored)
        if store is not None:
            opened.callback(RedisCropReceiver(connect(settings.redis), settings.site, store.take, now).close)
        yield perception
