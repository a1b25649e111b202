"""Which worker has which cameras and which processor cores (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from reid_stream.records import CameraId

CORES_EACH = 4
"""Cores to a worker where nobody says how many there should be; see docs/decisions/0020-workers-per-cores.md."""
UNEVEN = 0.25
"""Loads may differ by so much of the mean before a camera moves."""
FULL = 0.8
"""Share of a worker's time at work from which on it counts: while nobody is short of time, nothing needs to move."""


def how_many(wanted: int | str, cores: int, cameras: int) -> int:
    """Workers to start: as many as were asked for, or one for every four cores; never more than cameras."""
    asked = wanted if isinstance(wanted, int) else max(1, cores // CORES_EACH)
    return max(1, min(asked, cameras))


def split_cores(cores: Sequence[int], workers: int) -> list[tuple[int, ...]]:
    """Neighbouring cores to each worker, as even as they go; all of them to each where there are too few."""
    ordered = sorted(cores)
    if workers > len(ordered):
        return [tuple(ordered)] * workers
    bounds = [round(n * len(ordered) / workers) for n in range(workers + 1)]
    return [tuple(ordered[low:high]) for low, high in pairwise(bounds)]


def deal(loads: Mapping[CameraId, float], workers: int) -> list[list[CameraId]]:
    """Spread cameras so that loads are even: the heaviest first, each to whoever has least (Graham, 1969)."""
    dealt: list[list[CameraId]] = [[] for _ in range(workers)]
    sums = [0.0] * workers
    for camera in sorted(loads, key=lambda camera: -loads[camera]):
        least = min(range(workers), key=lambda n: (sums[n], len(dealt[n])))
        dealt[least].append(camera)
        sums[least] += loads[camera]
    return dealt


@dataclass(frozen=True, slots=True)
class CameraMove:
    """A camera that should change its worker."""

    camera: CameraId
    source: int
    target: int


def rebalance(loads: Mapping[int, Mapping[CameraId, float]], busy: Mapping[CameraId, bool]) -> CameraMove | None:
    """Say which camera should move, if one should.

    Args:
        loads: by worker and camera: seconds of work a second that its frames would take.
        busy: cameras with people in view, whose tracks would break.
    """
    sums = {worker: sum(cameras.values()) for worker, cameras in loads.items()}
    if len(sums) < 2:
        return None
    most, least = max(sums, key=lambda n: sums[n]), min(sums, key=lambda n: sums[n])
    mean = sum(sums.values()) / len(sums)
    gap = sums[most] - sums[least]
    if sums[most] < FULL or gap <= UNEVEN * mean:
        return None
    # A camera of load x changes the gap from g to |g - 2x|.
    helpful = [camera for camera, load in loads[most].items() if abs(gap - 2 * load) < gap - UNEVEN * mean / 2]
    if not helpful:
        return None
    camera = min(helpful, key=lambda camera: (busy.get(camera, False), abs(gap - 2 * loads[most][camera])))
    return CameraMove(camera, most, least)
