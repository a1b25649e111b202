"""A slice of every camera drill: all bounds hold."""

from pathlib import Path

import pytest

from benchmarks.faults.cameras import DRILLS, run
from benchmarks.faults.report import faults
from benchmarks.rtsp.clips import why_not
from reid_stream.errors import ConfigError

reason = why_not()
pytestmark = [pytest.mark.skipif(reason is not None, reason=reason or ""), pytest.mark.timeout(300)]


def no_clip() -> Path:
    raise AssertionError("the slices draw their own pictures")


@pytest.mark.slow
@pytest.mark.parametrize("name", DRILLS)
def test_every_bound_holds(name: str) -> None:
    findings = run([name], is_short=True, people=no_clip, progress=lambda _: None)
    assert len(findings) > 3
    assert not faults(findings)


def test_an_unknown_drill_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigError,
        match="must be one of reconnect, sick, udp, crash, clock, own-clock, freeze, finite, hot; found nonsense",
    ):
        run(["nonsense"], is_short=True, people=no_clip, progress=lambda _: None)
