"""Images that the rate cap will not use and no other image refers to are not decoded; those used stay the same."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np
import pytest

from benchmarks.rtsp.web import HttpResponse, WebCamera
from reid_stream.config.settings import Camera, Ingest
from reid_stream.events import CameraDown
from reid_stream.ingest.connection import open_source
from reid_stream.ingest.rate_limit import FramePlan, RateCap
from tests.ingest.streams import running

if TYPE_CHECKING:
    from av.video.stream import VideoStream

FPS = 30
pytestmark = pytest.mark.timeout(90)


def clip(path: Path, codec: str = "libx264", seconds: int = 2) -> Path:
    """Draw a square that moves, with two images between those that others refer to."""
    options = {
        "libx264": {"bf": "2", "preset": "ultrafast", "x264-params": "b-pyramid=none:b-adapt=0"},
        "libx265": {"preset": "ultrafast", "x265-params": "bframes=2:b-pyramid=0:b-adapt=0:log-level=none"},
        "mpeg4": {"bf": "2"},
    }[codec]
    with av.open(str(path), "w", format="mpegts") as container:
        added = container.add_stream(codec, rate=FPS, options={**options, "g": str(FPS)})
        stream = cast("VideoStream", added)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for n in range(seconds * FPS):
            image = np.full((240, 320, 3), 40, np.uint8)
            image[80:160, 2 * n : 2 * n + 60] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_in_the_order_of_decoding_those_are_needed_that_the_cap_will_use() -> None:
    for fps in (5, 7, 10, 14):
        shown = [n / FPS for n in range(300)]
        real, cap = RateCap(fps), RateCap(fps)
        used = {at for at in shown if real.wants(at)}
        plan = FramePlan(cap, RateCap(None))
        needed, came, left_out = set(), [], []
        for first in range(0, 300, 3):  # P of 3, then the two before it; shown one packet later
            for at in (shown[min(first + 2, 299)], *shown[first : first + 2]):
                is_needed = plan.needs(at)
                is_reference = at == shown[min(first + 2, 299)]
                if is_needed or is_reference:
                    needed.add(at)
                if is_needed or is_reference:
                    came.append(at)
            for at in sorted(came):
                left_out += plan.came(at)
                plan.runs_by(0.0)
                cap.wants(at)
            came = []
        assert used <= needed
        references = set(shown[2::3])  # decoded in any case
        assert len(needed - references) <= 1.2 * len(used - references) + 3
        assert len(left_out) > 0.5 * (len(shown) - len(used)) * 2 / 3
        assert not set(left_out) & used


def test_a_plan_follows_no_step_and_no_limit() -> None:
    plan = FramePlan(RateCap(None), RateCap(None))
    assert all(plan.needs(n / FPS) for n in range(100))
    assert plan.came(1.0) == []


def used(path: Path, *, leaves_out: bool) -> tuple[dict[float, np.ndarray], int, int]:
    """Return the frames used of 5 a second by their time, how many were decoded, and how many left out."""
    cap, frames, decoded, left_out = RateCap(5), {}, 0, 0
    plan = FramePlan(cap, RateCap(None))
    with open_source(Camera.model_validate({"id": "a", "url": str(path)}), Ingest()) as source:
        source.needs = plan.needs if leaves_out else None
        for packet in source.read(lambda *_: True):
            for picture in packet.frames:
                at = source.seconds(picture)
                assert at is not None
                left_out += len(plan.came(at))
                plan.runs_by(0.0)
                decoded += 1
                if cap.wants(at):
                    frames[at] = picture.to_ndarray(format="rgb24")
    return frames, decoded, left_out


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
def test_frames_used_are_the_same_bit_by_bit_and_half_of_all_are_not_decoded(tmp_path: Path, codec: str) -> None:
    path = clip(tmp_path / "a.ts", codec)
    whole, total, _ = used(path, leaves_out=False)
    frames, decoded, left_out = used(path, leaves_out=True)
    assert list(frames) == list(whole)
    assert len(frames) in (10, 11)
    assert all(np.array_equal(frames[at], whole[at]) for at in whole)
    assert decoded <= 0.55 * total
    assert left_out == pytest.approx(total - decoded, abs=2)


@pytest.mark.slow
def test_what_is_left_out_of_a_live_stream_counts_as_read_and_not_as_lost(tmp_path: Path) -> None:
    data = clip(tmp_path / "a.ts", seconds=4).read_bytes()
    step = len(data) // (4 * FPS) + 1

    def body() -> Iterator[bytes]:
        for place in range(0, len(data), step):
            yield data[place : place + step]
            time.sleep(1 / FPS)

    with WebCamera({"/a.ts": HttpResponse(200, (("Content-Type", "video/mp2t"),), body)}) as web:
        settings = Ingest(isolate=False, backoff_first_s=20, backoff_max_s=30)
        with running(web.url("/a.ts"), settings, max_fps=5) as run:
            run.until(lambda: bool(run.of(CameraDown)))
    stats = run.stats
    assert stats.read == pytest.approx(4 * FPS, abs=8)
    assert stats.used == pytest.approx(20, abs=5)
    assert stats.dropped["rate"] == stats.read - stats.used
    assert stats.dropped["lost"] == 0
