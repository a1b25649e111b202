"""Crash and hang a decoder: its camera comes back, the others are not affected.

Signals simulate bugs: SIGSEGV ends a process as a native crash does, SIGSTOP leaves it hanging.
The cost of isolation is measured, too: private memory of a process, and CPU time for a full HD frame.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.faults.camera_watch import CameraWatch, camera, watching
from benchmarks.faults.report import DrillResult, figure, within
from benchmarks.rtsp.clips import serve_clips
from reid_stream.config.settings import Ingest
from reid_stream.ingest import frame_ipc
from reid_stream.ingest.camera_process import STUCK_S, CameraProcess
from reid_stream.ingest.stats import CameraStats
from reid_stream.records import CameraId, Frame

NAME = "crash"
FPS = 10
SETTINGS = Ingest(open_timeout_s=3, read_timeout_s=1.5, backoff_first_s=0.25, backoff_max_s=2)
BOUND_S = 2 * SETTINGS.backoff_max_s
_GIVE_UP_S = 30.0


def run(*, is_short: bool, people: Callable[[], Path]) -> list[DrillResult]:  # noqa: ARG001 (as all drills)
    """Crash the decoder of one of three cameras 10 times (twice if short), and, if not short, hang it once."""
    crashes = 2 if is_short else 10
    lives = dict.fromkeys("abc", f"320x240@{FPS}")
    stuck: list[DrillResult] = []
    with serve_clips({}, lives=lives) as server:
        with watching([camera(name, server.url(name)) for name in lives], SETTINGS) as site:
            site.until(site.are_up, _GIVE_UP_S)
            site.until(lambda: all(stats.clock == "rtcp" for stats in site.live.stats.values()), _GIVE_UP_S)
            begin = len(site.seen)
            waits = [_signal(site, signal.SIGSEGV, _GIVE_UP_S) for _ in range(crashes)]
            reasons = {change.reason for _, change in site.downs("a")}
            if not is_short:
                stuck_s = _signal(site, signal.SIGSTOP, _GIVE_UP_S)
                stuck = [within(NAME, "... after it hung", stuck_s, STUCK_S + BOUND_S, "s")]
            seen = site.seen[begin:]
            downs = sum(len(site.downs(name)) for name in "bc")
            failures = dict(site.stats("a").failures)
            private_mb = float(np.mean([_private_mb(pid) for pid in site.processes]))
        times = [one.captured_at for one in seen if one.camera == "a"]
    gaps = [_longest_s([one.captured_at for one in seen if one.camera == name]) for name in "bc"]
    return [
        within(NAME, f"back after {crashes} crashes of its decoder, slowest", max(waits), BOUND_S, "s"),
        *stuck,
        figure(NAME, "... in the metrics", ", ".join(f"{cause} {count}" for cause, count in failures.items())),
        DrillResult(
            NAME, "... in the events", "; ".join(reasons), "crashed", all("crashed" in reason for reason in reasons)
        ),
        DrillResult(NAME, "... its times", "rise" if _rise(times) else "go back", "rise", _rise(times)),
        within(NAME, "the other cameras: longest time without a frame", max(gaps), 2.5 / FPS, "s", 2, is_speed=True),
        within(NAME, "... times down", downs, 0, digits=0),
        figure(NAME, "cost: private memory of a camera's process", f"{private_mb:.1f} MB"),
        figure(NAME, "... CPU time to hand over a full HD frame", f"{_handover_s() * 1e3:.1f} ms"),
    ]


def _signal(site: CameraWatch, number: signal.Signals, most_s: float) -> float:
    """Send a signal to the decoder of `a`; return the seconds until its next frame; then let it run for a moment."""
    (thread,) = (thread for thread in site.live.threads if thread.stats.camera == "a")
    assert isinstance(thread, CameraProcess)
    process = thread.process
    assert process is not None
    assert process.pid is not None
    since = time.monotonic()
    os.kill(process.pid, number)
    site.until(lambda: site.stats("a").state != "up", most_s)
    begin = len(site.seen)
    site.until(lambda: bool(site.of("a", begin)), most_s)
    back_s = time.monotonic() - since
    site.until(lambda: len(site.of("a", begin)) > FPS / 2, most_s)
    return back_s


def _private_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("Private_"))


def _handover_s(frames: int = 30) -> float:
    """Return the CPU time of both sides together."""
    near, far = frame_ipc.pair()
    name = CameraId("a")
    frame = Frame(name, 0, 0.0, "rtcp", np.full((1080, 1920, 3), 7, np.uint8))
    stats = CameraStats(name, "rtsp://127.0.0.1/a")
    with near, far:
        began = time.process_time()
        for _ in range(frames):
            frame_ipc.send_frame(far, frame, stats)
            frame_ipc.receive(near)
        return (time.process_time() - began) / frames


def _longest_s(times: list[float]) -> float:
    return float(np.diff(times).max()) if len(times) > 1 else float("inf")


def _rise(times: list[float]) -> bool:
    return len(times) > 1 and bool((np.diff(times) > 0).all())
