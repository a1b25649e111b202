"""Measure worker scaling: frames per second with 1, 2, 4 workers, and the cost of killing one.

Rates are measured under overload, with live cameras and decoding; CPU time per frame is given beside them, for a busy
machine. The floor is one process. A worker is killed (-9) while cameras give about half of what one process can handle;
its cameras are back when a frame of each has passed the pipeline again, and every frame that was due of the others must
have passed.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from reid_stream.assembly.site import Site, assemble
from reid_stream.bench.procfs import cpu_s, family, memory_mb
from reid_stream.config.settings import Camera, Models, Observe, Settings
from reid_stream.engines.cpus import cpu_count
from reid_stream.errors import ReidStreamError
from reid_stream.events import Event
from reid_stream.observe.logs import quiet
from reid_stream.records import CameraId
from reid_stream.runtime.workers.pool import WorkerPool

_UP_S = 120.0
_SETTLE_S = 3.0
_BEFORE_S = 10.0
_LOAD = 0.5
"""Load while a worker is killed, as a share of the capacity of one process."""
_LOSSES = ("late", "lost", "busy", "slowed", "behind")


class WorkerRate(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a number of workers under full load."""

    workers: int
    frames_per_s: float
    efficiency: float
    """Frames per second beside those of the first."""
    cpu_ms: float
    """CPU time of all processes per frame."""
    cpu_ratio: float
    """The first's CPU time per frame beside it: above 1 is cheaper."""
    memory_mb: float
    """PSS of all processes."""


class WorkerLoss(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of losing one worker."""

    workers: int
    fps: float
    """Frame rate of each camera."""
    back_s: float
    """Time until a frame of each of its cameras has passed again."""
    back_cpu_s: float
    """CPU time that its successor and its cameras' processes had taken by then."""
    outage_frames: int
    """Frames of its cameras that were due meanwhile."""
    others_due: int
    """Frames of the others that were due meanwhile."""
    others_lost: int
    """... and did not pass."""
    usual: float
    """Share of frames that did not pass in the seconds before, on a busy machine."""


class WorkerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Measured figures."""

    cores: int
    cameras: int
    rates: Sequence[WorkerRate]
    loss: WorkerLoss | None


class _Nowhere:
    """A sink."""

    def publish(self, events: Sequence[Event]) -> None:
        """Delete them."""

    def close(self, timeout_s: float) -> bool:  # noqa: ARG002 (the protocol's)
        """Return True: nothing is left to send."""
        return True


def measure(
    clip: Path, counts: Sequence[int], cameras: int, seconds: float, models: Models, progress: Callable[[str], None]
) -> WorkerFigures:
    """Run each number of workers under full load for `seconds`, then kill one of the largest number if it is above one.

    Raises:
        ReidStreamError: cameras did not come up.
    """
    rates: list[WorkerRate] = []
    for count in counts:
        progress(f"{count} workers")
        rates.append(_rate(_settings(clip, count, cameras, None, models), seconds, rates[0] if rates else None))
    loss = None
    if max(counts) > 1:
        fps = round(max(0.2, _LOAD * rates[0].frames_per_s / cameras), 2)
        progress(f"kill -9 of one of {max(counts)} workers, cameras at {fps} fps")
        loss = _kill(_settings(clip, max(counts), cameras, fps, models), fps)
    return WorkerFigures(cores=cpu_count(), cameras=cameras, rates=rates, loss=loss)


def _settings(clip: Path, workers: int, cameras: int, fps: float | None, models: Models) -> Settings:
    return Settings(
        site="bench",
        workers=workers,
        models=models,
        cameras=tuple(
            Camera.model_validate(
                {
                    "id": f"cam{n:02d}",
                    "url": str(clip),
                    "max_fps": fps,
                    "loop": True,
                    "start_after_s": 0.5 * n / cameras,
                }
            )
            for n in range(cameras)
        ),
        observe=Observe(port=None),
    )


@contextmanager
def _running(settings: Settings) -> Iterator[Site]:
    stop = threading.Event()
    with quiet(), assemble(settings, run="bench", sink=_Nowhere()) as site:
        daemon = threading.Thread(target=site.daemon.run, args=(stop,), name="bench daemon")
        daemon.start()
        try:
            _await(lambda: len(_frames(site)) == len(settings.cameras), daemon, "cameras to give frames")
            time.sleep(_SETTLE_S)
            yield site
        finally:
            stop.set()
            daemon.join()


def _await(holds: Callable[[], bool], daemon: threading.Thread | None, what: str) -> None:
    end = time.monotonic() + _UP_S
    while not holds():
        if time.monotonic() > end or (daemon is not None and not daemon.is_alive()):
            raise ReidStreamError(f"within {_UP_S:.0f} s there must be {what}, there were not")
        time.sleep(0.02)


def _frames(site: Site) -> dict[CameraId, int]:
    return dict(site.daemon.progress.frames)


def _rate(settings: Settings, seconds: float, first: WorkerRate | None) -> WorkerRate:
    with _running(settings) as site:
        members = family(os.getpid())
        began, frames = time.monotonic(), sum(_frames(site).values())
        spent = sum(map(cpu_s, members))
        time.sleep(seconds)
        passed, frames = time.monotonic() - began, sum(_frames(site).values()) - frames
        spent = sum(map(cpu_s, members)) - spent
        memory = sum(memory_mb(one)[1] for one in members)
    fps, each_ms = frames / passed, 1000 * spent / max(1, frames)
    return WorkerRate(
        workers=settings.workers if isinstance(settings.workers, int) else 1,
        frames_per_s=round(fps, 2),
        efficiency=round(fps / (first.frames_per_s if first else fps or 1.0), 3),
        cpu_ms=round(each_ms, 2),
        cpu_ratio=round((first.cpu_ms if first else each_ms) / (each_ms or 1.0), 3),
        memory_mb=round(memory, 1),
    )


def _kill(settings: Settings, fps: float) -> WorkerLoss:
    with _running(settings) as site:
        pool = site.daemon.perception
        assert isinstance(pool, WorkerPool)
        victim = pool.workers[0]
        mine = list(victim.cameras)
        others = [CameraId(camera.id) for camera in settings.cameras if camera.id not in mine]
        killed = victim.pid
        assert killed is not None
        usual = _dealt(site, others)
        time.sleep(_BEFORE_S)
        before = _dealt(site, others)
        began = time.monotonic()
        os.kill(killed, signal.SIGKILL)
        # Its frames are counted for another moment.
        _await(lambda: not victim.is_loaded, None, "an event of the worker's end")
        at_loss = _frames(site)
        _await(lambda: all(_frames(site)[camera] > at_loss[camera] for camera in mine), None, "frames again")
        back_s = time.monotonic() - began
        spent_s = sum(map(cpu_s, family(victim.pid))) if victim.pid is not None else 0.0
        after = _dealt(site, others)
    done, lost = (after[n] - before[n] for n in (0, 1))
    done_before, lost_before = (before[n] - usual[n] for n in (0, 1))
    return WorkerLoss(
        workers=len(pool.workers),
        fps=fps,
        back_s=round(back_s, 2),
        back_cpu_s=round(spent_s, 2),
        outage_frames=round(back_s * fps * len(mine)),
        others_due=done + lost,
        others_lost=lost,
        usual=round(lost_before / max(1, done_before + lost_before), 4),
    )


def _dealt(site: Site, cameras: Sequence[CameraId]) -> tuple[int, int]:
    """Return (frames used, frames dropped for lack of time) of these cameras."""
    stats, replaced = site.source.stats, site.source.replaced
    used: Mapping[CameraId, int] = _frames(site)
    return (
        sum(used[camera] for camera in cameras),
        sum(replaced.get(camera, 0) + sum(stats[camera].dropped[cause] for cause in _LOSSES) for camera in cameras),
    )


def show(figures: WorkerFigures) -> None:
    """Print the figures as tables."""
    from rich.console import Console
    from rich.table import Table

    table = Table("workers", "frames/s", "of one", "CPU ms per frame", "relative to one", "memory, MB", box=None)
    for rate in figures.rates:
        table.add_row(
            str(rate.workers),
            f"{rate.frames_per_s:.1f}",
            f"{rate.efficiency:.2f}",
            f"{rate.cpu_ms:.1f}",
            f"{rate.cpu_ratio:.2f}",
            f"{rate.memory_mb:.0f}",
        )
    console = Console()
    console.print(f"{figures.cameras} cameras, {figures.cores} cores")
    console.print(table)
    if figures.loss is not None:
        loss = figures.loss
        console.print(
            f"kill -9 of one of {loss.workers} workers, cameras at {loss.fps:g} fps: back after {loss.back_s:.1f} s, "
            f"of which {loss.back_cpu_s:.1f} s of CPU time; "
            f"other cameras: {loss.others_due} frames due meanwhile, {loss.others_lost} lost "
            f"({loss.usual:.1%} in the seconds before)"
        )
