"""Timestamps that step for good are followed at once; single wrong ones change nothing."""

import numpy as np
import pytest

from benchmarks.rtsp.web import WebCamera
from reid_stream.config.settings import Ingest
from reid_stream.events import CameraDown, CameraUp
from reid_stream.ingest.stream_steps import CONFIRM, StreamSteps
from tests.ingest.streams import FPS, paced, running, transport_stream


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


@pytest.mark.timeout(60)
@pytest.mark.parametrize("back_s", [2.5, 5.0])
def test_a_lasting_step_back_costs_a_group_of_pictures_at_most(back_s: float) -> None:
    pieces = [*transport_stream(100, 4), *transport_stream(104 - back_s, 6)]
    with WebCamera({"/a.ts": paced(pieces)}) as web:
        settings = Ingest(isolate=False, backoff_first_s=20, backoff_max_s=30)
        with running(web.url("/a.ts"), settings) as run:
            run.until(lambda: bool(run.of(CameraDown)))
    assert len(run.frames) >= len(pieces) - FPS - 5  # and those from before the first key frame was found
    steps = np.diff([frame.captured_at for frame in run.frames])
    assert steps.min() > 0
    assert steps.max() < 1.5
    assert [type(change) for change in run.changes] == [CameraUp, CameraDown]
