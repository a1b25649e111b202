"""Settings -> a wired daemon; the only file that names concrete classes.

What must be there before the first frame is checked here, in this order: models, then Redis, then (by the cameras' own
threads, later and again and again) the cameras.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reid_stream import __version__
from reid_stream.config import Settings
from reid_stream.console.roster import Roster
from reid_stream.daemon import Daemon
from reid_stream.metrics import Metrics
from reid_stream.networks import Networks, load_networks, perceive
from reid_stream.openings import check_files, redis_sink, topology_teller, tracklet_store
from reid_stream.parts import Sink, Source
from reid_stream.pipeline import Identify, Perceive
from reid_stream.records import CameraId, Decision, Perceived
from reid_stream.scrape import Scrape
from reid_stream.watchdog import Pulse

if TYPE_CHECKING:
    from reid_stream.publish.redis_sink import RedisSink


REPLAY_ORIGIN = 1_704_067_200.0
"""2024-01-01T00:00:00Z, when files are replayed fast: the same files give the same events every time."""


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
            calibration=networks.embedder.calibrated,
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
