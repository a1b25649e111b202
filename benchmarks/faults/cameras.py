"""All camera drills, one after another: `python -m benchmarks drill cameras [NAME ...] [--short]`."""

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.faults import (
    cameras_clock,
    cameras_crash,
    cameras_finite,
    cameras_freeze,
    cameras_hot,
    cameras_own_clock,
    cameras_reconnect,
    cameras_sick,
    cameras_udp,
)
from benchmarks.faults.report import DrillResult
from benchmarks.rtsp.clips import why_not
from reid_stream.errors import ConfigError

DRILLS: dict[str, Callable[..., list[DrillResult]]] = {
    cameras_reconnect.NAME: cameras_reconnect.run,
    cameras_sick.NAME: cameras_sick.run,
    cameras_udp.NAME: cameras_udp.run,
    cameras_crash.NAME: cameras_crash.run,
    cameras_clock.NAME: cameras_clock.run,
    cameras_own_clock.NAME: cameras_own_clock.run,
    cameras_freeze.NAME: cameras_freeze.run,
    cameras_finite.NAME: cameras_finite.run,
    cameras_hot.NAME: cameras_hot.run,
}


def run(
    names: Sequence[str], *, is_short: bool, people: Callable[[], Path], progress: Callable[[str], None]
) -> list[DrillResult]:
    """Run the named drills, all if none is named; `people` returns a clip of people.

    Raises:
        ConfigError: there is no such drill, or no RTSP server can be run here.
    """
    unknown = [name for name in names if name not in DRILLS]
    if unknown:
        raise ConfigError(f"a drill must be one of {', '.join(DRILLS)}; found {', '.join(unknown)}")
    reason = why_not()
    if reason is not None:
        raise ConfigError(reason)
    findings: list[DrillResult] = []
    for name in names or DRILLS:
        progress(f"drill: {name}")
        findings += DRILLS[name](is_short=is_short, people=people)
    return findings
