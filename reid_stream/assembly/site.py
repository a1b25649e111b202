"""Build a daemon from settings.

Checked before the first frame, in this order: files, models, Redis. Cameras on the network are opened by their own
threads, which keep retrying.
"""

import importlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from reid_stream import __version__
from reid_stream.assembly.hosts import open_hosts, remote_networks
from reid_stream.assembly.identification import Standby, identification, open_state, records_run
from reid_stream.assembly.perception import LoadedPerception, WrapPerception, load_perception, open_perception
from reid_stream.assembly.resources import (
    check_cameras,
    operator_instructions,
    topology_publisher,
    tracklet_store,
)
from reid_stream.assembly.site_state import SiteState
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.differences import with_cameras
from reid_stream.config.presence_settings import PresenceSettings
from reid_stream.config.settings import Camera, Settings
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.journal.direct import EventSink
from reid_stream.journal.recorder import JournalRecorder
from reid_stream.observe.collector import CameraCounters, SiteCollector
from reid_stream.observe.metrics import Metrics
from reid_stream.pipeline import DecisionListener
from reid_stream.publish.projection import SiteView
from reid_stream.records import CameraId, GlobalId
from reid_stream.runtime.daemon import Daemon, DaemonSettings, Monitors
from reid_stream.runtime.identification_thread import IdentificationThread
from reid_stream.runtime.interfaces import PerceptionRunner, SiteIdentification
from reid_stream.runtime.networks import Networks, make_perception
from reid_stream.runtime.stages import WatchedStages
from reid_stream.runtime.watchdog import Pulse

if TYPE_CHECKING:
    from reid_stream.ingest.overload_alarm import OverloadAlarm
    from reid_stream.operators.dispatch import OperatorInstructions
    from reid_stream.publish.latest_value import ChangePublisher
    from reid_stream.store.writer import StoreWriter

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """A daemon with the state that user interfaces and benchmarks read."""

    daemon: Daemon
    loaded: Networks | None
    """The networks; None where workers load them."""
    metrics: Metrics
    view: SiteView
    redis_url: str
    """Destination of events, without secrets."""
    overload: "OverloadAlarm | None"
    """Alarm of an overload; None in a replay."""
    identities_known: Callable[[], int]
    """Number of identities that can be matched, those of earlier runs included."""
    expect_cameras: Callable[[Collection[str]], None]
    """Makes the matcher count observations of other cameras as odd."""
    use_places: Callable[[Sequence[Camera]], None]
    """Makes identification use the zones and lines of these cameras, all that are enabled."""
    labels: Callable[[], Mapping[GlobalId, str]]
    """Names of people by global ID."""

    @property
    def source(self) -> CameraCounters:
        """State of the cameras."""
        return self.daemon.perception

    @property
    def networks(self) -> Networks:
        """The networks, which must run in this process."""
        assert self.loaded is not None
        return self.loaded


@contextmanager
def assemble(
    settings: Settings,
    *,
    run: str,
    continues: bool = False,
    fast: bool = False,
    sink: EventSink | None = None,
    frames: int | None = None,
    clock: SiteClock | None = None,
    wrap: WrapPerception | None = None,
    standby: Standby | None = None,
    listeners: Sequence[DecisionListener] = (),
    has_hosts: bool = False,
) -> Iterator[Site]:
    """Build a daemon; everything it opened is closed when the block ends.

    Args:
        settings: of cams.yaml.
        run: name of this run in events.
        continues: an earlier run may have had this name; its event numbers continue, so that no ID is used twice.
        fast: replay file cameras as fast as possible.
        sink: takes the events instead of Redis.
        frames: end after so many frames of all cameras together; None for no limit.
        clock: time base; None for one that starts now.
        wrap: wraps perception in this process, for benchmarks and evaluation.
        standby: waits, with the networks loaded, while another daemon runs the site; None to refuse then.
        listeners: see the matcher's decisions of each step.
        has_hosts: perception runs on other hosts (`assembly.hosts`).

    Raises:
        StoppedError: `standby` ended before the site was free.
        ConfigError: a camera's file is a folder, or is missing with `fast`.
        InUseError: another daemon uses the site, the spool or the tracklet store.
        ModelError: see `load_networks`.
        BrokerError: Redis cannot be reached.
        StreamError: a camera that is no file was to be replayed fast.
    """
    settings = settings.model_copy(update={"publish": _presence_settings(settings)})
    metrics, time_base, pulse = Metrics(), clock or SiteClock(), Pulse()
    if has_hosts:
        loaded = remote_networks(settings)
    else:
        check_cameras([camera for camera in settings.cameras if camera.enabled], must_exist=fast)
        loaded = load_perception(settings, fast=fast, frames=frames)
    if standby is not None:
        _load_ahead(settings, loaded)

    def use_places(cameras: Sequence[Camera]) -> None:
        steps.change_presence(_presence_settings(with_cameras(settings, cameras)))

    with ExitStack() as opened:
        embedder = EmbedderInfo.of(loaded.embedder)
        state = opened.enter_context(
            open_state(
                settings,
                embedder,
                run=run,
                continues=continues,
                fast=fast,
                sink=sink,
                shift_s=time_base.shift_s,
                standby=standby,
                has_hosts=has_hosts,
            )
        )
        store = opened.enter_context(tracklet_store(settings))
        perception = opened.enter_context(
            open_hosts(settings, loaded, state, store, metrics, time_base.now)
            if has_hosts
            else open_perception(
                settings,
                loaded,
                run=records_run(run, continues=continues, fast=fast),
                fast=fast,
                frames=frames,
                metrics=metrics,
                keep=store.take if store is not None else None,
                clock=time_base,
                wrap=wrap,
            )
        )
        operators = topology = None
        if state.redis is not None:
            topology = opened.enter_context(topology_publisher(settings, state.matcher.topology, state.embedded_url))
            state.redis.when_lost(topology.put_again)
            operators = opened.enter_context(
                operator_instructions(settings, state, state.redis, store, time_base.shift_s)
            )
        steps = identification(
            settings,
            state,
            run,
            instructions=operators.take if operators is not None else tuple,
            listeners=[*_listeners(operators, topology, store, metrics), *listeners],
            stage=WatchedStages(pulse, metrics),
        )
        metrics.registry.register(_collector(state, perception, steps, store, loaded, metrics))
        metrics.identities_max.set(settings.match.max_identities)
        view = SiteView(labels=state.matcher.labels())
        overload = None if fast or has_hosts else overload_alarm(settings, run)
        daemon = Daemon(
            perception,
            IdentificationThread(steps, is_live=not fast, pulse=pulse),
            state.sink,
            time_base,
            settings=daemon_settings(settings, run, is_live=not fast),
            monitors=Monitors(
                metrics,
                view,
                overload,
                instructions_fault=(lambda: None) if operators is None else lambda: operators.reader.fault,
            ),
        )
        yield Site(
            daemon=daemon,
            loaded=loaded.networks,
            metrics=metrics,
            view=view,
            redis_url=state.redis_name,
            overload=overload,
            identities_known=lambda: len(state.matcher),
            expect_cameras=state.matcher.change_cameras,
            use_places=use_places,
            labels=state.matcher.labels,
        )


def _collector(
    state: SiteState,
    perception: PerceptionRunner,
    steps: SiteIdentification,
    store: "StoreWriter | None",
    loaded: LoadedPerception,
    metrics: Metrics,
) -> SiteCollector:
    """Return the collector of the counters that the parts of a site own."""
    return SiteCollector(
        cameras=perception,
        counts=perception.counts,
        rejected=lambda: state.matcher.rejected,
        odd=lambda: state.matcher.odd,
        unnamed=lambda: state.matcher.unnamed,
        sending=state.redis,
        storing=store,
        keeping=steps if isinstance(steps, JournalRecorder) else None,
        engines=loaded.engines,
        monitoring=metrics.monitoring,
    )


def daemon_settings(settings: Settings, run: str, *, is_live: bool) -> DaemonSettings:
    """Return what a daemon needs of the settings."""
    return DaemonSettings(
        run=run,
        version=__version__,
        cameras=[CameraId(camera.id) for camera in settings.cameras if camera.enabled],
        is_live=is_live,
        heartbeat_s=settings.publish.heartbeat_s,
        watchdog=settings.watchdog,
    )


def _load_ahead(settings: Settings, loaded: LoadedPerception) -> None:
    """Import the modules that a takeover needs, which would otherwise take most of its time."""
    for name in (
        "reid_stream.ingest.camera_set",
        "reid_stream.journal.recorder",
        "reid_stream.journal.recovery",
        "reid_stream.journal.snapshot_writer",
        "reid_stream.operators.dispatch",
        "reid_stream.operators.erasure",
        "reid_stream.operators.reader",
        "reid_stream.publish.event_numbers",
        "reid_stream.publish.redis_sink",
        "reid_stream.store.writer",
        "watchfiles",
    ):
        importlib.import_module(name)
    if loaded.networks is not None:
        # Trackers import the most, and only once they are made.
        make_perception(settings, loaded.networks, "ahead")


def _presence_settings(settings: Settings) -> PresenceSettings:
    """Return the section `publish` with the other settings that visits depend on."""
    found = PresenceSettings.of(settings.publish, settings.cameras)
    # Events name no picture that is not stored.
    return found if settings.store.folder is not None else found.model_copy(update={"snapshots": False})


def _listeners(
    operators: "OperatorInstructions | None",
    topology: "ChangePublisher | None",
    store: "StoreWriter | None",
    metrics: Metrics,
) -> Iterator[DecisionListener]:
    """Yield the listeners to the decisions of each step, in the order in which they are called."""
    if operators is not None:
        yield operators.decided
    if topology is not None:
        yield metrics.monitoring.guarded("topology", topology.decided)
    if store is not None:
        yield store.decided


def overload_alarm(settings: Settings, run: str) -> "OverloadAlarm":
    """Return the alarm of live cameras."""
    from reid_stream.ingest.camera_set import wanted_fps
    from reid_stream.ingest.overload_alarm import OverloadAlarm

    return OverloadAlarm(
        run, {CameraId(camera.id): wanted_fps(camera) for camera in settings.cameras if camera.enabled}
    )
