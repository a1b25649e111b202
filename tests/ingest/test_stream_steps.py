"""Timestamps that step for good are followed at once; single wrong ones change nothing."""

import io
import time
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import pytest

from benchmarks.rtsp.web import Answer, WebCamera
from reid_stream.config.settings import Camera, Ingest
from reid_stream.events import CameraUp
from reid_stream.ingest.camera_set import CameraSet
from reid_stream.ingest.stats import CameraChange
from reid_stream.ingest.stream_steps import CONFIRM, StreamSteps
from reid_stream.records import Frame

FPS = 10


def test_a_step_is_believed_after_some_packets_and_a_single_wrong_one_never() -> None:
    steps = StreamSteps()
    for n in range(50):
        wrong = n % 10 == 9
        assert (steps.trusted(37_600.0 if wrong else n / FPS, n / FPS) is None) == wrong
    assert steps.count == 0
    trusted = [steps.trusted(n / FPS - 3, n / FPS) for n in range(50, 60)]
    assert [at is None for at in trusted] == [True] * (CONFIRM - 1) + [False] * (11 - CONFIRM)
    assert steps.count == 1


def test_frames_shown_in_another_order_and_a_network_that_stalls_are_no_steps() -> None:
    steps = StreamSteps()
    shown = [0, 3, 1, 2, 6, 4, 5]
    assert [steps.trusted(n / FPS, 0.0) for n in shown] == [n / FPS for n in shown]
    assert steps.trusted(30.0, 31.0) == 30.0
    assert steps.count == 0


def transport_stream(first_s: float, seconds: float) -> list[bytes]:
    """One piece of MPEG-TS a frame, a key frame a second."""
    out, pieces, done = io.BytesIO(), [], 0
    with av.open(out, "w", format="mpegts", options={"flush_packets": "1"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"bf": "0", "tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.gop_size = FPS
        for n in range(round(seconds * FPS)):
            frame = av.VideoFrame.from_ndarray(np.full((240, 320, 3), n % 200, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round((first_s + n / FPS) * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
            pieces.append(out.getvalue()[done:])
            done = len(out.getvalue())
    return pieces


@pytest.mark.timeout(60)
@pytest.mark.parametrize("back_s", [2.5, 5.0])
def test_a_lasting_step_back_costs_a_group_of_pictures_at_most(back_s: float) -> None:
    pieces = [*transport_stream(100, 4), *transport_stream(104 - back_s, 6)]

    def body() -> Iterator[bytes]:
        for piece in pieces:
            yield piece
            time.sleep(1 / FPS)

    changes: list[CameraChange] = []
    frames: list[Frame] = []
    with WebCamera({"/a.ts": Answer(200, (("Content-Type", "video/mp2t"),), body)}) as web:
        one = Camera.model_validate({"id": "a", "url": web.url("/a.ts"), "max_fps": FPS})
        live = CameraSet([one], Ingest(isolate=False, backoff_first_s=20, backoff_max_s=30), changes.append)
        live.start()
        until = time.monotonic() + 14
        while time.monotonic() < until and not any(not isinstance(change, CameraUp) for change in changes):
            frames += live.take_frames(0.1) or []
        live.stop()
    assert len(frames) >= len(pieces) - FPS - 5  # and those from before the first key frame was found
    steps = np.diff([frame.captured_at for frame in frames])
    assert steps.min() > 0
    assert steps.max() < 1.5
    assert sum(isinstance(change, CameraUp) for change in changes) == 1
