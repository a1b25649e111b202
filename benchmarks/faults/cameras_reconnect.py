"""Kill, freeze and replace an RTSP server: every camera comes back in time, and no resource leaks.

Memory, threads, sockets and files are those of this process and of the cameras' processes together.

"In time" is twice the longest wait of the backoff, from the moment the server listens again to the first frame.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.faults.camera_watch import CameraWatch, Footprint, camera, footprint, watching
from benchmarks.faults.report import DrillResult, figure, within
from benchmarks.rtsp.clips import RtspServer, changing_clip, serve_clips
from reid_stream.config.settings import Ingest

NAME = "reconnect"
SETTINGS = Ingest(open_timeout_s=3, read_timeout_s=1.5, backoff_first_s=0.25, backoff_max_s=2)
BOUND_S = 2 * SETTINGS.backoff_max_s
_DOWN_S = 0.7
_GIVE_UP_S = 30.0
_LEAK_MB = 8.0
"""Bound: allocators keep some freed memory; leaking a decoder per reconnect (1 MB at this size) is more."""


def run(*, is_short: bool, people: Callable[[], Path]) -> list[DrillResult]:  # noqa: ARG001 (as all drills)
    """Kill 20 times (3 if short), freeze, change size and codec; 60 reconnects of 3 cameras in all (9 if short)."""
    kills = 3 if is_short else 20
    lives = dict.fromkeys("abc", "320x240@10")
    with tempfile.TemporaryDirectory(prefix="reid-stream-drill-") as folder, serve_clips({}, lives=lives) as server:
        cameras = [camera(name, server.url(name)) for name in lives]
        with watching(cameras, SETTINGS) as site:
            first_s = site.until(site.are_up, _GIVE_UP_S)
            # The first connections fill FFmpeg's and the allocator's pools.
            warm = 1 if is_short else 5
            waits = [_kill(site, server) for _ in range(warm)]
            before = _settled(site)
            waits += [_kill(site, server) for _ in range(kills - warm)]
            after = _settled(site)
            reconnects = sum(stats.reconnects for stats in site.live.stats.values())
            frozen_s, thawed_s = _freeze(site, server)
            recoded_s = _recode(site, server)
            sizes = _change_size(site, server, Path(folder))
            names = {stats.codec for stats in site.live.stats.values()}
            has_ended = site.stop()
    return [
        figure(NAME, "first frame of all cameras", f"{first_s:.1f} s"),
        within(NAME, f"back after {kills} kills of the server, slowest", max(waits), BOUND_S, "s"),
        figure(NAME, "... median", f"{float(np.median(waits)):.1f} s"),
        within(NAME, "frozen (SIGSTOP): reported after", frozen_s, SETTINGS.read_timeout_s + 1, "s"),
        within(NAME, "... back after SIGCONT", thawed_s, BOUND_S, "s"),
        within(NAME, "back as H.265 of another size", recoded_s, BOUND_S, "s"),
        DrillResult(
            NAME, "size changes within a connection", sizes, "320x240 480x272 320x240, never down", _is_right(sizes)
        ),
        DrillResult(NAME, "codecs at the end", " ".join(sorted(names)), "h264 hevc", names == {"h264", "hevc"}),
        *_flat(before, after, reconnects),
        DrillResult(NAME, "threads of cameras that ended", "all" if has_ended else "not all", "all", has_ended),
    ]


def _kill(site: CameraWatch, server: RtspServer) -> float:
    """Kill and restart; return the seconds until all cameras deliver, from the moment the server listens."""
    server.kill()
    time.sleep(_DOWN_S)
    since = time.monotonic()
    server.start()
    listens = time.monotonic()
    site.until(lambda: site.are_up(since), _GIVE_UP_S)
    return time.monotonic() - listens


def _freeze(site: CameraWatch, server: RtspServer) -> tuple[float, float]:
    """Return the seconds until the last camera is reported down, and until all are back."""
    since = time.monotonic()
    server.freeze()
    down_s = site.until(lambda: all(stats.state != "up" for stats in site.live.stats.values()), _GIVE_UP_S)
    time.sleep(_DOWN_S)
    server.thaw()
    return down_s, site.until(lambda: site.are_up(since), _GIVE_UP_S)


def _recode(site: CameraWatch, server: RtspServer) -> float:
    """Come back with another size, one camera with another codec, too."""
    server.lives = {"a": "480x272@10:h265", "b": "480x272@10", "c": "320x240@10"}
    server.kill()
    since = time.monotonic()
    server.start()
    listens = time.monotonic()

    def is_other() -> bool:
        a, b = site.stats("a"), site.stats("b")
        return site.are_up(since) and a.codec == "hevc" and a.size == b.size == (480, 272)

    site.until(is_other, _GIVE_UP_S)
    return time.monotonic() - listens


def _change_size(site: CameraWatch, server: RtspServer, folder: Path) -> str:
    """Serve a clip whose parameter sets change twice; return the sizes, and `down` if the camera went down."""
    clip = changing_clip(folder / "changing.ts", [(320, 240), (480, 272), (320, 240)], seconds=2)
    server.clips, server.lives = {"c": str(clip)}, {name: live for name, live in server.lives.items() if name != "c"}
    server.kill()
    site.until(lambda: site.stats("c").state != "up", _GIVE_UP_S)
    server.start()
    site.until(lambda: site.stats("c").state == "up", _GIVE_UP_S)
    begin = len(site.seen)
    # Over before the clip ends and its connection with it.
    site.until(lambda: len(site.of("c", begin)) >= 50 or site.stats("c").state != "up", _GIVE_UP_S)
    sizes = ["x".join(map(str, seen.size)) for seen in site.of("c", begin)]
    changes = [size for n, size in enumerate(sizes) if n == 0 or sizes[n - 1] != size]
    return " ".join([*changes, *(["down"] if site.stats("c").state != "up" else [])])


def _is_right(sizes: str) -> bool:
    return sizes == "320x240 480x272 320x240"


def _settled(site: CameraWatch) -> Footprint:
    """Return the least of several samples: a frame in transit holds a file for a moment."""
    looks = []
    for _ in range(10):
        looks.append(footprint(*site.processes))
        time.sleep(0.07)
    return Footprint(
        min(look.rss_mb for look in looks),
        min(look.threads for look in looks),
        min(look.sockets for look in looks),
        min(look.files for look in looks),
    )


def _flat(before: Footprint, after: Footprint, reconnects: int) -> list[DrillResult]:
    return [
        within(NAME, f"memory grown over {reconnects} reconnects", after.rss_mb - before.rss_mb, _LEAK_MB, "MB"),
        within(NAME, "... threads", after.threads - before.threads, 0, digits=0),
        within(NAME, "... sockets", after.sockets - before.sockets, 0, digits=0),
        within(NAME, "... open files", after.files - before.files, 0, digits=0),
    ]
