"""Real workers: a killed or hung one is restarted without effect on the others; all end in the order of the data."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rtsp.clips import draw_clip
from reid_stream.assembly.site import Site, assemble
from reid_stream.config.settings import Settings
from reid_stream.errors import ModelError
from reid_stream.events import (
    CameraDown,
    CameraUp,
    DaemonStalled,
    DaemonStopped,
    Event,
    IdentityEntered,
    IdentityLeft,
    WorkerDown,
    WorkerUp,
)
from reid_stream.runtime.workers.placement import CameraMove
from reid_stream.runtime.workers.pool import WorkerPool
from tests.builders import ListSink
from tests.integration.program import tiny_models

GIVE_UP_S = 90.0


@dataclass
class Running:
    site: Site
    sink: ListSink
    stop: threading.Event
    thread: threading.Thread

    @property
    def pool(self) -> WorkerPool:
        assert isinstance(self.site.daemon.perception, WorkerPool)
        return self.site.daemon.perception

    def of_kind(self, kind: type[Event]) -> list[Any]:
        return [event for event in list(self.sink.events) if isinstance(event, kind)]

    def until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + GIVE_UP_S
        while not holds():
            assert self.thread.is_alive()
            assert time.monotonic() < end, [type(event).__name__ for event in self.sink.events]
            time.sleep(0.02)

    def frames(self, camera: str) -> int:
        return next((n for name, n in self.site.daemon.progress.frames.items() if name == camera), 0)

    def pid(self, number: int) -> int:
        pid = self.pool.workers[number - 1].pid
        assert pid is not None
        return pid

    def end(self) -> None:
        self.stop.set()
        self.thread.join(GIVE_UP_S)
        assert not self.thread.is_alive()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models(tmp_path_factory.mktemp("models"))


@contextmanager
def running(folder: Path, models: Path, **more: object) -> Iterator[Running]:
    clip = draw_clip(folder / "a.mp4", seconds=4)
    settings = Settings.model_validate(
        {
            "workers": 2,
            "cameras": [{"id": name, "url": str(clip), "max_fps": 5, "loop": True} for name in ("door", "till")],
            "models": {"detector": str(models / "detector"), "embedder": str(models / "embedder")},
            **more,
        }
    )
    sink, stop = ListSink(), threading.Event()
    with assemble(settings, run="r", sink=sink) as site:
        thread = threading.Thread(target=site.daemon.run, args=(stop,))
        thread.start()
        try:
            yield Running(site, sink, stop, thread)
        finally:
            stop.set()
            thread.join(GIVE_UP_S)


def test_a_worker_that_is_killed_comes_back_with_its_cameras_and_the_others_miss_nothing(
    tmp_path: Path, shelf: Path
) -> None:
    with running(tmp_path, shelf, store={"folder": str(tmp_path / "store"), "settle_s": 0}) as run:
        run.until(lambda: run.frames("door") > 5 and run.frames("till") > 5)
        victim, other = run.pool.workers
        (lost,), (kept,) = victim.cameras, other.cameras
        used, before = run.frames(kept), run.frames(lost)
        killed = (victim.sent, victim.sent_crops)
        os.kill(run.pid(1), signal.SIGKILL)
        run.until(lambda: run.frames(lost) > before + 5)
        assert run.frames(kept) > used
        (down,) = run.of_kind(WorkerDown)
        assert (down.worker, down.cameras, down.cause, down.reason) == (1, (lost,), "crashed", "crashed (SIGKILL)")
        assert [up.starts for up in run.of_kind(WorkerUp) if up.worker == 1] == [1, 2]
        assert [event.camera for event in run.of_kind(CameraDown)] == [lost]
        assert [event.camera for event in run.of_kind(CameraUp)].count(lost) == 2
        stats = run.site.source.stats
        assert stats[lost].reconnects == 1
        assert stats[kept].reconnects == 0
        # What went through is counted over both lives; the other camera lost no frame meanwhile.
        assert run.site.daemon.perception.counts.frames >= run.frames(lost) + run.frames(kept)
        replaced = run.site.source.replaced.get(kept, 0)
        assert sum(stats[kept].dropped[cause] for cause in ("late", "lost", "busy")) + replaced <= stats[kept].used / 2
        value = run.site.metrics.registry.get_sample_value
        assert value("reid_stream_workers_lost_total", {"worker": "1", "cause": "crashed"}) == 1
        assert (value("reid_stream_stage_seconds_count", {"stage": "detect"}) or 0) > 5
        run.end()
        assert isinstance(run.sink.events[-1], DaemonStopped)
        assert run.sink.events[-1].reason == "stopped"
        assert len(run.of_kind(IdentityEntered)) == len(run.of_kind(IdentityLeft)) > 0
    # What the killed process and the others sent was received, or is counted as lost.
    counts, crops = run.pool.link.counts, run.pool._keep.counts  # type: ignore[union-attr]
    assert counts.received + counts.lost == sum(one.value for one in (killed[0], victim.sent, other.sent)) > 10
    assert crops.received + crops.lost == sum(one.value for one in (killed[1], victim.sent_crops, other.sent_crops)) > 2
    assert value("reid_stream_observations_total") == counts.received
    tracks = sorted((tmp_path / "store").glob("*/*/*/track.json"))
    assert {track.parts[-4] for track in tracks} == {"door", "till"}
    assert {track.parent.name.rpartition("-")[0] for track in tracks} >= {"r.w1.1", "r.w1.2", "r.w2.1"}


def test_a_worker_that_hangs_is_ended_and_started_again(tmp_path: Path, shelf: Path) -> None:
    with running(tmp_path, shelf, watchdog={"stage_s": 3}) as run:
        run.until(lambda: run.frames("door") > 2 and run.frames("till") > 2)
        os.kill(run.pid(2), signal.SIGSTOP)
        run.until(lambda: bool(run.of_kind(WorkerDown)))
        assert run.of_kind(WorkerDown)[0].cause == "stuck"
        assert [stall.action for stall in run.of_kind(DaemonStalled)][:1] == ["restarted"]
        run.until(lambda: any(up.worker == 2 and up.starts == 2 for up in run.of_kind(WorkerUp)))
        assert run.site.daemon.abandoned == []


def test_a_model_that_cannot_be_loaded_ends_the_daemon_as_with_one_process(tmp_path: Path, shelf: Path) -> None:
    clip = draw_clip(tmp_path / "a.mp4", seconds=1)
    settings = Settings.model_validate(
        {
            "workers": 2,
            "cameras": [{"id": name, "url": str(clip)} for name in ("door", "till")],
            "models": {"detector": str(tmp_path / "nothing"), "embedder": str(shelf / "embedder")},
        }
    )
    sink = ListSink()
    with assemble(settings, run="r", sink=sink) as site, pytest.raises(ModelError, match="nothing"):
        site.daemon.run(threading.Event())
    assert isinstance(sink.events[-1], DaemonStopped)


def test_files_that_end_end_the_daemon_with_all_they_showed(tmp_path: Path, shelf: Path) -> None:
    clip = draw_clip(tmp_path / "b.mp4", seconds=2)
    cameras = [{"id": name, "url": str(clip), "max_fps": 5} for name in ("door", "till")]
    with running(tmp_path, shelf, cameras=cameras) as run:
        run.thread.join(GIVE_UP_S)
        assert run.sink.events[-1].reason == "all cameras ended"  # type: ignore[union-attr]
        counts = run.site.daemon.perception.counts
        assert counts.frames == run.frames("door") + run.frames("till") > 2
        value = run.site.metrics.registry.get_sample_value
        assert value("reid_stream_observations_total") == counts.records


def test_a_camera_that_moves_continues_in_the_other_worker_where_it_stopped(tmp_path: Path, shelf: Path) -> None:
    clip = draw_clip(tmp_path / "c.mp4", seconds=4)
    cameras = [{"id": name, "url": str(clip), "max_fps": 5, "loop": True} for name in ("door", "till", "yard")]
    with running(tmp_path, shelf, cameras=cameras, store={"folder": str(tmp_path / "store"), "settle_s": 0}) as run:
        run.until(lambda: all(run.frames(name) > 3 for name in ("door", "till", "yard")))
        source, target = sorted(run.pool.workers, key=lambda worker: -len(worker.cameras))
        moving, staying = source.cameras
        before = run.site.source.stats[moving].used
        moves = [CameraMove(moving, source.number, target.number)]
        run.pool._loads.due = lambda now, cameras: moves.pop() if moves else None  # type: ignore[method-assign]
        run.until(lambda: moving in target.cameras and run.site.source.stats[moving].used > before + 5)
        assert source.cameras == [staying]
        assert run.site.source.stats[moving].reconnects == 1
        assert run.site.source.stats[staying].reconnects == 0
        assert run.of_kind(WorkerDown) == []
        assert [event.camera for event in run.of_kind(CameraDown)] == [moving]
        value = run.site.metrics.registry.get_sample_value
        assert value("reid_stream_cameras_moved_total") == 1
        run.end()
    runs = {track.parent.name.rpartition("-")[0] for track in (tmp_path / "store" / moving).glob("*/*/track.json")}
    assert runs == {"r.w1.1", "r.w2.1"}
