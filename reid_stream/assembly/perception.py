"""Perception of a site: in this process, or in worker processes."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from reid_stream.bundles import catalog
from reid_stream.bundles.bundle import EmbedderBundle
from reid_stream.config.differences import with_cameras
from reid_stream.config.settings import Camera, Settings
from reid_stream.engines.cpus import cpu_count
from reid_stream.engines.protocol import PixelEngine, lanes_of
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.observe.metrics import Metrics
from reid_stream.pipeline import Attend, Keep, PerceiveCounts, Perception
from reid_stream.records import Frame, Tracks
from reid_stream.runtime.interfaces import CameraSource, PerceptionRunner, PerceptionStages
from reid_stream.runtime.networks import Networks, load_networks, make_perception, take_over
from reid_stream.runtime.perception_thread import AttendedCameras, PerceptionThread, full_every_s
from reid_stream.runtime.stages import WatchedStages
from reid_stream.runtime.watchdog import Pulse
from reid_stream.runtime.workers.placement import worker_count

if TYPE_CHECKING:
    from reid_stream.ingest.changes import CameraChange

REPLAY_ORIGIN = 1_704_067_200.0
"""2024-01-01T00:00:00Z, start of a fast replay's time: the same files give the same events every time."""

WrapPerception = Callable[[Perception], PerceptionStages]
"""Wraps perception in this process, for benchmarks and evaluation."""


@dataclass(frozen=True, slots=True)
class LoadedPerception:
    """Parts that are loaded before perception is made."""

    cameras: Sequence[Camera]
    """Enabled cameras."""
    workers: int
    """Number of processes; 1 for this one."""
    embedder: EmbedderBundle
    networks: Networks | None
    """The networks; None where workers load them."""

    @property
    def engines(self) -> dict[str, PixelEngine]:
        """Engine of each network in this process."""
        if self.networks is None:
            return {}
        return {"detector": self.networks.detector_engine, "embedder": self.networks.embedder_engine}


def load_perception(settings: Settings, *, fast: bool, frames: int | None) -> LoadedPerception:
    """Choose the number of processes, and load the networks if they run in this one.

    Replays run in this process: records of two workers would come in another order in every run.

    Raises:
        ModelError: see `load_networks`.
    """
    from reid_stream.ingest.child_processes import prepare

    cameras = [camera for camera in settings.cameras if camera.enabled]
    most = len(cameras) or settings.hosts.max_cameras  # shared ones come later
    workers = 1 if fast or frames is not None else worker_count(settings.workers, cpu_count(), most)
    if workers > 1:
        # Two thirds of a worker's start are imports: loaded once, so that a lost worker is back sooner.
        prepare("reid_stream.runtime.workers.process", "trackers")
        return LoadedPerception(cameras, workers, catalog.embedder(settings.models.embedder)[1], None)
    if settings.ingest.isolate and not fast:
        prepare()
    networks = load_networks(settings, None if fast else time.perf_counter)
    return LoadedPerception(cameras, workers, networks.embedder, networks)


@contextmanager
def open_perception(
    settings: Settings,
    loaded: LoadedPerception,
    *,
    run: str,
    fast: bool,
    frames: int | None,
    metrics: Metrics,
    keep: Keep | None,
    clock: SiteClock,
    wrap: WrapPerception | None = None,
) -> Iterator[PerceptionRunner]:
    """Make perception; its sockets are closed when the block ends.

    Args:
        settings: of cams.yaml.
        loaded: see `load_perception`.
        run: of its tracks.
        fast: replay file cameras as fast as possible.
        frames: end after so many frames of all cameras together; None for no limit.
        metrics: measures the stages.
        keep: stores crops; None where they are not stored.
        clock: time base of capture times.
        wrap: wraps perception in this process; None for no wrapper.

    Raises:
        StreamError: a camera that is no file was to be replayed fast.
    """
    with ExitStack() as opened:
        if loaded.networks is None:
            from reid_stream.ingest.scratch_folder import scratch_folder
            from reid_stream.runtime.workers.pool import WorkerPool

            folder = Path(opened.enter_context(TemporaryDirectory(prefix="workers-", dir=scratch_folder())))
            pool = WorkerPool(
                settings,
                run=run,
                model=loaded.embedder.hash,
                workers=loaded.workers,
                cores=sorted(os.sched_getaffinity(0)),
                folder=folder,
                metrics=metrics,
                keep=keep,
                clock=clock,
            )
            opened.callback(pool.link.close)
            yield pool
            return
        from reid_stream.link.inproc import InprocLink

        show = None
        attention = AttendedCameras()
        if settings.web.enabled and not fast:
            from reid_stream.runtime.previews import PreviewPublisher, previews_folders

            publisher = PreviewPublisher(previews_folders(settings), run)
            opened.callback(publisher.close)
            show = publisher.show
            attention = AttendedCameras(publisher.is_watched)
        make = _Maker(settings, loaded.networks, run, metrics, keep, wrap, show, attention.follow)
        yield PerceptionThread(
            partial(_open_source, settings, loaded.cameras, fast, frames, metrics, clock, attention),
            make,
            InprocLink(),
            watchdog=settings.watchdog,
            lanes=partial(lanes_of, loaded.networks.detector_engine),
            is_eager=fast,
            configure=make.change_cameras,
        )


def _open_source(
    settings: Settings,
    cameras: Sequence[Camera],
    fast: bool,
    frames: int | None,
    metrics: Metrics,
    clock: SiteClock,
    attention: AttendedCameras,
    on_change: "Callable[[CameraChange], None]",
) -> CameraSource:
    from reid_stream.ingest.camera_set import CameraSet
    from reid_stream.ingest.frame_limit import FrameLimit
    from reid_stream.ingest.replay import FastReplay

    source: CameraSource
    on_gpu = take_over(settings)
    if fast:
        source = FastReplay(cameras, settings.ingest, origin=REPLAY_ORIGIN, on_change=on_change, take_over=on_gpu)
    else:
        source = CameraSet(
            cameras,
            settings.ingest,
            on_change,
            clock,
            take_over=on_gpu,
            guard=metrics.monitoring.part,
            full_every_s=full_every_s(settings),
            is_attended=attention.wants,
        )
    return source if frames is None else FrameLimit(source, frames)


class _Maker:
    """Makes perception, and another after one that hung: with new networks, as a call may hang in the old ones."""

    def __init__(
        self,
        settings: Settings,
        networks: Networks,
        run: str,
        metrics: Metrics,
        keep: Keep | None,
        wrap: WrapPerception | None,
        show: Callable[[Frame, Tracks], None] | None = None,
        attend: Attend = lambda *_: None,
    ) -> None:
        self._show, self._attend = show, attend
        self._settings, self._networks, self._run, self._metrics = settings, networks, run, metrics
        self._keep, self._wrap = keep, wrap
        self._counts = PerceiveCounts()

    def change_cameras(self, cameras: Sequence[Camera]) -> None:
        """Use the settings of these cameras, now and for perception made from now on."""
        self._settings = with_cameras(self._settings, cameras)
        self._networks.change_cameras(cameras)

    def __call__(self, number: int, pulse: Pulse) -> PerceptionStages:
        if number:
            self._networks = load_networks(self._settings, time.perf_counter)
        made = make_perception(
            self._settings,
            self._networks,
            f"{self._run}.{number}" if number else self._run,  # track numbers start from 0 again
            WatchedStages(pulse, self._metrics),
            counts=self._counts,
            keep=self._keep,
            show=self._show,
            attend=self._attend,
        )
        return made if self._wrap is None else self._wrap(made)
