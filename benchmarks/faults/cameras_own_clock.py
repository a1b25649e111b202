"""Set the system's clock by seconds to an hour while cameras are read: no frame is lost, capture times continue.

One camera sends its time (RTCP); the other's is two hours off, so its frames are stamped on arrival.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.faults.camera_watch import CameraWatch, camera, watching
from benchmarks.faults.daemon_run import is_up, until, whole_daemon
from benchmarks.faults.report import DrillResult, within
from benchmarks.rtsp.clips import serve_clips
from benchmarks.rtsp.wire import BadWire
from reid_stream.config.settings import Ingest, Settings
from reid_stream.events import DaemonClockSet, IdentityEntered, IdentityLeft, IdentitySeen
from reid_stream.ingest.site_clock import SiteClock

NAME = "own-clock"
FPS = 10
STEPS_S = (-3600.0, -90.0, -3.0, 3.0, 3600.0)
_REPORT_S = 20.0
"""Longest wait for a sender report: about every 5 s, drawn by chance (RFC 3550, 6.3)."""
_OFF_S = 7200.0
_GIVE_UP_S = 30.0


class SettableClock:
    """The system's clock, which can be set forward and back."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:  # noqa: D102
        return time.time() + self.ahead_s


def run(*, is_short: bool, people: Callable[[], Path]) -> list[DrillResult]:  # noqa: ARG001 (as all drills)
    """Set the clock by one step after the other and watch for 10 s each (3 s if short)."""
    look_s = 3.0 if is_short else 10.0
    lives = dict.fromkeys("ab", f"320x240@{FPS}")
    system = SettableClock()
    findings: list[DrillResult] = []
    with serve_clips({}, lives=lives) as server, BadWire(server.port, shift_s=_OFF_S) as wire:
        cameras = [
            camera("a", server.url("a"), max_fps=FPS),
            camera("b", wire.url("b"), transport="udp", max_fps=FPS),
        ]
        with watching(cameras, Ingest(isolate=False), system) as site:
            site.until(site.are_up, _GIVE_UP_S)
            site.until(lambda: site.stats("a").clock == "rtcp", _REPORT_S)
            clock = site.live.site_clock
            for step_s in STEPS_S:
                findings += _step(site, clock, system, step_s, look_s)
            steps = [stats.clock_steps for stats in site.live.stats.values()]
            downs = len(site.downs("a")) + len(site.downs("b"))
            times = {name: [one.captured_at for one in site.of(name)] for name in lives}
    findings.append(
        DrillResult(NAME, "steps noticed by each camera", " ".join(map(str, steps)), "5 5", steps == [len(STEPS_S)] * 2)
    )
    findings.append(within(NAME, "times down", downs, 0, digits=0))
    findings += _visits(look_s)
    for name, captured in times.items():
        least_ms, most_ms = (float(step) * 1e3 for step in (np.diff(captured).min(), np.diff(captured).max()))
        findings.append(
            DrillResult(NAME, f"{name}: smallest step of its times", f"{least_ms:.1f} ms", "> 0", least_ms > 0)
        )
        findings.append(within(NAME, "... longest", most_ms, 1000.0, "ms", 0))
    return findings


def _visits(look_s: float) -> list[DrillResult]:
    """Let one person stand before two cameras of the whole daemon while its clock is set."""
    system = SettableClock()
    lives = dict.fromkeys("ab", f"320x240@{FPS}")
    with serve_clips({}, lives=lives) as server:
        settings = Settings.model_validate(
            {
                "cameras": [{"id": name, "url": server.url(name)} for name in lives],
                "publish": {"seen_interval_s": 0.2},
                "ingest": {"isolate": False},
                "observe": {"port": None},
            }
        )
        with whole_daemon(settings, has_networks=False, clock=SiteClock(system)) as (site, events):
            until(lambda: is_up(site, *lives))
            until(lambda: sum(isinstance(event, IdentityEntered) for _, event in events.received) >= len(lives))
            begin = len(events.received)
            off_s = []
            for step_s in STEPS_S:
                system.ahead_s += step_s
                time.sleep(look_s)
                last = [event.seen_at for _, event in events.received[begin:] if isinstance(event, IdentitySeen)][-1]
                off_s.append(abs(last - system()))
            received = [event for _, event in events.received[begin:]]
    people = {event.person for _, event in events.received if isinstance(event, IdentityEntered)}
    news = sum(isinstance(event, DaemonClockSet) for event in received)
    left = sum(isinstance(event, IdentityLeft) for event in received)
    return [
        within(NAME, "visits ended by it", left, 0, digits=0),
        DrillResult(NAME, "steps reported by an event", f"{news}", f"{len(STEPS_S)}", news == len(STEPS_S)),
        within(NAME, "IDs given to one person", len(people), 1, digits=0),
        within(NAME, "events' times minus the system's, worst", max(off_s), 1.0, "s", 2),
    ]


def _step(
    site: CameraWatch, clock: SiteClock, system: SettableClock, step_s: float, look_s: float
) -> list[DrillResult]:
    begin = len(site.seen)
    system.ahead_s += step_s
    time.sleep(look_s)
    lost = [max(0.0, look_s * FPS - len(site.of(name, begin))) for name in "ab"]
    newest = site.of("b")[-1]
    off_s = clock.to_utc(newest.captured_at) - (newest.at + system.ahead_s)
    return [
        within(
            NAME, f"clock set by {step_s:+.0f} s: frames lost of {look_s * FPS:.0f}, worst", max(lost), FPS, digits=0
        ),
        within(NAME, "... capture time in UTC minus the system's", abs(off_s) * 1e3, 1e3, "ms", 0),
    ]
