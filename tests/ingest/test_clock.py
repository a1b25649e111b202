"""Stream timestamps become rising UTC, follow the camera's clock once it is known, and survive its faults."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_stream.ingest.clock import MAX_SKEW_S, CaptureTime, FileClock, StreamClock

NOW = 1_700_000_000.0
delays = st.lists(st.floats(0, 3), min_size=2, max_size=80)


def play(
    clock: StreamClock, *, frames: int, delay_s: float = 0.0, skew_s: float | None = None, begin: int = 0
) -> CaptureTime:
    """Ten frames a second, each `delay_s` late; the camera's own clock is off by `skew_s`."""
    stamp = None
    for n in range(begin, begin + frames):
        arrived = NOW + n / 10 + delay_s
        clock.observe(n / 10, arrived, None if skew_s is None else NOW + n / 10 + skew_s)
        stamp = clock.stamp(n / 10, arrived)
    assert stamp is not None
    return stamp


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(-1e5, 1e5)),
            st.floats(0, 1e4),
            st.one_of(st.none(), st.floats(NOW - 1e6, NOW + 1e6)),
        ),
        max_size=60,
    )
)
def test_times_rise_whatever_a_camera_sends(packets: list[tuple[float | None, float, float | None]]) -> None:
    clock, last = StreamClock(), float("-inf")
    for stream_s, arrived_s, camera_at in packets:
        clock.observe(stream_s, NOW + arrived_s, camera_at)
        stamp = clock.stamp(stream_s, NOW + arrived_s)
        assert stamp.at > last
        last = stamp.at


@given(delays)
def test_jitter_of_the_network_does_not_reach_the_capture_times(late: list[float]) -> None:
    clock = StreamClock()
    play(clock, frames=50)
    begin = 50
    for n, delay in enumerate(late, begin):
        clock.observe(n / 10, NOW + n / 10 + delay, None)
        assert clock.stamp(n / 10, NOW + n / 10 + delay).at == pytest.approx(NOW + n / 10, abs=1e-3)


@given(st.floats(-4, 4), st.floats(0, 0.9))
def test_the_cameras_clock_counts_once_it_is_known(skew_s: float, delay_s: float) -> None:
    clock = StreamClock()
    assert play(clock, frames=15, delay_s=delay_s).clock == "arrival"
    stamp = play(clock, frames=100, begin=15, delay_s=delay_s, skew_s=skew_s)
    assert stamp.clock == "rtcp"
    assert stamp.at == pytest.approx(NOW + 11.4 + skew_s, abs=1e-3)
    assert clock.skew_s == pytest.approx(skew_s - delay_s, abs=1e-3)


def test_a_frame_without_a_timestamp_keeps_the_cameras_clock() -> None:
    clock = StreamClock()
    play(clock, frames=30, delay_s=0.4, skew_s=2.0)
    clock.observe(None, NOW + 3.4, None)
    stamp = clock.stamp(None, NOW + 3.4)
    assert stamp.clock == "rtcp"
    assert stamp.at == pytest.approx(NOW + 3 + 2.0)
    after = play(clock, frames=5, begin=31, delay_s=0.4, skew_s=2.0)
    assert after.clock == "rtcp"
    assert after.at == pytest.approx(NOW + 3.5 + 2.0)


def test_a_camera_that_lives_in_1970_is_stamped_on_arrival_and_its_skew_shown() -> None:
    clock = StreamClock()
    stamp = play(clock, frames=50, skew_s=-NOW)
    assert stamp.clock == "arrival"
    assert stamp.at == pytest.approx(NOW + 4.9)
    assert clock.skew_s is not None
    assert abs(clock.skew_s) > MAX_SKEW_S


def test_a_correction_slows_the_time_down_instead_of_turning_it_back() -> None:
    clock = StreamClock()
    before = play(clock, frames=20, delay_s=0.3).at
    steps = []
    for n in range(20, 40):
        arrived = NOW + n / 10 + 0.3
        clock.observe(n / 10, arrived, NOW + n / 10)
        at = clock.stamp(n / 10, arrived).at
        steps.append(at - before)
        before = at
    assert min(steps) == pytest.approx(0.05, abs=1e-3)
    assert before == pytest.approx(NOW + 3.9, abs=1e-3)


def test_a_step_of_the_cameras_clock_is_followed() -> None:
    clock = StreamClock()
    play(clock, frames=50, skew_s=0.0)
    assert play(clock, frames=100, begin=50, skew_s=-2.0).at == pytest.approx(NOW + 14.9 - 2.0, abs=1e-3)
    assert play(clock, frames=5, begin=150, skew_s=2.0).at == pytest.approx(NOW + 15.4 + 2.0, abs=1e-3)


def test_one_report_that_disagrees_with_its_neighbours_is_not_believed() -> None:
    clock = StreamClock()
    play(clock, frames=20, skew_s=0.0)
    clock.observe(2.0, NOW + 2.0, NOW + 2.1)
    assert clock.stamp(2.0, NOW + 2.0).at == pytest.approx(NOW + 2.0, abs=1e-3)


def test_timestamps_that_restart_are_tied_to_arrivals_again() -> None:
    clock = StreamClock()
    for n in range(100):
        clock.observe(5000 + n / 10, NOW + n / 10, None)
        clock.stamp(5000 + n / 10, NOW + n / 10)
    clock.observe(0.0, NOW + 10, None)
    assert clock.stamp(0.0, NOW + 10).at == pytest.approx(NOW + 10, abs=1e-3)


def test_slow_drift_between_the_two_clocks_is_followed() -> None:
    clock, drift, stamp = StreamClock(), 1e-3, None
    for n in range(3000):
        stream_s = n / 10 * (1 - drift)
        clock.observe(stream_s, NOW + n / 10, None)
        stamp = clock.stamp(stream_s, NOW + n / 10)
    assert stamp is not None
    assert stamp.at == pytest.approx(NOW + 299.9, abs=0.04)


def test_buffered_packets_that_come_at_once_are_not_stamped_in_the_future() -> None:
    clock = StreamClock()
    for n in range(20):
        clock.observe(n / 10, NOW, None)
        assert clock.stamp(n / 10, NOW).at <= NOW + 0.03


def test_a_file_starts_at_a_given_time_and_loops_one_frame_after_its_end() -> None:
    clock = FileClock(NOW, 0.1)
    assert [clock.stamp(second) for second in (7.0, 7.1, 7.2)] == pytest.approx([NOW, NOW + 0.1, NOW + 0.2])
    clock.again()
    assert clock.stamp(7.0) == pytest.approx(NOW + 0.3)


@given(st.lists(st.one_of(st.none(), st.floats(-10, 10)), max_size=40))
def test_a_files_times_rise_whatever_its_timestamps_are(seconds: list[float | None]) -> None:
    clock = FileClock(NOW, 0.04)
    times = [clock.stamp(second) for second in seconds]
    assert all(earlier < later for earlier, later in itertools.pairwise(times))


@given(st.floats(-1e4, 1e4), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(-1e5, 1e5))
def test_two_streams_of_one_camera_meet_by_its_clock_however_wrong(
    skew_s: float, delay_s: float, other_delay_s: float, origin_s: float
) -> None:
    frames, images = StreamClock(), StreamClock()
    for n in range(60):
        frames_at = NOW + n / 10
        frames.observe(n / 10, frames_at + delay_s, frames_at + skew_s)
        stamp = frames.stamp(n / 10, frames_at + delay_s).at
        images.observe(origin_s + n / 10, frames_at + other_delay_s, frames_at + skew_s)
        beside = images.beside(frames, origin_s + n / 10, frames_at + other_delay_s)
    assert beside == pytest.approx(stamp, abs=2e-3)


def test_streams_without_the_cameras_clock_meet_by_their_arrivals_after_a_while() -> None:
    frames, images = StreamClock(), StreamClock()
    found = []
    for n in range(150):
        arrived = NOW + n / 10 + (0.9 if n < 5 else 0.05)  # the first packets of a connection are late
        frames.observe(n / 10, arrived, None)
        stamp = frames.stamp(n / 10, arrived).at
        images.observe(n / 10, NOW + n / 10 + 0.05, None)
        beside = images.beside(frames, n / 10, NOW + n / 10 + 0.05)
        found.append(None if beside is None else beside - stamp)
    assert found[:90] == [None] * 90
    apart = [one for one in found if one is not None]
    assert len(apart) > 40
    assert apart == pytest.approx([0.0] * len(apart), abs=1e-3)
