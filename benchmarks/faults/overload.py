"""Overload drill: with too many cameras rates stay even, latency bounded, memory flat, and events say so.

One clip is played by all cameras at its own pace, through the real networks; in the short form, 24 cameras on threads
and stand-ins that take so long per frame that the load is 8 times too high. A tenth of the cameras has priority 2. Then
most cameras are removed, and the rest must get all their frames again.
"""

import os
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from benchmarks.faults.daemon_run import Events, until, whole_daemon
from benchmarks.faults.report import DrillResult, at_least, figure, within
from reid_stream.assembly.site import Site
from reid_stream.bench.procfs import family, memory_mb
from reid_stream.config.settings import Settings
from reid_stream.evaluation.delay import FrameLatency
from reid_stream.events import DaemonOverloaded, DaemonRecovered
from reid_stream.ingest.camera_set import CameraSet
from reid_stream.records import CameraId
from reid_stream.runtime.perception_thread import PerceptionThread

NAME = "overload"
FPS = 10
_TIMES = 8
"""Overload factor of the short form."""
_LEFT = 1
"""Cameras that remain at the end."""
_UP_S = 120.0
_RECOVER_S = 60.0
LATEST_S = 2.0
"""Bound for the 99th percentile of the time from a frame to its event."""
EVEN = 0.8
"""Bounds for a camera's rate as a share of the mean of its priority class."""
_GROWTH_MB = 0.05
"""Bound for the growth of memory from the second quarter to the last, as a share."""


def run(
    *,
    is_short: bool,
    people: Callable[[], Path],
    cameras: int | None = None,
    seconds: float | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[DrillResult]:
    """Run it: 100 cameras for 10 minutes, or 24 for 8 s if short."""
    count = cameras or (24 if is_short else 100)
    lasts_s = seconds or (8.0 if is_short else 600.0)
    settings = _settings(people(), count, isolate=not is_short)
    frame_s = _TIMES / (FPS * count)
    names = [CameraId(camera.id) for camera in settings.cameras]
    with whole_daemon(settings, has_networks=not is_short, frame_s=frame_s) as (site, sink):
        until(lambda: sum(stats.state == "up" for stats in site.source.stats.values()) == count, _UP_S)
        until(lambda: bool(_news(sink, DaemonOverloaded)), lasts_s)
        progress(f"{count} cameras are up")
        watched = _watch(site, lasts_s, progress)
        began, ended = watched[0][0], watched[-1][0]
        lates = _latencies(sink, began, ended)
        recovered_s = _take_away(site, sink, names[_LEFT:])
    used = {name: watched[-1][1].get(name, 0) - watched[0][1].get(name, 0) for name in names}
    return [
        *_rates(settings, used, ended - began, sink),
        *_latency(lates, began, ended),
        *_memory([memory for _, _, memory in watched]),
        at_least(NAME, "overload was reported", len(_news(sink, DaemonOverloaded)), 1, digits=0),
        within(NAME, f"all but {_LEFT} cameras taken away: recovery reported after", recovered_s, _RECOVER_S, "s"),
    ]


def _settings(clip: Path, count: int, *, isolate: bool) -> Settings:
    return Settings.model_validate(
        {
            "site": "overload",
            "workers": 1,
            "ingest": {"isolate": isolate},
            "cameras": [
                {
                    "id": f"cam{n:03d}",
                    "url": str(clip),
                    "loop": True,
                    "max_fps": FPS,
                    "priority": 2 if n % 10 == 5 else 1,
                    # Not in step with each other, like real cameras.
                    "start_after_s": round(n / count, 3),
                }
                for n in range(count)
            ],
            "observe": {"port": None},
        }
    )


def _watch(
    site: Site, lasts_s: float, progress: Callable[[str], None]
) -> list[tuple[float, dict[CameraId, int], float]]:
    """Sample (UTC, frames used so far by camera, memory in MB) until the time has passed."""
    seen = []
    end = time.monotonic() + lasts_s
    every_s = max(1.0, lasts_s / 60)
    while True:
        seen.append(
            (time.time(), dict(site.daemon.progress.frames), sum(memory_mb(one)[1] for one in family(os.getpid())))
        )
        if len(seen) % 10 == 0:
            progress(f"{sum(seen[-1][1].values())} frames, {seen[-1][2]:.0f} MB")
        if time.monotonic() >= end:
            return seen
        time.sleep(every_s)


def _take_away(site: Site, sink: Events, names: Sequence[CameraId]) -> float:
    """Return the seconds until the daemon reports recovery."""
    perception = site.daemon.perception
    assert isinstance(perception, PerceptionThread)
    assert isinstance(perception.source, CameraSet)
    for thread in perception.source.threads:
        if thread.stats.camera in names:
            thread.stop()
    began = time.monotonic()
    until(lambda: bool(_news(sink, DaemonRecovered)), _RECOVER_S)
    return time.monotonic() - began


def _news(sink: Events, kind: type) -> list[object]:
    return [event for _, event in list(sink.received) if isinstance(event, kind)]


def _latencies(sink: Events, began: float, ended: float) -> list[tuple[float, float]]:
    """Return (UTC seconds of publication, latency in seconds) of the frames published in [began, ended]."""
    latency = FrameLatency()
    for at, published in groupby(list(sink.received), key=lambda entry: entry[0]):
        latency.add(at, [event for _, event in published])
    return [(at, seconds) for at, seconds in latency.samples if began <= at <= ended]


def _rates(settings: Settings, used: dict[CameraId, int], seconds: float, sink: Events) -> list[DrillResult]:
    fps = sum(used.values()) / seconds
    findings = [figure(NAME, f"{len(used)} cameras at {FPS} fps: overload", f"{FPS * len(used) / max(fps, 1e-9):.1f}x")]
    means = {}
    for priority in (1, 2):
        mine = [used[CameraId(camera.id)] for camera in settings.cameras if camera.priority == priority]
        if not mine:
            continue
        means[priority] = mean = max(float(np.mean(mine)), 1e-9)
        findings += [
            figure(NAME, f"priority {priority}: frames per second of a camera", f"{mean / seconds:.2f}"),
            at_least(NAME, "... the least of the mean", min(mine) / mean, EVEN, digits=2),
            within(NAME, "... the most of the mean", max(mine) / mean, 2 - EVEN, digits=2),
        ]
    if len(means) == 2:
        findings.append(at_least(NAME, "priority 2 beside 1", means[2] / means[1], 1.5, digits=2))
    first = next((event for _, event in sink.received if isinstance(event, DaemonOverloaded)), None)
    if first is not None:
        findings.append(
            figure(NAME, "reported when it started", f"{first.used_fps:.1f} of {first.wanted_fps:.0f} frames/s")
        )
    return findings


def _latency(lates: list[tuple[float, float]], began: float, ended: float) -> list[DrillResult]:
    if not lates:
        return [within(NAME, "no person was seen: frame to event", float("inf"), LATEST_S, "s")]
    p50, p95, p99 = (float(np.percentile([late for _, late in lates], q)) for q in (50, 95, 99))
    quarter = (ended - began) / 4
    parts = [
        [late for at, late in lates if low <= at - began < low + quarter] or [0.0] for low in (quarter, 3 * quarter)
    ]
    change = float(np.percentile(parts[1], 95)) / max(float(np.percentile(parts[0], 95)), 1e-3)
    return [
        figure(NAME, "frame to event, p50 and p95", f"{p50 * 1000:.0f} and {p95 * 1000:.0f} ms"),
        within(NAME, "... p99", p99, LATEST_S, "s", digits=2),
        within(NAME, "... p95 of the last quarter beside the second's", change, 1.5, digits=2),
    ]


def _memory(values: Sequence[float]) -> list[DrillResult]:
    quarter = max(1, len(values) // 4)
    before, after = float(np.median(values[quarter : 2 * quarter])), float(np.median(values[-quarter:]))
    return [
        figure(NAME, "memory with all cameras' processes (PSS)", f"{after:.0f} MB"),
        within(NAME, "... last quarter beside the second", after / before, 1 + _GROWTH_MB, digits=3),
    ]
