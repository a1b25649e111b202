"""Frames are capped on average and evenly; key frames alone are decoded where they suffice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_stream.ingest.rate_limit import KeyframePolicy, RateCap


@given(st.sampled_from([5, 10, 12.5, 15, 25, 29.97, 30, 50, 60]), st.floats(0.5, 60))
def test_a_capped_camera_gives_the_wanted_rate_or_its_own(source_fps: float, max_fps: float) -> None:
    cap, frames = RateCap(max_fps), 3000
    used = sum(cap.wants(n / source_fps) for n in range(frames))
    assert used == pytest.approx(frames * min(1, max_fps / source_fps), rel=0.02, abs=2)


@given(st.lists(st.floats(-0.02, 0.02), min_size=50, max_size=50))
def test_a_camera_at_the_wanted_rate_loses_nothing_to_jitter(jitter: list[float]) -> None:
    cap = RateCap(10)
    assert sum(cap.wants(100 + n / 10 + late) for n, late in enumerate(jitter)) >= 49


@given(st.lists(st.floats(0, 1e4), max_size=200), st.floats(0.5, 60))
def test_no_burst_gets_past_the_cap(steps: list[float], max_fps: float) -> None:
    cap = RateCap(max_fps)
    used = [second for second in sorted(steps) if cap.wants(second)]
    if len(used) > 1:
        assert len(used) <= (used[-1] - used[0]) * max_fps + 2


def test_without_a_cap_every_frame_is_used() -> None:
    cap = RateCap(None)
    assert all(cap.wants(n / 1000) for n in range(100))


def test_time_that_restarts_does_not_silence_a_camera() -> None:
    cap = RateCap(10)
    assert cap.wants(5000.0)
    assert cap.wants(0.0)


def test_key_frames_alone_are_decoded_once_they_come_often_enough() -> None:
    policy = KeyframePolicy(1)
    wanted = [policy.wants(n / 10, n % 10 == 0) for n in range(100)]
    assert all(wanted[:21])
    assert sum(wanted[30:]) == 7


def test_rare_key_frames_leave_every_packet_decoded() -> None:
    policy = KeyframePolicy(1)
    assert all(policy.wants(n / 10, n % 50 == 0) for n in range(300))


def test_key_frames_that_become_rare_bring_the_others_back() -> None:
    policy = KeyframePolicy(1)
    for n in range(50):
        policy.wants(n / 10, n % 10 == 0)
    assert policy.keys_only
    policy.wants(9.0, True)
    assert policy.wants(9.1, False)


def test_ten_frames_a_second_need_all_packets() -> None:
    policy = KeyframePolicy(10)
    assert all(policy.wants(n / 30, n % 2 == 0) for n in range(100))


def test_the_first_packet_after_a_gap_of_a_file_makes_none_of_the_next_late() -> None:
    policy = KeyframePolicy(None)
    lateness = [0.0, 0.01, -5.0, 0.0, 0.01]
    assert all(policy.wants(n / 10, n == 0, late_s) for n, late_s in enumerate(lateness))
