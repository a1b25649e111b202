"""Cameras and cores are spread evenly; a camera moves only where it helps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_stream.ingest.stats import CameraStats
from reid_stream.pipeline import PerceiveCounts
from reid_stream.records import CameraId
from reid_stream.runtime.workers.balancing import PATIENCE, WINDOW_S, WorkerLoads
from reid_stream.runtime.workers.messages import WorkerReport
from reid_stream.runtime.workers.placement import CameraMove, assign, rebalance, split_cores, worker_count

A, B, C, D = (CameraId(name) for name in "abcd")


@pytest.mark.parametrize(
    ("wanted", "cores", "cameras", "workers"),
    [("auto", 2, 10, 1), ("auto", 8, 10, 2), ("auto", 64, 10, 10), (4, 2, 10, 4), (4, 64, 3, 3), ("auto", 1, 1, 1)],
)
def test_as_many_workers_as_asked_for_or_as_cores_can_feed(
    wanted: int | str, cores: int, cameras: int, workers: int
) -> None:
    assert worker_count(wanted, cores, cameras) == workers


@given(st.sets(st.integers(0, 127), min_size=1, max_size=64), st.integers(1, 16))
def test_every_core_goes_to_one_worker_or_all_to_each(cores: set[int], workers: int) -> None:
    split = split_cores(sorted(cores), workers)
    assert len(split) == workers
    if workers <= len(cores):
        assert sorted(core for part in split for core in part) == sorted(cores)
        assert max(map(len, split)) - min(map(len, split)) <= 1
    else:
        assert set(split) == {tuple(sorted(cores))}


@given(st.lists(st.floats(0.1, 30), min_size=1, max_size=40), st.integers(1, 8))
def test_loads_are_assigned_within_the_bound_of_graham(loads: list[float], workers: int) -> None:
    assigned = assign({CameraId(str(n)): load for n, load in enumerate(loads)}, workers)
    sums = [sum(loads[int(camera)] for camera in mine) for mine in assigned]
    assert sorted(int(camera) for mine in assigned for camera in mine) == list(range(len(loads)))
    assert max(sums) <= sum(loads) / workers + max(loads) * (1 - 1 / workers) + 1e-9


def test_a_camera_moves_from_the_busiest_to_the_idlest_and_rather_one_without_people() -> None:
    loads = {1: {A: 0.5, B: 0.4, C: 0.4}, 2: {D: 0.3}}
    assert rebalance(loads, {}) == CameraMove(A, 1, 2)
    assert rebalance(loads, {A: True, C: True}) == CameraMove(B, 1, 2)


def test_nothing_moves_where_it_would_not_help_or_no_camera_lacks_frames() -> None:
    assert rebalance({1: {A: 2.0}, 2: {B: 0.1}}, {}) is None
    assert rebalance({1: {A: 0.3, B: 0.3}, 2: {C: 0.1}}, {}) is None
    assert rebalance({1: {A: 0.5, B: 0.5}, 2: {C: 0.5, D: 0.4}}, {}) is None
    assert rebalance({1: {A: 2.0, B: 2.0}}, {}) is None


def report(used: dict[CameraId, int], busy_s: float, frames: dict[CameraId, int]) -> WorkerReport:
    return WorkerReport(
        stage=None,
        stage_s=0.0,
        lost=(),
        stats=tuple(CameraStats(camera, "x", state="up", used=count) for camera, count in used.items()),
        captured={},
        in_view={},
        frames=frames,
        replaced={},
        counts=PerceiveCounts(),
        times={},
        busy_s=busy_s,
        crops_lost=0,
    )


def test_a_camera_moves_once_loads_have_differed_for_long_and_loads_are_learned_again_after() -> None:
    loads, cameras = WorkerLoads(), {1: [A, B, C], 2: [D]}
    moves = []
    for second in range(400):
        loads.update(1, report(dict.fromkeys((A, B, C), 10 * second), 0.9, {A: 3, B: 3, C: 3}), float(second))
        loads.update(2, report({D: 10 * second}, 0.2, {D: 10}), float(second))
        move = loads.due(float(second), cameras)
        moves += [(second, move)] if move is not None else []
    (first, move), *later = moves
    assert (move.source, move.target) == (1, 2)
    assert first >= PATIENCE * WINDOW_S
    assert all(after - before >= PATIENCE * WINDOW_S for (before, _), (after, _) in zip(moves, later, strict=False))


def test_a_load_that_differs_for_a_while_moves_nothing() -> None:
    loads, cameras = WorkerLoads(), {1: [A, B], 2: [C]}
    for second in range(300):
        is_busy = second % 60 < 30
        loads.update(1, report({A: 10 * second, B: 10 * second}, 0.9 if is_busy else 0.1, {A: 4, B: 4}), float(second))
        loads.update(2, report({C: 10 * second}, 0.1, {C: 8}), float(second))
        assert loads.due(float(second), cameras) is None
