"""Settings -> a wired daemon; the only file that names concrete classes.

What must be there before the first frame is checked here, in this order: models, then Redis, then (by the cameras' own
threads, later and again and again) the cameras.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import structlog

from reid_stream import __version__
from reid_stream.assembly.identification import identity, records_run
from reid_stream.assembly.perception import begin, perception
from reid_stream.assembly.resources import check_files, people_heard, sink_ready, topology_teller, tracklet_store
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.settings import Settings
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.observe.collector import CameraCounters, SiteCollector
from reid_stream.observe.metrics import Metrics
from reid_stream.pipeline import Identification
from reid_stream.publish.projection import SiteView
from reid_stream.records import CameraId, Decision, Perceived
from reid_stream.runtime.daemon import Daemon
from reid_stream.runtime.interfaces import Sink
from reid_stream.runtime.networks import Networks
from reid_stream.runtime.watchdog import Pulse

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """A wired daemon with what a shell wants to look at."""

    daemon: Daemon
    source: CameraCounters
    loaded: Networks | None
    """None where workers have theirs."""
    metrics: Metrics
    view: SiteView
    redis_url: str
    """Where events go, without secrets."""

    @property
    def networks(self) -> Networks:
        """The networks, where they run in this process."""
        assert self.loaded is not None
        return self.loaded


@contextmanager
def assemble(
    settings: Settings,
    *,
    run: str,
    continues: bool = False,
    fast: bool = False,
    sink: Sink | None = None,
    frames: int | None = None,
    clock: SiteClock | None = None,
) -> Iterator[Site]:
    """Wire a daemon; everything it opened is closed when the block ends.

    Args:
        settings: of cams.yaml.
        run: name of this run in events.
        continues: a run of this name may have been before; its events' numbers go on, so that no ID comes twice.
        fast: replay file cameras as fast as the pipeline goes.
        sink: takes the events instead of Redis.
        frames: end after so many, of all cameras together.
        clock: the time base; none for one that starts now.

    Raises:
        ConfigError: a camera's file is a folder, or is missing with `fast`, or the tracklet store is not ours to write.
        ModelError: see `load_networks`.
        BrokerError: Redis does not serve.
        StreamError: a camera that is no file was to be replayed fast.
    """
    from reid_stream.ingest.camera_set import wanted_fps
    from reid_stream.ingest.changes import CameraChange
    from reid_stream.ingest.overload_alarm import OverloadAlarm

    cameras = [camera for camera in settings.cameras if camera.enabled]
    check_files(cameras, must_exist=fast)
    for camera in cameras:
        if camera.tls == "unverified":
            _log.warning("camera_tls_unverified", camera=camera.id)
    metrics = Metrics()
    began = begin(settings, fast=fast, frames=frames)
    bundle = began.embedder
    time_base = clock or SiteClock()
    head = EmbedderInfo.of(bundle)
    with ExitStack() as opened:
        second = opened.enter_context(
            identity(
                settings, head, run=run, continues=continues, fast=fast, sink=sink, shift_s=lambda: time_base.shift_s
            )
        )
        matcher, presence, sending = second.matcher, second.presence, second.sending
        view = SiteView(labels=matcher.labels())
        seen_in = records_run(run, continues=continues, fast=fast)
        told: list[Daemon] = []

        def camera_changed(change: CameraChange) -> None:
            told[0].camera_changed(change)

        identify_pulse = Pulse()
        storing = opened.enter_context(tracklet_store(settings))
        keep = storing.take if storing is not None else None
        first = opened.enter_context(
            perception(
                settings,
                began,
                run=seen_in,
                fast=fast,
                frames=frames,
                metrics=metrics,
                keep=keep,
                on_change=camera_changed,
                clock=time_base,
            )
        )

        teller = opened.enter_context(topology_teller(settings, matcher.topology, second.url)) if sending else None

        heard = (
            opened.enter_context(people_heard(settings, second, sending, storing, lambda: time_base.shift_s))
            if sending
            else None
        )

        def match(records: Sequence[Perceived], now: float) -> list[Decision]:
            decisions = second.match(records, now)
            if heard is not None:
                decisions = heard.dispatch(decisions, now)
            if teller is not None:
                with metrics.monitoring.part("topology"):
                    teller.look(now)
            if storing is not None:
                storing.decided(decisions)
            return decisions

        metrics.registry.register(
            SiteCollector(
                cameras=first.cameras,
                counts=first.half.counts,
                rejected=lambda: matcher.rejected,
                odd=lambda: matcher.odd,
                unnamed=lambda: matcher.unnamed,
                sending=sending,
                storing=storing,
                keeping=second.keeper,
                engines=began.engines,
                monitoring=metrics.monitoring,
            )
        )
        overload = OverloadAlarm(run, {CameraId(camera.id): wanted_fps(camera) for camera in cameras})
        daemon = Daemon(
            run=run,
            version=__version__,
            half=first.half,
            identify=Identification(
                match=identify_pulse.watched("match", metrics.timed("match", match)),
                present=identify_pulse.watched("presence", metrics.timed("presence", second.present)),
            ),
            finish=second.finish,
            link=first.link,
            sink=second.sink,
            metrics=metrics,
            cameras=[CameraId(camera.id) for camera in cameras],
            heartbeat_s=settings.publish.heartbeat_s,
            is_live=not fast,
            on_events=view.follow,
            gallery_size=lambda: len(matcher),
            people_in_view=lambda: presence.people,
            in_view=presence.present,
            watchdog=settings.watchdog,
            identify_pulse=identify_pulse,
            overload=lambda: (
                overload.look(time.monotonic(), time.time(), first.cameras.stats, told[0].progress.frames)
                if not fast
                else None
            ),
            clock=time_base,
            sink_ready=lambda: sink_ready(sending, second.server) if sending is not None else (True, second.where),
        )
        told.append(daemon)
        yield Site(
            daemon=daemon,
            source=first.cameras,
            loaded=began.networks,
            metrics=metrics,
            view=view,
            redis_url=second.where,
        )
