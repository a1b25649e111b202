"""Overload is reported once at its start and once at its end, and nothing else is reported as overload."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_stream.events import DaemonOverloaded, DaemonRecovered
from reid_stream.ingest.overload_alarm import OverloadAlarm
from reid_stream.ingest.stats import CameraStats, State
from reid_stream.records import CameraId

CAMERAS = [CameraId("door"), CameraId("till")]


class World:
    """Two cameras at 10 fps, looked at four times a second."""

    def __init__(self) -> None:
        self.overload = OverloadAlarm("run", dict.fromkeys(CAMERAS, 10.0))
        self.stats = {camera: CameraStats(camera, "x", state="up") for camera in CAMERAS}
        self.used = dict.fromkeys(CAMERAS, 0.0)
        self.now = 100.0
        self.published: list[DaemonOverloaded | DaemonRecovered] = []

    def live(self, seconds: float, shares: dict[str, float], cause: str | None = "slowed") -> None:
        for _ in range(round(seconds * 4)):
            self.now += 0.25
            for camera, stats in self.stats.items():
                share = shares.get(camera, 1.0)
                self.used[camera] += 2.5 * share
                if cause is None:  # replaced in the inbox
                    stats.used = round(stats.used + 2.5)
                else:
                    stats.used = round(self.used[camera])
                    stats.dropped[cause] = round((self.now - 100.0) * 10) - stats.used
            published = self.overload.update(
                self.now, 1e9 + self.now, self.stats, {camera: round(used) for camera, used in self.used.items()}
            )
            if published is not None:
                self.published.append(published)


def test_slow_first_images_are_no_overload_but_a_pipeline_that_never_starts_is() -> None:
    world = World()
    world.live(12, dict.fromkeys(CAMERAS, 0.0))
    world.live(20, {})
    assert world.published == []
    stuck = World()
    stuck.live(40, dict.fromkeys(CAMERAS, 0.0))
    assert len(stuck.published) == 1


def test_overload_is_reported_once_with_the_worst_camera_and_its_end_once() -> None:
    world = World()
    world.live(20, {})
    assert world.published == []
    world.live(30, {"door": 0.2, "till": 0.4})
    (published,) = world.published
    assert isinstance(published, DaemonOverloaded)
    assert published.slowest == "door"
    assert 0.15 <= published.least <= 0.25
    assert 0.35 <= published.most <= 0.45
    assert 19 <= published.wanted_fps <= 21
    assert world.overload.is_on
    world.live(30, {})
    assert isinstance(world.published[-1], DaemonRecovered)
    assert len(world.published) == 2
    assert 30 <= world.published[-1].after_s <= 45


def test_frames_that_newer_ones_replace_count_as_well() -> None:
    world = World()
    world.live(20, {"door": 0.5, "till": 0.5}, cause=None)
    assert isinstance(world.published[0], DaemonOverloaded)


def test_a_camera_that_decodes_key_frames_alone_for_want_of_time_still_wants_its_rate() -> None:
    world = World()
    world.live(10, {})
    for stats in world.stats.values():
        stats.limit_fps, stats.keys_only = 0.5, True
    for _ in range(60):
        world.now += 0.5
        for camera, stats in world.stats.items():
            stats.last_packet_at = world.now
            stats.used += random.Random(world.now).random() < 0.25
            world.used[camera] = stats.used
        published = world.overload.update(
            world.now, world.now, world.stats, {c: round(n) for c, n in world.used.items()}
        )
        world.published += [published] if published is not None else []
    assert [type(published) for published in world.published] == [DaemonOverloaded]


def test_a_camera_that_is_down_or_gives_less_than_it_may_is_no_overload() -> None:
    world = World()
    world.stats[CAMERAS[1]].state = "waiting"
    for _ in range(200):
        world.now += 0.25
        world.stats[CAMERAS[0]].used += 1  # 4 fps of 10
        world.used[CAMERAS[0]] += 1
        published = world.overload.update(
            world.now, world.now, world.stats, {c: round(n) for c, n in world.used.items()}
        )
        assert published is None


@pytest.mark.parametrize("limit_fps", [None, 5.0])
def test_cameras_that_all_fall_silent_are_no_overload_however_long_it_lasts(limit_fps: float | None) -> None:
    world = World()
    world.live(10, {})
    for stats in world.stats.values():
        stats.limit_fps = limit_fps
    for _ in range(200):
        world.now += 0.25
        used = {camera: round(count) for camera, count in world.used.items()}
        assert world.overload.update(world.now, world.now, world.stats, used) is None
    assert world.overload.share == 1.0


_counts = st.integers(0, 1_000_000)
_states: st.SearchStrategy[State] = st.sampled_from(["connecting", "up", "up", "up", "waiting", "ended", "stopped"])
_one = st.tuples(_states, _counts, _counts, _counts, st.none() | st.floats(0, 1e3), st.booleans())
_look = st.tuples(
    st.sampled_from([0.0, 0.25, 2.5, 3.0, 1e6]),
    st.dictionaries(st.sampled_from([*CAMERAS, CameraId("yard")]), _one),
    st.dictionaries(st.sampled_from([*CAMERAS, CameraId("roof")]), _counts),
)


@given(
    wanted=st.dictionaries(st.sampled_from(CAMERAS), st.floats(0, 1e4)),
    start=st.sampled_from([0.0, 100.0]),
    looks=st.lists(_look, max_size=12),
)
def test_whatever_the_counts_are_a_look_never_fails_and_gives_sane_figures(
    wanted: dict[CameraId, float],
    start: float,
    looks: list[tuple[float, dict[CameraId, tuple[State, int, int, int, float | None, bool]], dict[CameraId, int]]],
) -> None:
    overload, now = OverloadAlarm("run", wanted), start
    for passed_s, cameras, used in looks:
        now += passed_s
        stats = {}
        for camera, (state, given_on, slowed, late, limit_fps, keys_only) in cameras.items():
            one = CameraStats(camera, "x", state=state, used=given_on, limit_fps=limit_fps, keys_only=keys_only)
            one.dropped |= {"slowed": slowed, "late": late}
            stats[camera] = one
        was_on = overload.is_on
        published = overload.update(now, now, stats, used)
        assert math.isfinite(overload.share)
        assert overload.share >= 0
        if isinstance(published, DaemonOverloaded):
            assert not was_on
            assert published.slowest in stats
            assert 0 <= published.least <= published.most <= 1
        elif published is not None:
            assert was_on
