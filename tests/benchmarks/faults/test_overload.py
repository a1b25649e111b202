"""A slice of the overload drill on a drawn clip, with stand-ins for the networks."""

from pathlib import Path

import pytest

from benchmarks.faults import overload
from benchmarks.rtsp.clips import draw_clip


@pytest.mark.slow
def test_the_drill_sees_too_much_work_begin_and_end(tmp_path: Path) -> None:
    clip = draw_clip(tmp_path / "a.mp4", seconds=4)
    found = overload.run(is_short=True, people=lambda: clip, cameras=10, seconds=3)
    by_name = {finding.what: finding for finding in found}
    assert by_name["overload was reported"].holds
    assert by_name["all but 1 cameras taken away: recovery reported after"].holds
    assert by_name["priority 1: frames per second of a camera"].found != "0.00"
    assert float(by_name["10 cameras at 10 fps: overload"].found.rstrip("x")) > 2
