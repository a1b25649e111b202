"""Measure how many cameras this machine holds, with file cameras paced like live ones.

A load is held where nearly every frame that is due is used and events follow the frame closely: the two things
that overload costs. Events are counted and not sent: Redis may run on another machine.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from reid_stream.assembly.site import assemble
from reid_stream.bench.pipeline import check_hardware
from reid_stream.bench.procfs import cpu_s, family, memory_mb
from reid_stream.config.settings import Camera, Detect, Ingest, Models, Observe, Settings
from reid_stream.errors import ReidStreamError
from reid_stream.evaluation.delay import FrameLatency
from reid_stream.evaluation.recording import EVERY_FRAME, timelines
from reid_stream.events import Event
from reid_stream.observe.logs import quiet

LEAST_USED = 0.99
"""Least share of the due frames that are used."""
MOST_P95_S = 0.5
"""Largest 95th percentile from a frame to its event, seconds."""
_START_S = 60.0
_SETTLE_S = 3.0
"""Time after all cameras are up that is not measured, seconds."""


class LiveLoad(msgspec.Struct, frozen=True, kw_only=True):
    """Result for one number of cameras."""

    cameras: int
    fps: float
    used: float
    """Share of the frames that were due."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    """Latency of frames from capture to event, 99th percentile."""
    cores: float
    """CPU time over wall time, of all processes."""
    memory_mb: float
    """Memory of all processes, shared pages counted once."""
    is_held: bool


class _Mark(NamedTuple):
    at: float
    frames: int
    cpu_s: float
    events: int
    memory_mb: float


class _LatencySink:
    """A sink that measures the latency of events instead of sending them."""

    def __init__(self) -> None:
        self.latency = FrameLatency()

    def publish(self, events: Sequence[Event]) -> None:
        self.latency.add(time.time(), events)

    def close(self, timeout_s: float) -> bool:  # noqa: ARG002 (the protocol's)
        return True


def hold(
    clips: Sequence[Path],
    cameras: int,
    fps: float,
    seconds: float,
    *,
    detector: str,
    embedder: str,
    ingest: Ingest | None = None,
    detect: Detect | None = None,
) -> LiveLoad:
    """Run `cameras` cameras at `fps` for `seconds` and measure.

    Raises:
        ReidStreamError: they did not come up.
    """
    settings = Settings(
        site="bench",
        models=Models(detector=detector, embedder=embedder),
        cameras=tuple(
            Camera.model_validate(
                {"id": f"cam{n + 1}", "url": str(clips[n % len(clips)]), "max_fps": fps, "loop": True}
            )
            for n in range(cameras)
        ),
        observe=Observe(port=None),
        publish=EVERY_FRAME,
        ingest=ingest or Ingest(),
        detect=detect or Detect(),
    )
    due = sum(min(fps, line.fps) for line in timelines(settings.cameras, settings).values())
    sink, stop = _LatencySink(), threading.Event()
    with quiet(), assemble(settings, run="bench", sink=sink) as site:
        daemon = threading.Thread(target=site.daemon.run, args=(stop,), name="bench daemon")
        daemon.start()

        def mark() -> _Mark:
            return _Mark(
                time.monotonic(),
                sum(site.daemon.progress.frames.values()),
                sum(map(cpu_s, family(os.getpid()))),
                len(sink.latency.samples),
                sum(memory_mb(pid)[1] for pid in family(os.getpid())),
            )

        try:
            end = time.monotonic() + _START_S
            while any(stats.state != "up" for stats in site.source.stats.values()):
                if time.monotonic() > end or not daemon.is_alive():
                    raise ReidStreamError(f"{cameras} cameras must come up within {_START_S:.0f} s, they did not")
                time.sleep(0.05)
            time.sleep(_SETTLE_S)
            if settings.ingest.gpu_frames:
                check_hardware(site.source.stats.values())
            first = mark()
            time.sleep(seconds)
            last = mark()
        finally:
            stop.set()
            daemon.join()
    passed = last.at - first.at
    used = (last.frames - first.frames) / (passed * due)
    delays = [seconds for _, seconds in sink.latency.samples[first.events : last.events]] or [0.0]
    p50, p95, p99 = (float(value) for value in np.percentile(delays, [50, 95, 99]))
    return LiveLoad(
        cameras=cameras,
        fps=fps,
        used=round(used, 4),
        p50_ms=round(p50 * 1e3, 1),
        p95_ms=round(p95 * 1e3, 1),
        p99_ms=round(p99 * 1e3, 1),
        cores=round((last.cpu_s - first.cpu_s) / passed, 2),
        memory_mb=round(last.memory_mb, 1),
        is_held=used >= LEAST_USED and p95 <= MOST_P95_S,
    )


def find_max(holds: Callable[[int], LiveLoad], first: int = 4, most: int = 256) -> list[LiveLoad]:
    """Search for the largest number of cameras that is held, by doubling and bisection; return all trials.

    Args:
        holds: tries a number of cameras.
        first: number to start with.
        most: upper bound.
    """
    tried: dict[int, LiveLoad] = {}

    def fits(cameras: int) -> bool:
        if cameras not in tried:
            tried[cameras] = holds(cameras)
        return tried[cameras].is_held

    low, high = 0, first
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return [tried[cameras] for cameras in sorted(tried)]


def show(loads: Sequence[LiveLoad]) -> None:
    """Print a table, the most that is held in bold."""
    from reid_stream.console.output import Output, Rows

    heads = ("cameras", "fps each", "used", "p50 ms", "p95 ms", "p99 ms", "cores", "MB", "")
    table = Rows(*heads, right=heads)
    held = [load.cameras for load in loads if load.is_held]
    for load in loads:
        table.add_row(
            str(load.cameras),
            f"{load.fps:g}",
            f"{100 * load.used:.1f} %",
            f"{load.p50_ms:.0f}",
            f"{load.p95_ms:.0f}",
            f"{load.p99_ms:.0f}",
            f"{load.cores:.2f}",
            f"{load.memory_mb:.0f}",
            "held" if load.is_held else "",
            style="bold" if held and load.cameras == max(held) else "",
        )
    Output().print(table)
