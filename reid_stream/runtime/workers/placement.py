"""Assign cameras and CPU cores to workers (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from reid_stream.records import CameraId

CORES_EACH = 4
"""Cores per worker where the settings name no number; see docs/decisions/0020-workers-per-cores.md."""
UNEVEN = 0.25
"""Difference between loads, as a share of the mean, up to which no camera moves."""
FULL = 0.8
"""Share of time in perception up to which a worker has time to spare, so that no camera needs to move."""


def worker_count(wanted: int | str, cores: int, cameras: int) -> int:
    """Return the number of workers: `wanted`, or one per four cores; never more than cameras."""
    asked = wanted if isinstance(wanted, int) else max(1, cores // CORES_EACH)
    return max(1, min(asked, cameras))


def split_cores(cores: Sequence[int], workers: int) -> list[tuple[int, ...]]:
    """Split cores evenly into neighbouring groups, one per worker; where there are too few, each worker gets all."""
    ordered = sorted(cores)
    if workers > len(ordered):
        return [tuple(ordered)] * workers
    bounds = [round(n * len(ordered) / workers) for n in range(workers + 1)]
    return [tuple(ordered[low:high]) for low, high in pairwise(bounds)]


def assign(loads: Mapping[CameraId, float], workers: int) -> list[list[CameraId]]:
    """Assign cameras so that loads are even: the heaviest first, each to the least loaded worker (Graham, 1969)."""
    assigned: list[list[CameraId]] = [[] for _ in range(workers)]
    sums = [0.0] * workers
    for camera in sorted(loads, key=lambda camera: -loads[camera]):
        least = min(range(workers), key=lambda n: (sums[n], len(assigned[n])))
        assigned[least].append(camera)
        sums[least] += loads[camera]
    return assigned


@dataclass(frozen=True, slots=True)
class CameraMove:
    """A camera that should move from worker `source` to worker `target`."""

    camera: CameraId
    source: int
    target: int


def rebalance(loads: Mapping[int, Mapping[CameraId, float]], busy: Mapping[CameraId, bool]) -> CameraMove | None:
    """Return the camera that should move, if any.

    Args:
        loads: seconds of work per second that a camera's frames take, by worker and camera.
        busy: whether people are in view of a camera, whose tracks a move would break.
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
