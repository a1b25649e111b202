"""Silence all cameras at once for 3 to 15 s, as a switch that restarts: the whole daemon continues.

The RTSP server is frozen (SIGSTOP): connections stay open, nothing is sent. The two networks are replaced by stand-ins.
"""

import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults.daemon_run import Events, is_up, until, whole_daemon
from benchmarks.faults.report import DrillResult, figure, within
from benchmarks.rtsp.clips import serve_clips
from reid_stream.assembly.site import Site
from reid_stream.config.settings import Settings
from reid_stream.events import CameraDown, DaemonOverloaded, DaemonStopped

NAME = "freeze"
NAMES = ("a", "b", "c")
FREEZES_S = (3.0, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 10.0, 12.5, 15.0)
SHORT_FREEZES_S = (11.5,)
"""Longer than the two windows without any frame due (5 to 7.5 s) and than the cameras' time-out (10 s)."""
_BACK_S = 15.0


def run(*, is_short: bool, people: Callable[[], Path]) -> list[DrillResult]:  # noqa: ARG001 (as all drills)
    """Freeze three cameras ten times for 3 to 15 s (once for 11.5 s if short)."""
    findings: list[DrillResult] = []
    overloads = 0
    with serve_clips({}, lives=dict.fromkeys(NAMES, "320x240@5")) as server:
        settings = Settings.model_validate(
            {
                "cameras": [{"id": name, "url": server.url(name), "max_fps": None} for name in NAMES],
                "ingest": {"backoff_first_s": 0.25, "backoff_max_s": 2},
                "observe": {"port": None},
            }
        )
        limit_s = settings.ingest.read_timeout_s
        with whole_daemon(settings, has_networks=False) as (site, events):
            until(lambda: is_up(site, *NAMES))
            for freeze_s in SHORT_FREEZES_S if is_short else FREEZES_S:
                # The overload watch must first learn the cameras' normal rate.
                time.sleep(3.0)
                begin = len(events.received)
                frozen_at = time.time()
                server.freeze()
                time.sleep(freeze_s)
                is_alive = _is_alive(site, events)
                # What waits in the server comes in a burst once it continues, which may be an overload for a moment.
                overloads += sum(isinstance(event, DaemonOverloaded) for _, event in events.received[begin:])
                server.thaw()
                findings.append(
                    DrillResult(NAME, f"{freeze_s:g} s: the daemon is", _state(is_alive), "alive", is_alive)
                )
                if freeze_s >= limit_s + 1:
                    downs_s = [at - frozen_at for at, event in events.received[begin:] if isinstance(event, CameraDown)]
                    findings += [
                        DrillResult(
                            NAME,
                            "... cameras reported down",
                            f"{len(downs_s)}",
                            f"{len(NAMES)}",
                            len(downs_s) == len(NAMES),
                        ),
                        within(NAME, "... the last after", max(downs_s, default=float("inf")), limit_s + 1, "s"),
                    ]
                findings.append(within(NAME, "... all deliver again after", _back_s(site), _BACK_S, "s"))
            is_alive = _is_alive(site, events)
            faults = site.metrics.monitoring.total
    return [
        *findings,
        DrillResult(NAME, "at the end the daemon is", _state(is_alive), "alive", is_alive),
        within(NAME, "silence reported as overload", overloads, 0, digits=0),
        within(NAME, "faults of monitoring code", faults, 0, digits=0),
        figure(NAME, "cameras", len(NAMES)),
    ]


def _is_alive(site: Site, events: Events) -> bool:
    return not site.daemon.has_failed and not any(
        isinstance(event, DaemonStopped) for _, event in list(events.received)
    )


def _state(is_alive: bool) -> str:
    return "alive" if is_alive else "dead"


def _back_s(site: Site) -> float:
    """Return the seconds until every camera's frames pass the pipeline again; infinity if they do not."""
    began, before = time.monotonic(), dict(site.daemon.progress.frames)

    def are_back() -> bool:
        frames = site.daemon.progress.frames
        return all(frames.get(camera, 0) > before.get(camera, 0) + 1 for camera in site.source.stats)

    return time.monotonic() - began if until(are_back, 2 * _BACK_S) else float("inf")
