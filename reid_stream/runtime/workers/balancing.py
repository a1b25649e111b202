"""Measure the load of each camera, and decide when one should move to another worker (pure)."""

from collections.abc import Mapping, Sequence

from reid_stream.records import CameraId
from reid_stream.runtime.workers.messages import WorkerReport
from reid_stream.runtime.workers.placement import CameraMove, rebalance

WINDOW_S = 15.0
"""Seconds over which loads are measured."""
PATIENCE = 4
"""Windows in a row that must ask for the same move, since it breaks the camera's tracks and reopens its stream."""


class _Measured:
    """A worker over one window."""

    def __init__(self, now: float) -> None:
        self.start_at = now
        self.busy_s = 0.0
        self.frames = 0
        self.offered: dict[CameraId, int] = {}
        self.first: dict[CameraId, int] = {}
        self.in_view: dict[CameraId, int] = {}


class WorkerLoads:
    """Loads from the reports of all workers; times on any steady clock."""

    def __init__(self) -> None:
        self._open: dict[int, _Measured] = {}
        self._loads: dict[int, dict[CameraId, float]] = {}
        self._in_view: dict[CameraId, bool] = {}
        self.busy: dict[int, float] = {}
        """Share of time that each worker spends in perception, 0 to 1."""
        self._asked_at: float | None = None
        self._asked: list[CameraMove] = []

    def update(self, worker: int, report: WorkerReport, now: float) -> float:
        """Add a report; return the share of time that the worker lately spent in perception."""
        window = self._open.setdefault(worker, _Measured(now))
        window.busy_s += report.busy_s
        window.frames += sum(report.frames.values())
        for stats in report.stats:
            offered = stats.used + stats.dropped["slowed"]
            first = window.first.setdefault(stats.camera, offered)
            window.offered[stats.camera] = offered - first
        self._in_view.update({camera: count > 0 for camera, count in report.in_view.items()})
        passed_s = now - window.start_at
        if passed_s >= WINDOW_S:
            self.busy[worker] = window.busy_s / passed_s
            price_s = window.busy_s / max(1, window.frames)
            self._loads[worker] = {camera: n / passed_s * price_s for camera, n in window.offered.items()}
            self._open[worker] = _Measured(now)
        return self.busy.get(worker, window.busy_s / passed_s if passed_s > 1 else 0.0)

    def forget(self, worker: int) -> None:
        """Forget the loads of a worker that has ended."""
        self._open.pop(worker, None)
        self._loads.pop(worker, None)
        self._asked.clear()

    def due(self, now: float, cameras: Mapping[int, Sequence[CameraId]]) -> CameraMove | None:
        """Return the camera that should move now, if loads have differed for long enough."""
        if self._asked_at is not None and now - self._asked_at < WINDOW_S:
            return None
        self._asked_at = now
        if set(self._loads) != set(cameras):
            return None
        loads = {
            worker: {camera: self._loads[worker].get(camera, 0.0) for camera in mine}
            for worker, mine in cameras.items()
        }
        move = rebalance(loads, self._in_view)
        if move is None or any((asked.source, asked.target) != (move.source, move.target) for asked in self._asked):
            self._asked.clear()
        if move is not None:
            self._asked.append(move)
        if len(self._asked) < PATIENCE:
            return None
        self._asked.clear()
        self._loads.clear()
        return move
