"""A camera that changes its size or codec while it is up publishes one event and stays up."""

import pytest

from benchmarks.rtsp.web import WebCamera
from reid_stream.events import CameraChanged, CameraDown, CameraUp
from reid_stream.events.packed import PackedEvent
from reid_stream.ingest.changes import FrameFormat, delivery_change, unpack_change
from reid_stream.records import CameraId
from tests.ingest.streams import FPS, QUICK, paced, running, transport_stream

pytestmark = pytest.mark.timeout(60)


def test_only_what_differs_from_the_frame_before_is_an_event() -> None:
    small, large = FrameFormat((4, 3), "h264", "arrival"), FrameFormat((8, 6), "hevc", "rtcp")
    a = CameraId("a")
    assert delivery_change(a, 1.0, small, small) is None
    first, then = delivery_change(a, 1.0, None, small), delivery_change(a, 2.0, small, large)
    assert isinstance(first, CameraUp)
    assert isinstance(then, CameraChanged)
    assert (then.frame_size, then.codec, then.clock) == ((8, 6), "hevc", "rtcp")
    assert (then.previous_frame_size, then.previous_codec, then.previous_clock) == ((4, 3), "h264", "arrival")
    down = CameraDown(camera=a, changed_at=3.0, reason="gone")
    for change in (first, then, down):
        assert unpack_change(PackedEvent.of(change)) == change


@pytest.mark.slow
@pytest.mark.parametrize("isolate", [True, False])
def test_a_stream_whose_size_and_then_codec_change_stays_up(isolate: bool) -> None:
    pieces = [
        *transport_stream(100, 2),
        *transport_stream(102, 2, size=(480, 272)),
        *transport_stream(104, 2, size=(480, 272), codec="libx265"),
        *transport_stream(106, 2, size=(320, 240)),
    ]
    settings = QUICK.model_copy(update={"isolate": isolate, "backoff_first_s": 20, "backoff_max_s": 30})
    with WebCamera({"/a.ts": paced(pieces)}) as web, running(web.url("/a.ts"), settings) as run:
        run.until(lambda: bool(run.of(CameraDown)))  # the video is over
    up, *changed, _ = run.changes
    assert isinstance(up, CameraUp)
    assert (up.frame_size, up.codec) == ((320, 240), "h264")
    found = [(one.frame_size, one.codec) for one in changed if isinstance(one, CameraChanged)]
    assert found == [((480, 272), "h264"), ((480, 272), "hevc"), ((320, 240), "h264")]
    before = [(one.previous_frame_size, one.previous_codec) for one in changed if isinstance(one, CameraChanged)]
    assert before == [((320, 240), "h264"), *found[:-1]]
    assert len(run.of(CameraUp)) == 1
    assert (run.stats.size, run.stats.codec, run.stats.connects) == ((320, 240), "h264", 1)
    sizes = {frame.size for frame in run.frames}
    assert sizes == {(320, 240), (480, 272)}
    assert len(run.frames) >= len(pieces) - 2 * FPS


@pytest.mark.slow
def test_a_stream_that_stays_as_it_is_comes_up_once_a_connection_and_changes_nothing() -> None:
    with WebCamera({"/a.ts": paced(transport_stream(100, 2))}) as web, running(web.url("/a.ts")) as run:
        run.until(lambda: len(run.of(CameraDown)) == 2)
        assert [type(change) for change in run.changes[:4]] == [CameraUp, CameraDown] * 2
        assert run.stats.connects == len(run.of(CameraUp))
