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


def test_small_steps_are_seen_in_decoding_times() -> None:
    steps = StreamSteps()
    for n in range(60):
        shown_s = n / FPS - 0.5 * (n // 20)
        steps.trusted(shown_s, n / FPS, shown_s)
    assert steps.count == 2


def test_a_jump_ahead_is_wrong_where_it_is_single_and_a_step_where_it_lasts() -> None:
    steps = StreamSteps()
    stamps = [n / FPS + (5 if n == 20 or n >= 30 else 0) for n in range(40)]
    trusted = [steps.trusted(stamp, n / FPS) for n, stamp in enumerate(stamps)]
    assert [n for n, at in enumerate(trusted) if at is None] == [20, *range(30, 29 + CONFIRM)]
    assert steps.count == 1


def test_a_jump_ahead_to_the_delay_of_before_is_a_gap() -> None:
    steps = StreamSteps()
    in_time, late, after = range(10), range(10, 20), range(70, 80)
    arrivals = [(n, n / FPS + (5 if n in late else 0)) for n in (*in_time, *late, *after)]
    trusted = [steps.trusted(n / FPS, arrived_at) for n, arrived_at in arrivals]
    assert trusted == [n / FPS for n in in_time] + [n / FPS for n in late] + [None] * (CONFIRM - 1) + [
        n / FPS for n in after[CONFIRM - 1 :]
    ]
    assert steps.count == 0


def test_a_clock_that_stands_is_not_used() -> None:
    steps = StreamSteps()
    assert [steps.trusted(7.0, n / FPS) for n in range(10)] == [7.0, *[None] * 9]


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("each_s", [0.0, 0.9])
def test_stream_time_that_stands_or_is_put_back_again_and_again_costs_no_frames(each_s: float) -> None:
    each = max(1, round(each_s * FPS))
    pieces = [piece for piece in transport_stream(100, each_s or 1 / FPS) if piece] * round(4 * FPS / each)
    with WebCamera({"/a.ts": paced(pieces)}) as web:
        settings = Ingest(isolate=False, backoff_first_s=20, backoff_max_s=30)
        with running(web.url("/a.ts"), settings) as run:
            run.until(lambda: bool(run.of(CameraDown)))
    assert run.stats.dropped["behind"] == 0
    assert len(run.frames) >= 0.8 * run.stats.read >= 0.6 * len(pieces)
    assert [type(change) for change in run.changes] == [CameraUp, CameraDown]


@pytest.mark.slow
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
