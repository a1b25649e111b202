"""Images that never came are counted by the gaps they leave; clocks of cameras are compared."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from reid_stream.ingest.frame_loss import LEAST_STEPS, MOST_S, FrameGaps
from reid_stream.ingest.stats import CameraStats, ClockSpread, clock_spread
from reid_stream.observe.collector import SiteCollector
from reid_stream.pipeline import PerceiveCounts
from reid_stream.records import CameraId


def count(stamps: list[float]) -> int:
    gaps = FrameGaps()
    return sum(gaps.missing(stamp, 0) for stamp in stamps)


@given(st.floats(1, 60), st.integers(20, 200), st.integers(0, 1000))
def test_every_image_that_is_missing_from_a_steady_camera_is_counted(fps: float, frames: int, seed: int) -> None:
    chance = random.Random(seed)
    kept = [n for n in range(frames) if n <= LEAST_STEPS + 1 or chance.random() > 0.1]
    longest_s = max(later - earlier for earlier, later in itertools.pairwise(kept)) / fps
    if longest_s <= MOST_S:
        assert count([n / fps for n in kept]) == kept[-1] + 1 - len(kept)


# Up to a tenth of the step: beyond, the longest step can be one and a half times the median, as if one were missing.
@given(st.lists(st.floats(-0.0099, 0.0099), min_size=20, max_size=80))
def test_jitter_is_no_loss(jitter: list[float]) -> None:
    assert count([n / 10 + late for n, late in enumerate(jitter)]) == 0


@pytest.mark.parametrize("jitter_s", [0.05, 0.1, 0.15, 0.19])
def test_jitter_of_almost_two_steps_is_hardly_counted_as_loss(jitter_s: float) -> None:
    """Steps of 0.1 s; of the first ones the jitter is not known yet."""
    chance = random.Random(1)
    assert count([n / 10 + chance.uniform(-jitter_s, jitter_s) for n in range(300)]) <= 15


def test_images_that_came_damaged_are_not_counted_twice() -> None:
    gaps = FrameGaps()
    for n in range(20):
        gaps.missing(n / 10, 0)
    assert gaps.missing(2.3, 2) == 1  # 2.0 to 2.2 are missing, two of them came damaged
    assert gaps.missing(2.5, 5) == 0


def test_an_outage_a_new_beginning_and_a_pause_of_our_own_are_no_losses() -> None:
    gaps = FrameGaps()
    for n in range(20):
        gaps.missing(n / 10, 0)
    assert gaps.missing(1.9 + MOST_S + 1, 0) == 0
    assert gaps.missing(0.0, 0) == 0
    gaps.forget()
    assert gaps.missing(5.0, 0) == 0
    assert gaps.missing(None, 0) == 0


def test_a_camera_that_halves_its_rate_at_night_is_believed_after_a_while() -> None:
    gaps = FrameGaps()
    for n in range(40):
        gaps.missing(n / 10, 0)
    missed = [gaps.missing(4 + n / 5, 0) for n in range(60)]
    assert sum(missed) < 20
    assert not any(missed[20:])


def test_the_two_clocks_that_differ_most_are_named() -> None:
    door, till, hall, yard = map(CameraId, ("door", "till", "hall", "yard"))
    assert clock_spread({door: 0.25, till: -0.25, hall: 0.0, yard: None}) == ClockSpread(door, till, 0.5)
    assert clock_spread({door: 0.1, till: None}) is None
    assert clock_spread({}) is None


class _Cameras:
    def __init__(self) -> None:
        self.stats = {CameraId(name): CameraStats(CameraId(name), "rtsp://host/x") for name in ("door", "till")}
        self.replaced: dict[CameraId, int] = {}


def test_every_loss_of_a_camera_is_shown_by_its_cause() -> None:
    cameras = _Cameras()
    door, till = cameras.stats.values()
    door.dropped["lost"], door.repaired, door.hardware_fallbacks, door.clock_steps = 3, 4, 5, 6
    door.failures["silent"] = 7
    door.skew_s, till.skew_s = 0.25, -0.5
    registry = CollectorRegistry()
    registry.register(SiteCollector(cameras=cameras, counts=PerceiveCounts(), rejected=dict, sending=None))
    labels = {"camera": "door"}
    for name, more, value in (
        ("frames_dropped_total", {"cause": "lost"}, 3),
        ("frames_repaired_total", {}, 4),
        ("hardware_fallbacks_total", {}, 5),
        ("clock_steps_total", {}, 6),
        ("camera_failures_total", {"cause": "silent"}, 7),
    ):
        assert registry.get_sample_value(f"reid_stream_{name}", {**labels, **more}) == value, name
    assert registry.get_sample_value("reid_stream_camera_skew_between_seconds") == 0.75
