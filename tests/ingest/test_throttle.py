"""Cameras are slowed to what the machine can process, evenly or by priority, and no longer than needed."""

import heapq
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_stream.ingest.inbox import Inbox
from reid_stream.ingest.rate_limit import KeyframePolicy, Lateness, RateCap
from reid_stream.ingest.throttle import Throttle, share
from reid_stream.records import CameraId
from tests.builders import frame

CAMERAS = [CameraId(f"cam{n}") for n in range(20)]


def live(governor: Throttle, frame_s: float, seconds: int, offered: float = 10.0) -> list[float]:
    """Seconds of a pipeline that takes `frame_s` a frame; gives what all cameras may offer after each second."""
    rates = []
    for _ in range(seconds):
        wanted = sum(min(offered, governor.limits.get(camera, offered)) for camera in CAMERAS)
        done = min(wanted, 1.0 / frame_s)
        governor.spent(done * frame_s, 1.0 - done * frame_s, round(done), round(wanted - done))
        rates.append(wanted)
    return rates


def test_twenty_times_too_much_work_is_brought_to_just_what_can_be_done() -> None:
    governor = Throttle(dict.fromkeys(CAMERAS, 10.0), {})
    assert governor.batch < len(CAMERAS)
    assert live(governor, 0.1, 30)[-1] == pytest.approx(9.0, rel=0.1)
    assert list(governor.limits.values()) == pytest.approx([0.45] * 20)
    assert governor.batch == 2


def test_it_lets_go_by_itself() -> None:
    governor = Throttle(dict.fromkeys(CAMERAS, 10.0), {})
    live(governor, 0.1, 10)
    assert live(governor, 0.002, 20)[-1] == 200
    assert governor.limits == {}


def test_a_pipeline_that_is_busy_but_keeps_up_slows_no_camera() -> None:
    governor = Throttle(dict.fromkeys(CAMERAS, 10.0), {})
    live(governor, 1 / 201, 30)
    assert governor.limits == {}


def test_one_slow_second_slows_no_camera() -> None:
    governor = Throttle(dict.fromkeys(CAMERAS, 10.0), {})
    live(governor, 2.0, 1)
    live(governor, 0.002, 5)
    assert governor.limits == {}


@given(st.lists(st.tuples(st.floats(0.1, 60), st.integers(1, 10)), min_size=1, max_size=20), st.floats(0.05, 1))
def test_shares_add_up_and_no_share_can_grow_unless_another_shrinks(
    cameras: list[tuple[float, int]], part: float
) -> None:
    wanted = {CameraId(str(n)): fps for n, (fps, _) in enumerate(cameras)}
    weights = {CameraId(str(n)): float(weight) for n, (_, weight) in enumerate(cameras)}
    total = part * sum(wanted.values())
    given = share(total, wanted, weights)
    rates = {camera: given.get(camera, wanted[camera]) for camera in wanted}
    assert sum(rates.values()) == pytest.approx(total, rel=1e-6, abs=0.06 * len(cameras))
    levels = [given[camera] / weights[camera] for camera in given if given[camera] > 0.05]
    assert max(levels, default=0) == pytest.approx(min(levels, default=0))
    assert all(wanted[c] / weights[c] <= min(levels, default=1e9) * (1 + 1e-9) for c in wanted if c not in given)


@given(
    total=st.floats(0, 1e6),
    cameras=st.lists(
        st.tuples(st.floats(0, 1e4), st.sampled_from([1e-9, 0.1, 0.2, 0.3, 1.0, 100.0, 1e17])), max_size=20
    ),
)
def test_weights_as_far_apart_as_numbers_go_share_without_a_fault(
    total: float, cameras: list[tuple[float, float]]
) -> None:
    wanted = {CAMERAS[n]: fps for n, (fps, _) in enumerate(cameras)}
    rates = share(total, wanted, {CAMERAS[n]: weight for n, (_, weight) in enumerate(cameras)})
    assert all(0 < rate < wanted[camera] or rate == 0.05 for camera, rate in rates.items())


@given(
    wanted=st.dictionaries(st.sampled_from(CAMERAS), st.floats(0, 100)),
    spells=st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 10**6), st.integers(0, 10**6))),
)
def test_whatever_was_spent_the_governor_continues(
    wanted: dict[CameraId, float], spells: list[tuple[float, float, int, int]]
) -> None:
    governor = Throttle(wanted, {})
    for busy_s, idle_s, frames, replaced in spells:
        governor.spent(busy_s, idle_s, frames, replaced)
        assert governor.batch >= 1
        assert set(governor.limits) <= set(wanted)


def test_cameras_take_turns_by_their_weights_however_loud_they_are() -> None:
    chance = random.Random(1)
    inbox = Inbox({CAMERAS[0]: 2.0})
    served = dict.fromkeys(CAMERAS[:6], 0)
    for n in range(2000):
        for camera in [*served, *([CAMERAS[1]] * 5)]:
            inbox.put(frame(camera, float(n) + chance.random()))
        for taken in inbox.take_frames(0, most=2):
            served[taken.camera] += 1
    level = sum(served.values()) / 7
    assert served.pop(CAMERAS[0]) == pytest.approx(2 * level, rel=0.02)
    assert list(served.values()) == pytest.approx([level] * 5, rel=0.02)


def test_a_camera_that_was_silent_has_no_arrears() -> None:
    inbox = Inbox()
    for n in range(100):
        inbox.put(frame("loud", n))
        inbox.take_frames(0, most=1)
    served = []
    for n in range(100, 120):
        inbox.put(frame("loud", n))
        inbox.put(frame("late", n))
        served += [taken.camera for taken in inbox.take_frames(0, most=1)]
    assert 8 <= served.count(CameraId("late")) <= 12


def test_a_rate_can_change_while_a_camera_runs() -> None:
    cap = RateCap(None, phase=0.5)
    assert all(cap.wants(n / 10) for n in range(50))
    cap.change(1.0)
    assert sum(cap.wants(5 + n / 10) for n in range(100)) in (9, 10)
    cap.change(5.0)
    assert sum(cap.wants(15 + n / 10) for n in range(100)) in (49, 50, 51)
    cap.change(None)
    assert all(cap.wants(25 + n / 10) for n in range(50))


def test_a_slowed_camera_decodes_key_frames_alone_and_all_again_from_a_key_frame_on() -> None:
    policy = KeyframePolicy(10)
    assert all(policy.wants(n / 10, n % 10 == 0) for n in range(50))
    policy.change(0.5)
    decoded = [n for n in range(50, 150) if policy.wants(n / 10, n % 10 == 0)]
    assert [n for n in decoded if n >= 80] == list(range(80, 150, 10))
    policy.change(10)
    decoded = [n for n in range(151, 180) if policy.wants(n / 10, n % 10 == 0)]
    assert decoded == list(range(160, 180))


def test_a_decoder_that_is_behind_leaves_out_all_up_to_a_key_frame_in_time() -> None:
    policy = KeyframePolicy(10)
    late_s = [0.0, 3.0, 1.0, 0.1, 0.1]
    decoded = [n for n in range(75) if policy.wants(n / 10, n % 20 == 0, late_s[n // 15])]
    assert decoded == [*range(15), *range(60, 75)]
    assert not policy.is_behind


def test_a_decoder_that_stays_behind_continues_after_three_key_frames() -> None:
    policy = KeyframePolicy(10)
    assert [n for n in range(1, 100) if policy.wants(n / 10, n % 20 == 0, 3.0)] == list(range(80, 100))
    # What it took as it is does not count again, what is added to it does.
    assert all(policy.wants(n / 10, n % 20 == 0, 4.5) for n in range(100, 140))
    assert not any(policy.wants(n / 10, n % 20 == 0, 6.0) for n in range(140, 180))


def test_packets_are_late_beside_those_that_came_soonest() -> None:
    lateness = Lateness()
    assert [round(lateness.of(n / 10, 100 + n / 10), 3) for n in range(20)] == [0.0] * 20
    assert lateness.of(2.0, 105.0) == pytest.approx(3.0, abs=0.01)
    assert lateness.of(2.1, 102.1) == pytest.approx(0.0, abs=0.01)
    assert lateness.of(-100.0, 102.2) == pytest.approx(0.0, abs=0.01)


def test_time_that_stands_or_goes_back_is_no_lateness_but_hides_none() -> None:
    lateness = Lateness()
    late = [lateness.of(n / 10 - 0.9 * (n // 15), 100 + 1.5 * n / 10, in_order=True) for n in range(45)]
    assert late[-1] == pytest.approx(0.05 * (44 - 2), abs=0.05)
    standing = Lateness()
    assert max(standing.of(7.0, 100 + n / 10, in_order=True) for n in range(50)) == 0.0


def test_a_frame_that_waited_too_long_for_its_turn_is_dropped_where_others_wait() -> None:
    now = [0.0]
    inbox = Inbox(clock=lambda: now[0])
    for n, camera in enumerate("abcd"):
        now[0] = n * 0.6
        inbox.put(frame(camera, n))
    assert [taken.camera for taken in inbox.take_frames(0, most=1)] == ["c"]
    assert inbox.dropped == {"a": 1, "b": 1}
    now[0] = 100.0
    assert [taken.camera for taken in inbox.take_frames(0, most=1)] == ["d"]


def test_minutes_of_twenty_times_too_much_work_give_even_rates_fresh_frames_and_a_busy_machine() -> None:
    """Cameras, their caps, the inbox and the governor in virtual time; a frame costs a twentieth of what there is."""
    chance, now, price_s, seconds, fps = random.Random(1), [0.0], 0.05, 120.0, 10.0
    cameras = [CameraId(f"cam{n}") for n in range(40)]
    weights = {camera: 2.0 if n % 10 == 5 else 1.0 for n, camera in enumerate(cameras)}
    inbox, governor = Inbox(weights, clock=lambda: now[0]), Throttle(dict.fromkeys(cameras, fps), weights)
    caps = {camera: RateCap(None, phase=chance.random()) for camera in cameras}
    due = [(chance.random() / fps, n) for n in range(len(cameras))]
    heapq.heapify(due)
    used: dict[CameraId, int] = dict.fromkeys(cameras, 0)
    late: list[float] = []
    begun_at, taken, replaced = 0.0, 0, 0
    while now[0] < seconds:
        asked_at = now[0]
        while due[0][0] <= now[0] or not len(inbox):
            at, n = heapq.heappop(due)
            heapq.heappush(due, (at + 1 / fps, n))
            now[0] = max(now[0], at)
            caps[cameras[n]].change(governor.limits.get(cameras[n]))
            if caps[cameras[n]].wants(at):
                inbox.put(frame(cameras[n], at))
        frames = inbox.take_frames(0, governor.batch)
        dropped = sum(inbox.dropped.values())
        governor.spent(asked_at - begun_at, now[0] - asked_at, taken, dropped - replaced)
        begun_at, taken, replaced = now[0], len(frames), dropped
        now[0] += price_s * len(frames)
        if now[0] > seconds / 4:
            late += [now[0] - one.captured_at for one in frames]
            for one in frames:
                used[one.camera] += 1
    plain = [used[camera] for camera in cameras if weights[camera] == 1]
    level = sum(plain) / len(plain)
    assert 0.9 * level <= min(plain) <= max(plain) <= 1.1 * level
    assert [used[camera] / level for camera in cameras if weights[camera] == 2] == pytest.approx([2.0] * 4, rel=0.1)
    assert sum(used.values()) * price_s >= 0.85 * 0.75 * seconds
    assert sorted(late)[int(0.99 * len(late))] <= 1.0
