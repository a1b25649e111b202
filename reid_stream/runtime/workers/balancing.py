"""How much work each camera is, as its worker's words tell, and when one should move (pure)."""

from collections.abc import Mapping, Sequence

from reid_stream.records import CameraId
from reid_stream.runtime.workers.messages import WorkerReport
from reid_stream.runtime.workers.placement import CameraMove, rebalance

WINDOW_S = 15.0
"""Loads are measured over so long ..."""
PATIENCE = 4
"""... and must say the same so often in a row before a camera moves: its tracks break, its stream begins anew."""


class _Measured:
    """A worker over one window."""

    def __init__(self, now: float) -> None:
        self.begin = now
        self.busy_s = 0.0
        self.frames = 0
        self.offered: dict[CameraId, int] = {}
        self.first: dict[CameraId, int] = {}
        self.in_view: dict[CameraId, int] = {}


class WorkerLoads:
    """Fed with every word of every worker; times on any steady clock."""

    def __init__(self) -> None:
        self._open: dict[int, _Measured] = {}
        self._loads: dict[int, dict[CameraId, float]] = {}
        self._in_view: dict[CameraId, bool] = {}
        self.busy: dict[int, float] = {}
        """Share of its time that each worker is at work."""
        self._asked_at: float | None = None
        self._said: list[CameraMove] = []

    def heard(self, worker: int, told: WorkerReport, now: float) -> float:
        """Learn from a word; gives the share of its time that the worker was at work lately."""
        window = self._open.setdefault(worker, _Measured(now))
        window.busy_s += told.busy_s
        window.frames += sum(told.frames.values())
        for stats in told.stats:
            offered = stats.used + stats.dropped["slowed"]
            first = window.first.setdefault(stats.camera, offered)
            window.offered[stats.camera] = offered - first
        self._in_view.update({camera: count > 0 for camera, count in told.in_view.items()})
        passed_s = now - window.begin
        if passed_s >= WINDOW_S:
            self.busy[worker] = window.busy_s / passed_s
            price_s = window.busy_s / max(1, window.frames)
            self._loads[worker] = {camera: n / passed_s * price_s for camera, n in window.offered.items()}
            self._open[worker] = _Measured(now)
        return self.busy.get(worker, window.busy_s / passed_s if passed_s > 1 else 0.0)

    def forget(self, worker: int) -> None:
        """Begin anew with a worker."""
        self._open.pop(worker, None)
        self._loads.pop(worker, None)
        self._said.clear()

    def due(self, now: float, cameras: Mapping[int, Sequence[CameraId]]) -> CameraMove | None:
        """Say which camera should move now, if loads have asked for it long enough."""
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
        if move is None or any((said.source, said.target) != (move.source, move.target) for said in self._said):
            self._said.clear()
        if move is not None:
            self._said.append(move)
        if len(self._said) < PATIENCE:
            return None
        self._said.clear()
        self._loads.clear()
        return move
