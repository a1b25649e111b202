"""A camera with two streams gives frames of the smaller one and, with some of them, images of the larger one."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from benchmarks.rtsp import timecode
from reid_stream.config.settings import Camera, Ingest
from reid_stream.images import host
from reid_stream.ingest.camera_set import CameraSet
from reid_stream.ingest.changes import CameraChange
from reid_stream.ingest.probe import CameraReport, probe
from reid_stream.records import CameraId, Frame
from tests.integration.rtsp import serve_clips, why_not

reason = why_not()
pytestmark = [pytest.mark.skipif(reason is not None, reason=reason or ""), pytest.mark.timeout(120)]

QUICK = Ingest(open_timeout_s=3, read_timeout_s=2, backoff_first_s=0.2, backoff_max_s=0.5)
LIVES = {"main": "640x480@10", "sub": "320x240@10"}
_FRAME_S = 0.1


@contextmanager
def running(camera: Camera, *, isolate: bool = False) -> Iterator[CameraSet]:
    changes: list[CameraChange] = []
    live = CameraSet([camera], QUICK.model_copy(update={"isolate": isolate}), changes.append)
    live.start()
    try:
        yield live
    finally:
        live.stop()


def until(live: CameraSet, holds: Callable[[list[Frame]], bool]) -> list[Frame]:
    frames: list[Frame] = []
    end = time.monotonic() + 60
    while not holds(frames):
        assert time.monotonic() < end, live.stats
        frames += live.take_frames(0.2) or []
    return frames


def camera(main: str, sub: str) -> Camera:
    return Camera.model_validate({"id": "a", "url": main, "detect_url": sub})


@pytest.mark.parametrize("isolate", [False, True])
def test_a_larger_image_shows_the_moment_that_its_time_says(isolate: bool) -> None:
    with (
        serve_clips({}, lives=LIVES) as server,
        running(camera(server.url("main"), server.url("sub")), isolate=isolate) as live,
    ):
        until(live, lambda _: live.stats[CameraId("a")].clock == "rtcp")
        frames = until(live, lambda frames: sum(frame.detail is not None for frame in frames) > 2)
        stats = live.stats[CameraId("a")]
    assert {frame.size for frame in frames} == {(320, 240)}
    assert (stats.size, stats.detail_fault) == ((320, 240), "")
    assert stats.details >= 3
    apart = []
    for frame in frames:
        if frame.detail is not None:
            assert frame.detail.image.shape == (480, 640, 3)
            shown, larger = timecode.read(frame.pixels), timecode.read(host(frame.detail.image))
            assert shown is not None
            assert larger is not None
            apart.append((frame.detail.captured_at - larger) - (frame.captured_at - shown))
    # Times of frames may jitter by the delay of the server's encoder, not by a frame.
    assert max(map(abs, apart)) < _FRAME_S


def test_a_main_stream_that_is_missing_costs_no_frame_and_is_reported() -> None:
    with (
        serve_clips({}, lives=LIVES) as server,
        running(camera(server.url("gone"), server.url("sub"))) as live,
    ):
        frames = until(live, lambda frames: len(frames) > 5 and live.stats[CameraId("a")].detail_fault != "")
        stats = live.stats[CameraId("a")]
        assert stats.state == "up"
    assert {frame.detail for frame in frames} == {None}
    assert "has no such stream (404)" in stats.detail_fault


def test_a_check_opens_both_streams() -> None:
    with serve_clips({}, lives=LIVES) as server:
        found = probe(camera(server.url("main"), server.url("sub")), QUICK, 0.5)
        missing = probe(camera(server.url("gone"), server.url("sub")), QUICK, 0.5)
    assert isinstance(found, CameraReport)
    assert (found.size, found.main_size) == ((320, 240), (640, 480))
    assert not isinstance(missing, CameraReport)
