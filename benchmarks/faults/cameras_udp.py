"""RTSP over UDP through a bad network: 5 % of the packets lost, 50 ms of jitter, packets out of order.

The camera stays up, events are sane, and every image is accounted for: used, dropped for a cause, or never received.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.faults.daemon_run import is_up, until, whole_daemon
from benchmarks.faults.report import DrillResult, at_least, figure, within
from benchmarks.rtsp.clips import draw_clip, loop_clip, serve_clips
from benchmarks.rtsp.wire import BadWire
from reid_stream.assembly.site import Site
from reid_stream.config.settings import Settings
from reid_stream.events import Event, IdentityEntered, IdentityLeft, IdentitySeen
from reid_stream.ingest.stats import CameraStats

NAME = "udp"
LOSS = 0.05
JITTER_S = 0.05
FPS = 10


def run(*, is_short: bool, people: Callable[[], Path]) -> list[DrillResult]:
    """Watch for 120 s (8 s with stand-ins for the networks if short)."""
    seconds = 8.0 if is_short else 120.0
    with tempfile.TemporaryDirectory(prefix="reid-stream-drill-") as name:
        clip = Path(name) / "clip.mp4"
        if is_short:
            draw_clip(clip, seconds=seconds + 40, fps=FPS, size=(640, 480), is_busy=True)
        else:
            loop_clip(people(), clip, seconds=seconds + 40, fps=FPS)
        with serve_clips({"a": clip}) as server, BadWire(server.port, loss=LOSS, jitter_s=JITTER_S) as wire:
            settings = Settings.model_validate(
                {
                    "cameras": [{"id": "a", "url": wire.url("a"), "transport": "udp", "max_fps": None}],
                    "observe": {"port": None},
                }
            )
            with whole_daemon(settings, has_networks=not is_short) as (site, events):
                until(lambda: is_up(site, "a"))
                until(lambda: _stats(site).clock == "rtcp")
                before, began = _accounts(_stats(site)), time.monotonic()
                time.sleep(seconds)
                after, passed_s = _accounts(_stats(site)), time.monotonic() - began
                is_running, reconnects = is_up(site, "a"), _stats(site).reconnects
            counts = wire.counts
    accounts = {cause: after[cause] - before[cause] for cause in after}
    expected = passed_s * FPS
    return [
        DrillResult(NAME, "camera after all", "up" if is_running else "down", "up", is_running),
        within(NAME, "... reconnects", reconnects, 0, digits=0),
        figure(NAME, "packets sent, lost, reordered", f"{counts.sent}, {counts.lost}, {counts.overtaken}"),
        figure(NAME, "images", ", ".join(f"{cause} {count}" for cause, count in accounts.items())),
        within(NAME, "... unaccounted for", 100 * abs(expected - sum(accounts.values())) / expected, 5, "%"),
        at_least(NAME, "... counted as corrupt or lost", accounts["corrupt"] + accounts["lost"], 1, digits=0),
        _sane([event for _, event in events.received]),
    ]


def _stats(site: Site) -> CameraStats:
    (stats,) = site.source.stats.values()
    return stats


def _accounts(stats: CameraStats) -> dict[str, int]:
    return {"decoded whole": stats.read, "corrupt": stats.dropped["corrupt"], "lost": stats.dropped["lost"]}


def _sane(events: Sequence[Event]) -> DrillResult:
    """Check that visits start once and end once, times rise and boxes lie in the image."""
    faults: list[str] = []
    inside: Counter[str] = Counter()
    last: dict[str, float] = {}
    sightings = 0
    for event in events:
        if isinstance(event, IdentityEntered):
            inside[event.person] += 1
        elif isinstance(event, IdentityLeft):
            inside[event.person] -= 1
        if isinstance(event, IdentityEntered | IdentitySeen):
            sightings += 1
            x1, y1, x2, y2 = event.box
            width, height = event.frame_size
            if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
                faults.append(f"a box outside of the image: {event.box}")
            if event.seen_at <= last.get(event.person, 0.0):
                faults.append(f"{event.person} seen at {event.seen_at} after {last[event.person]}")
            last[event.person] = event.seen_at
        if set(inside.values()) - {0, 1}:
            faults.append("a visit that started twice or ended without a start")
            break
    if any(inside.values()):
        faults.append("a visit that never ended")
    if not sightings:
        faults.append("no person was seen")
    return DrillResult(NAME, f"faults in {len(events)} events", "; ".join(faults[:3]) or "none", "none", not faults)
