"""Build a perceive host: cameras and perception of a site whose identification runs elsewhere."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from reid_stream.assembly.hosts import check_shared
from reid_stream.assembly.identification import records_run
from reid_stream.assembly.perception import load_perception, open_perception
from reid_stream.assembly.resources import check_cameras
from reid_stream.assembly.site import Site, daemon_settings, overload_alarm
from reid_stream.config.perceive_settings import PerceiveSettings
from reid_stream.config.settings import Settings
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.link.redis_sender import RedisSender
from reid_stream.observe.collector import SiteCollector
from reid_stream.observe.host_metrics import ClaimsCollector
from reid_stream.observe.metrics import Metrics
from reid_stream.publish.projection import SiteView
from reid_stream.publish.redis_client import check, connect, public
from reid_stream.runtime.daemon import Daemon, Monitors
from reid_stream.runtime.hosts.camera_claims import CameraClaims
from reid_stream.runtime.hosts.crops import RedisCropSender
from reid_stream.runtime.hosts.forwarding import ForwardingThread
from reid_stream.runtime.hosts.host_sink import HostSink
from reid_stream.runtime.hosts.shared_cameras import SharedCameras


@contextmanager
def assemble_host(settings: Settings, *, run: str, host: str | None = None) -> Iterator[Site]:
    """Build a perceive host; everything it opened is closed when the block ends.

    Args:
        settings: of its cams.yaml, with its cameras.
        run: name of this run.
        host: its name in reports; None for that of the machine.

    Raises:
        ConfigError: Redis is embedded, or a camera's file is a folder.
        ModelError: see `load_networks`.
        BrokerError: Redis cannot be reached.
    """
    check_shared(settings)
    check_cameras([camera for camera in settings.cameras if camera.enabled], must_exist=False)
    metrics, clock, url = Metrics(), SiteClock(), settings.redis.url.get_secret_value()
    loaded = load_perception(settings, fast=False, frames=None)
    name = host or os.uname().nodename
    with ExitStack() as opened:
        clients = [connect(settings.redis) for _ in range(2)]
        for client in clients:
            opened.callback(client.close)
        check(clients[0], url)
        claims = None
        if isinstance(settings, PerceiveSettings) and settings.has_shared_cameras:
            claims = CameraClaims(
                claiming := connect(settings.redis),
                settings.site,
                run=run,
                host=name,
                lease_s=settings.hosts.lease_s,
                max_cameras=settings.hosts.max_cameras,
            )
            opened.callback(claiming.close)
            metrics.registry.register(ClaimsCollector(claims))
        epoch_of = None if claims is None else claims.epoch_of
        observations, reports = (RedisSender(client, settings.site, name, epoch_of=epoch_of) for client in clients)
        crops = RedisCropSender(connect(settings.redis), settings.site)
        opened.callback(crops.close)
        perception = opened.enter_context(
            open_perception(
                settings,
                loaded,
                run=records_run(run, continues=True, fast=False),
                fast=False,
                frames=None,
                metrics=metrics,
                keep=crops.take,
                clock=clock,
            )
        )
        sink = HostSink(
            reports,
            observations,
            perception,
            run,
            frames=lambda: daemon.progress.frames,
            crops_lost=lambda: crops.lost,
        )
        metrics.registry.register(
            SiteCollector(
                cameras=perception,
                counts=perception.counts,
                rejected=dict,
                sending=None,
                engines=loaded.engines,
                monitoring=metrics.monitoring,
            )
        )
        overload = overload_alarm(settings, run)
        daemon = Daemon(
            perception,
            ForwardingThread(observations, sink),
            sink,
            clock,
            settings=daemon_settings(settings, run, is_live=True),
            monitors=Monitors(metrics, view := SiteView(), overload),
        )
        if claims is not None:
            opened.enter_context(SharedCameras(claims, claiming, settings, daemon))
        yield Site(
            daemon=daemon,
            loaded=loaded.networks,
            metrics=metrics,
            view=view,
            redis_url=public(url),
            overload=overload,
            identities_known=int,
            expect_cameras=lambda _: None,
            use_places=lambda _: None,
            labels=dict,
        )
