"""Compare capture times with the truth: the images show when they were taken.

Two cameras of one server: `a` over TCP, `b` over UDP through a wire that can shift the wall clock in its RTCP reports,
as an NTP step of that camera would. The clock of this machine is stepped, too.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.faults.camera_watch import CameraWatch, ReceivedFrame, camera, watching
from benchmarks.faults.cameras_own_clock import SettableClock
from benchmarks.faults.report import DrillResult, at_least, within
from benchmarks.rtsp.clips import serve_clips
from benchmarks.rtsp.wire import BadWire
from reid_stream.config.settings import Ingest
from reid_stream.ingest.stats import clock_spread

NAME = "clock"
FPS = 10
FRAME_MS = 1e3 / FPS
STEP_S = 2.0
_REPORT_S = 20.0
"""Longest wait for a sender report: about every 5 s, drawn by chance (RFC 3550, 6.3)."""


def run(*, is_short: bool, people: Callable[[], Path]) -> list[DrillResult]:  # noqa: ARG001 (as all drills)
    """Measure with all clocks correct, with `b` stepped forward (and back if not short), and the own one stepped."""
    look_s = 1.5 if is_short else 10.0
    lives = dict.fromkeys("ab", f"320x240@{FPS}")
    ours = SettableClock()
    findings: list[DrillResult] = []
    with serve_clips({}, lives=lives) as server, BadWire(server.port) as wire:
        cameras = [camera("a", server.url("a")), camera("b", wire.url("b"), transport="udp")]
        with watching(cameras, Ingest(isolate=False), ours) as site:
            site.until(lambda: all(stats.clock == "rtcp" for stats in site.live.stats.values()), _REPORT_S)
            findings += _measure(site, "all clocks correct", look_s, ahead_s=0.0)
            wire.shift_s = STEP_S
            _reported(site, STEP_S)
            findings += _measure(site, f"camera b stepped by {STEP_S:+.0f} s", look_s, ahead_s=STEP_S)
            if not is_short:
                wire.shift_s = 0.0
                _reported(site, 0.0)
                findings += _measure(site, f"camera b stepped by {-STEP_S:+.0f} s", look_s, ahead_s=0.0)
            ahead_s = wire.shift_s
            for step_s in (STEP_S, -STEP_S):
                ours.ahead_s += step_s
                findings += _measure(site, f"own clock stepped by {step_s:+.0f} s", look_s, ahead_s=ahead_s)
            steps = sum(stats.clock_steps for stats in site.live.stats.values())
            findings.append(DrillResult(NAME, "steps of the own clock that were noticed", f"{steps}", "4", steps == 4))
            seen = list(site.seen)
    for name in lives:
        times = [one.captured_at for one in seen if one.camera == name]
        findings.append(
            at_least(NAME, f"{name}: smallest step of its times", float(np.diff(times).min() * 1e3), 0.5, "ms")
        )
    return findings


def _measure(site: CameraWatch, when: str, look_s: float, *, ahead_s: float) -> list[DrillResult]:
    """Watch for `look_s`; `ahead_s`: true offset of the clock of `b` to that of `a`."""
    # After a step back the camera's time runs at half speed until the two agree.
    time.sleep(STEP_S / 0.5 if "-" in when else 0.3)
    begin = len(site.seen)
    time.sleep(look_s)
    skews = {name: stats.skew_s for name, stats in site.live.stats.items()}
    apart = clock_spread(skews)
    found_s = 0.0 if apart is None else apart.by_s if apart.ahead == "b" else -apart.by_s
    return [
        within(NAME, f"{when}: a, capture time minus the image's", _worst_ms(site.of("a", begin), 0.0), FRAME_MS, "ms"),
        within(NAME, "... b", _worst_ms(site.of("b", begin), ahead_s), FRAME_MS, "ms"),
        within(NAME, "... skew of b to a, error", abs(found_s - ahead_s) * 1e3, FRAME_MS, "ms"),
        DrillResult(NAME, "... clocks", _clocks(site, begin), "rtcp", _clocks(site, begin) == "rtcp"),
    ]


def _reported(site: CameraWatch, skew_s: float) -> float:
    """Wait until the shifted report has come; return the seconds."""

    def is_there() -> bool:
        skew = site.stats("b").skew_s
        return skew is not None and abs(skew - skew_s) < STEP_S / 2

    return site.until(is_there, _REPORT_S)


def _worst_ms(seen: Sequence[ReceivedFrame], ahead_s: float) -> float:
    """95th percentile of the errors of capture times, milliseconds; infinity if no image could be read."""
    errors = [abs(one.captured_at - ahead_s - one.written_at) for one in seen if one.written_at is not None]
    return float(np.percentile(errors, 95)) * 1e3 if errors else float("inf")


def _clocks(site: CameraWatch, begin: int) -> str:
    return " ".join(sorted({seen.clock for seen in site.seen[begin:]}))
