"""Video without timestamps, and streams with rare key frames."""

import time
from pathlib import Path

import av
import numpy as np
import pytest
import structlog
from structlog.testing import capture_logs

from benchmarks.rtsp.clips import draw_clip
from benchmarks.rtsp.web import WebCamera
from reid_stream.config.settings import Camera, Ingest
from reid_stream.events import CameraDown, CameraUp
from reid_stream.ingest import stats_log, stream
from reid_stream.ingest.camera_set import CameraSet
from reid_stream.ingest.probe import CameraReport, probe
from reid_stream.ingest.replay import FastReplay
from tests.ingest.streams import FPS, QUICK, paced, running, transport_stream

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(autouse=True)
def plain_logs() -> None:
    structlog.reset_defaults()


@pytest.mark.slow
@pytest.mark.parametrize("isolate", [True, False])
def test_a_key_frame_is_waited_for_longer_than_for_data(isolate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_log, "KEY_NEWS_S", 1.0)
    pieces = transport_stream(100, 12, key_every=8 * FPS)[5:]  # joined after its first key frame
    settings = QUICK.model_copy(update={"isolate": isolate, "backoff_first_s": 20, "backoff_max_s": 30})
    with (
        capture_logs() as logs,
        WebCamera({"/a.ts": paced(pieces)}) as web,
        running(web.url("/a.ts"), settings) as run,
    ):
        run.until(lambda: run.stats.waits_for == "key frame")
        assert run.stats.state == "connecting"
        run.until(lambda: run.stats.state == "up")
        assert run.stats.waits_for == ""
        assert run.stats.failures == {}
        assert [type(change) for change in run.changes] == [CameraUp]
    (line,) = [line for line in logs if line["event"] == "camera_waits_for_key_frame"]
    assert line["camera"] == "a"
    assert line["limit_s"] == stream.KEY_WAIT_S


@pytest.mark.slow
def test_the_wait_for_a_key_frame_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KEY_WAIT_S", 3.0)
    pieces = transport_stream(100, 30, key_every=1000)[5:]
    settings = QUICK.model_copy(update={"isolate": False, "backoff_first_s": 20, "backoff_max_s": 30})
    with WebCamera({"/a.ts": paced(pieces)}) as web, running(web.url("/a.ts"), settings) as run:
        run.until(lambda: bool(run.of(CameraDown)))
        assert "must send a key frame within 3 s" in run.stats.reason
        assert run.stats.failures == {"silent": 1}


@pytest.mark.slow
def test_video_that_moves_to_another_stream_of_packets_ends_the_connection() -> None:
    pieces = [*transport_stream(100, 4), *transport_stream(104, 20, pid=300)]
    settings = QUICK.model_copy(update={"isolate": False, "backoff_first_s": 20, "backoff_max_s": 30})
    with WebCamera({"/a.ts": paced(pieces)}) as web, running(web.url("/a.ts"), settings) as run:
        run.until(lambda: bool(run.of(CameraDown)), timeout_s=12)
        assert run.stats.failures == {"silent": 1}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["h264", "hevc"])
def test_raw_video_plays_at_its_own_rate_and_loops(suffix: str, tmp_path: Path) -> None:
    codec = {"h264": "libx264", "hevc": "libx265"}[suffix]
    clip = draw_clip(tmp_path / f"a.{suffix}", seconds=2, fps=10, codec=codec)
    one = Camera.model_validate({"id": "a", "url": str(clip), "loop": True, "max_fps": None})
    report = probe(one, Ingest())
    assert isinstance(report, CameraReport)
    assert (report.rate, report.assumed_fps) == (10.0, 10.0)
    live = CameraSet([one], Ingest(), lambda _: None)
    with capture_logs() as logs:
        live.start()
        began, frames = time.monotonic(), []
        while time.monotonic() - began < 6.0:
            frames += live.take_frames(0.1) or []
        live.stop()
    steps = np.diff([frame.captured_at for frame in frames])
    assert np.median(steps) == pytest.approx(0.1, abs=0.005)
    assert len(frames) > 35  # beyond its end
    assert [line["fps"] for line in logs if line["event"] == "camera_pace_assumed"] == [10.0]
    replay = FastReplay([one], Ingest(), origin=0.0)
    with replay:
        assert len([replay.take_frames() for _ in range(45)]) == 45


@pytest.mark.slow
def test_raw_video_over_http_is_stamped_on_arrival(tmp_path: Path) -> None:
    with av.open(str(draw_clip(tmp_path / "a.h264", seconds=8, fps=FPS))) as container:
        pieces = [bytes(packet) for packet in container.demux()]
    settings = QUICK.model_copy(update={"backoff_first_s": 20, "backoff_max_s": 30})
    with WebCamera({"/a": paced(pieces, "video/h264")}) as web, running(web.url("/a"), settings) as run:
        run.until(lambda: bool(run.of(CameraDown)))
        assert [type(change) for change in run.changes] == [CameraUp, CameraDown]
        assert run.stats.clock == "arrival"
        assert run.stats.dropped["behind"] == 0
        assert len(run.frames) >= len(pieces) - 3 * FPS  # some while the stream was looked at
