"""Drill: the only camera is a URL whose video ends; the daemon must reconnect each time.

An end of a network camera's video is an interruption, which ends neither the camera nor the daemon. Only a camera that
is a path is a file, which ends for good. Detector and embedder are replaced by stubs.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults.daemon_run import until, whole_daemon
from benchmarks.faults.report import DrillResult, at_least, within
from benchmarks.rtsp.clips import draw_clip
from benchmarks.rtsp.web import WebCamera, whole
from reid_stream.config.settings import Settings
from reid_stream.events import CameraDown, CameraUp, DaemonStopped

NAME = "finite"
_CLIP_S, _FPS = 2.0, 10
_TIMES, _SHORT_TIMES = 20, 3
_EACH_S = 15.0
"""Longest for a clip to play and the next connection, on a busy machine."""


def run(*, is_short: bool, people: Callable[[], Path]) -> list[DrillResult]:  # noqa: ARG001 (as all drills)
    """Let the camera end 20 times (3 if short)."""
    times = _SHORT_TIMES if is_short else _TIMES
    with tempfile.TemporaryDirectory(prefix="reid-stream-drill-") as folder:
        clip = draw_clip(Path(folder) / "clip.mp4", seconds=_CLIP_S, fps=_FPS)
        with WebCamera({"/clip.mp4": whole(clip)}) as web:
            settings = Settings.model_validate(
                {
                    "cameras": [{"id": "a", "url": web.url("/clip.mp4"), "max_fps": None}],
                    "ingest": {"backoff_first_s": 0.25, "backoff_max_s": 1},
                    "observe": {"port": None},
                }
            )
            with whole_daemon(settings, has_networks=False) as (site, events):

                def count(kind: type[CameraUp] | type[CameraDown]) -> int:
                    return sum(isinstance(event, kind) for _, event in list(events.received))

                began = time.monotonic()
                until(lambda: count(CameraDown) >= times and count(CameraUp) > times, times * _EACH_S)
                each_s = (time.monotonic() - began) / max(count(CameraDown), 1)
                stopped = sum(isinstance(event, DaemonStopped) for _, event in list(events.received))
                states = {stats.state for stats in site.source.stats.values()}
                frames = sum(site.daemon.progress.frames.values())
                is_alive = not stopped and not site.daemon.has_failed
    return [
        at_least(NAME, "ends of the video", count(CameraDown), times, digits=0),
        at_least(NAME, "connections that delivered", count(CameraUp), times + 1, digits=0),
        at_least(NAME, "frames used", frames, times, digits=0),
        within(NAME, "seconds from one end to the next", each_s, _EACH_S, "s"),
        DrillResult(NAME, "the camera has ended for good", str("ended" in states), "False", "ended" not in states),
        DrillResult(NAME, "at the end the daemon is", "alive" if is_alive else "dead", "alive", is_alive),
    ]
