"""`check` on real RTSP cameras: codec, size, rate, and the offsets of their clocks."""

from pathlib import Path

import pytest

from benchmarks.rtsp.clips import serve_clips, why_not
from benchmarks.rtsp.wire import BadWire
from tests.integration.program import call, tiny_models, write_cams

reason = why_not()
pytestmark = [pytest.mark.skipif(reason is not None, reason=reason or ""), pytest.mark.timeout(300)]


def test_check_names_the_cameras_whose_clocks_are_apart(tmp_path: Path) -> None:
    models = tiny_models(tmp_path / "models")
    with (
        serve_clips({}, lives=dict.fromkeys("ab", "320x240@10")) as server,
        BadWire(server.port, shift_s=2.0) as wire,
    ):
        cameras: dict[str, str | Path] = {"door": server.url("a"), "till": f"{wire.url('b')}, transport: udp"}
        done = call("check", "--cameras", write_cams(tmp_path, cameras), models=models, home=tmp_path, timeout_s=200)
    assert done.code == 0, done.err
    (line,) = (line for line in done.out.splitlines() if "clocks of the cameras" in line)
    assert "till is ahead of door by 2.0" in line or "till is ahead of door by 1.9" in line
    assert "set all to one time server" in line
