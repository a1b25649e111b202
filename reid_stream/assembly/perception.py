"""Settings -> the first half: in this process, or in workers of its own; `assembly` puts it before `identity`."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from reid_stream.bundles import catalog
from reid_stream.bundles.bundle import EmbedderBundle
from reid_stream.config.settings import Camera, Settings
from reid_stream.engines.protocol import PixelEngine, lanes_of
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.observe.collector import CameraCounters
from reid_stream.observe.metrics import Metrics
from reid_stream.pipeline import Keep, Perception
from reid_stream.runtime.interfaces import CameraSource, ObservationReceiver, PerceptionRunner
from reid_stream.runtime.networks import Networks, load_networks, perceive, take_over
from reid_stream.runtime.perception_thread import PerceptionThread
from reid_stream.runtime.watchdog import Pulse
from reid_stream.runtime.workers.placement import how_many

if TYPE_CHECKING:
    from reid_stream.ingest.changes import CameraChange

REPLAY_ORIGIN = 1_704_067_200.0
"""2024-01-01T00:00:00Z, when files are replayed fast: the same files give the same events every time."""


@dataclass(frozen=True, slots=True)
class PerceptionStart:
    """What is known before the first half is wired."""

    cameras: Sequence[Camera]
    """Those that are enabled."""
    workers: int
    embedder: EmbedderBundle
    networks: Networks | None
    """None where workers have theirs."""

    @property
    def engines(self) -> dict[str, PixelEngine]:
        """What runs each network in this process."""
        if self.networks is None:
            return {}
        return {"detector": self.networks.detector_engine, "embedder": self.networks.embedder_engine}


@dataclass(frozen=True, slots=True)
class PerceptionParts:
    """The first half, wired."""

    half: PerceptionRunner
    link: ObservationReceiver
    cameras: CameraCounters
    """What it knows of them."""


def begin(settings: Settings, *, fast: bool, frames: int | None) -> PerceptionStart:
    """Decide how many processes there will be, and load the networks where this one needs them.

    Replays run in this process: what two workers find out at once would come in another order in every run.

    Raises:
        ModelError: see `load_networks`.
    """
    from reid_stream.ingest.child_processes import prepare

    cameras = [camera for camera in settings.cameras if camera.enabled]
    cores = len(os.sched_getaffinity(0))
    workers = 1 if fast or frames is not None else how_many(settings.workers, cores, len(cameras))
    if workers > 1:
        # Two thirds of a worker's start are imports: loaded once, a lost one is back that much sooner.
        prepare("reid_stream.runtime.workers.process", "trackers")
        return PerceptionStart(cameras, workers, catalog.embedder(settings.models.embedder)[1], None)
    if settings.ingest.isolate and not fast:
        prepare()
    networks = load_networks(settings)
    return PerceptionStart(cameras, workers, networks.embedder, networks)


@contextmanager
def perception(
    settings: Settings,
    began: PerceptionStart,
    *,
    run: str,
    fast: bool,
    frames: int | None,
    metrics: Metrics,
    keep: Keep | None,
    on_change: "Callable[[CameraChange], None]",
    clock: SiteClock,
) -> Iterator[PerceptionParts]:
    """Wire the first half.

    Args:
        settings: of cams.yaml.
        began: see `begin`.
        run: of its tracks.
        fast: replay file cameras as fast as the pipeline goes.
        frames: end after so many, of all cameras together.
        metrics: where stages are timed.
        keep: takes the crops, where they are to be kept.
        on_change: told when a camera comes or goes.
        clock: the time base of capture times.

    Raises:
        StreamError: a camera that is no file was to be replayed fast.
    """
    with ExitStack() as opened:
        if began.networks is None:
            from reid_stream.runtime.workers.pool import WorkerPool

            # Only we may get in.
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="reid-stream-")))
            pool = WorkerPool(
                settings,
                run=run,
                model=began.embedder.hash,
                workers=began.workers,
                cores=sorted(os.sched_getaffinity(0)),
                folder=folder,
                on_change=on_change,
                metrics=metrics,
                keep=keep,
                clock=clock,
            )
            opened.callback(pool.link.close)
            yield PerceptionParts(pool, pool.link, pool)
            return
        yield _here(settings, began.networks, began.cameras, run, fast, frames, metrics, keep, on_change, clock)


def _here(
    settings: Settings,
    networks: Networks,
    cameras: Sequence[Camera],
    run: str,
    fast: bool,
    frames: int | None,
    metrics: Metrics,
    keep: Keep | None,
    on_change: "Callable[[CameraChange], None]",
    clock: SiteClock,
) -> PerceptionParts:
    from reid_stream.ingest.camera_set import CameraSet
    from reid_stream.ingest.frame_limit import FrameLimit
    from reid_stream.ingest.replay import FastReplay
    from reid_stream.link.inproc import InprocLink

    source: CameraSource
    stays = take_over(settings)
    if fast:
        source = FastReplay(cameras, settings.ingest, origin=REPLAY_ORIGIN, on_change=on_change, take_over=stays)
    else:
        source = CameraSet(cameras, settings.ingest, on_change, clock, take_over=stays, guard=metrics.monitoring.part)
    if frames is not None:
        source = FrameLimit(source, frames)
    pulse, link = Pulse(), InprocLink()
    first = perceive(settings, networks, run, metrics, pulse=pulse, keep=keep)

    def fresh(number: int, pulse: Pulse) -> Perception:
        # Networks of its own, since those of the hung call may hang again; tracks count from 0, in a run of theirs.
        return perceive(
            settings,
            load_networks(settings),
            f"{run}.{number}",
            metrics,
            pulse=pulse,
            counts=first.counts,
            keep=keep,
        )

    half = PerceptionThread(
        source,
        first,
        link,
        watchdog=settings.watchdog,
        pulse=pulse,
        fresh=fresh,
        lanes=partial(lanes_of, networks.detector_engine),
        is_eager=fast,
    )
    return PerceptionParts(half, link, source)
