"""Cameras come, go and change while the daemon runs; the others miss nothing, and a faulty file changes nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rtsp.clips import draw_clip
from reid_stream.assembly.settings_follower import SettingsFollower
from reid_stream.assembly.site import Site, assemble
from reid_stream.config import cams_yaml
from reid_stream.events import (
    CameraAdded,
    CameraConfigured,
    CameraDown,
    CameraRemoved,
    CameraUp,
    DaemonSettingsRead,
    Event,
    IdentityEntered,
    IdentityLeft,
    ZoneEntered,
    ZoneLeft,
)
from reid_stream.records import CameraId
from tests.builders import ListSink
from tests.integration.program import tiny_models

GIVE_UP_S = 90.0
pytestmark = pytest.mark.timeout(240)


@dataclass
class Running:
    site: Site
    sink: ListSink
    follower: SettingsFollower
    path: Path
    models: Path
    thread: threading.Thread
    workers: int

    def published(self, kind: type[Event]) -> list[Any]:
        return [event for event in list(self.sink.events) if isinstance(event, kind)]

    def until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + GIVE_UP_S
        while not holds():
            assert self.thread.is_alive()
            assert time.monotonic() < end, self.sink.events[-20:]
            time.sleep(0.02)

    def frames(self, camera: str) -> int:
        return self.site.daemon.progress.frames.get(CameraId(camera), 0)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.site.metrics.registry.get_sample_value(f"reid_stream_{name}", labels)

    def write(self, cameras: dict[str, str], more: str = "") -> None:
        write(self.path, self.models, cameras, self.workers, more)


def write(path: Path, models: Path, cameras: dict[str, str], workers: int, more: str = "") -> None:
    lines = [f"workers: {workers}", f"models: {{detector: {models}/detector, embedder: {models}/embedder}}", more]
    lines += ["cameras:", *(f"  - {{id: {name}, {rest}}}" for name, rest in cameras.items())]
    new = path.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n")
    new.replace(path)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = draw_clip(tmp_path_factory.mktemp("clips") / "a.mp4", seconds=4)
    return f"url: {path}, loop: true, max_fps: 3"


@contextmanager
def running(folder: Path, models: Path, cameras: dict[str, str], workers: int = 1) -> Iterator[Running]:
    path = folder / "cams.yaml"
    write(path, models, cameras, workers)
    settings = cams_yaml.load(path)
    sink, stop = ListSink(), threading.Event()
    with assemble(settings, run="r", sink=sink) as site:
        thread = threading.Thread(target=site.daemon.run, args=(stop,))
        thread.start()
        try:
            with SettingsFollower(path, settings, site) as follower:
                yield Running(site, sink, follower, path, models, thread, workers)
        finally:
            stop.set()
            thread.join(GIVE_UP_S)
            assert not thread.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_cameras_are_added_changed_and_removed_and_the_others_miss_no_frame(
    workers: int, tmp_path: Path, models: Path, clip: str
) -> None:
    with running(tmp_path, models, {"stays": clip, "goes": clip}, workers) as run:
        run.until(lambda: len(run.published(IdentityEntered)) >= 2)
        for _ in range(2):  # the second time with names and numbers that were used before
            run.write({"stays": clip, "goes": clip, "comes": clip})
            run.until(lambda: run.frames("comes") > 5 and run.frames("goes") > 5)
            run.write({"stays": clip, "comes": f"{clip}, transport: udp"})
            run.until(
                lambda: len(run.published(CameraRemoved)) > 0 and run.published(CameraRemoved)[-1].camera == "goes"
            )
            used = run.frames("comes")
            run.until(lambda used=used: run.frames("comes") > used + 5)  # type: ignore[misc]
            run.write({"stays": clip, "goes": clip})
            run.until(lambda: run.published(CameraRemoved)[-1].camera == "comes" and run.frames("goes") > 5)
        stats = run.site.source.stats[CameraId("stays")]
        assert [event.camera for event in run.published(CameraAdded)] == ["comes", "goes"] * 2
        assert [event.camera for event in run.published(CameraRemoved)] == ["goes", "comes"] * 2
        assert {(event.camera, event.keys) for event in run.published(CameraConfigured)} == {("comes", ("transport",))}
        # A busy machine reads, decodes and takes frames late: the drill `cameras hot`, which runs alone, counts those.
        # What is asked for here is that the changes cost nothing of themselves.
        lost = sum(count for cause, count in stats.dropped.items() if cause not in ("rate", "late", "behind"))
        assert (stats.reconnects, lost) == (0, 0)
        assert [event.camera for event in run.published(CameraUp)].count("stays") == 1
        assert all(event.camera != "stays" for event in run.published(CameraDown))
        # One visit that never ended, while those to the other cameras end with them.
        assert [event.camera for event in run.published(IdentityEntered)].count("stays") == 1
        run.until(lambda: CameraId("comes") not in run.site.view.here())
        assert {event.camera for event in run.published(IdentityLeft)} <= {"comes", "goes"}
        assert {stats.camera for stats in run.site.source.stats.values()} == {"stays", "goes"}
        assert run.metric("camera_up", camera="comes") is None
        assert run.site.daemon.health.ready()[1].startswith("ok, 2 of 2 cameras")
        assert {event.outcome for event in run.published(DaemonSettingsRead)} == {"applied"}
    tracks = [(event.camera, event.run, event.track) for event in run.published(IdentityEntered)]
    assert len(set(tracks)) == len(tracks)


@pytest.mark.slow
def test_a_faulty_file_is_refused_as_a_whole_with_every_reason(tmp_path: Path, models: Path, clip: str) -> None:
    with running(tmp_path, models, {"a": clip}) as run:
        run.until(lambda: run.frames("a") > 2)
        run.write({"a": clip, "b": f"{clip}, priority: 1000", "c": "url: rtsp://u:secret99@h/x, fps: 3"})
        run.until(lambda: bool(run.published(DaemonSettingsRead)))
        (read,) = run.published(DaemonSettingsRead)
        assert (read.outcome, read.needs_restart) == ("refused", ())
        assert "cameras[1].priority: must be at most 100" in read.reason
        assert "cameras[2].fps: must be a known key" in read.reason
        assert "secret99" not in read.reason
        assert set(run.site.source.stats) == {"a"}
        assert run.metric("settings_valid") == 0
        text = "ok, 1 of 1 cameras; cams.yaml was changed and refused, events: nowhere"
        assert run.site.daemon.health.ready() == (True, text)
        run.write({"a": clip, "b": clip})
        run.until(lambda: run.frames("b") > 2)
        run.until(lambda: run.metric("settings_valid") == 1)
        run.write({"a": f"{clip}, enabled: false"})
        run.until(lambda: run.metric("settings_valid") == 0)
        assert "at least one camera must be enabled" in run.published(DaemonSettingsRead)[-1].reason


@pytest.mark.slow
def test_settings_that_need_a_restart_are_named_while_the_cameras_are_applied(
    tmp_path: Path, models: Path, clip: str
) -> None:
    with running(tmp_path, models, {"a": clip}) as run:
        run.until(lambda: run.frames("a") > 2)
        run.write({"a": clip, "b": clip}, more="detect: {score: 0.2}\nstore: {max_gb: 3}")
        run.until(lambda: run.frames("b") > 2)
        run.until(lambda: bool(run.published(DaemonSettingsRead)))
        assert run.published(DaemonSettingsRead)[-1].needs_restart == ("detect.score", "store.max_gb")
        assert "a restart is needed for detect.score, store.max_gb" in run.site.daemon.health.ready()[1]
        assert run.metric("settings_pending") == 2
        run.write({"a": clip, "b": clip})
        run.until(lambda: run.metric("settings_pending") == 0)


@pytest.mark.slow
def test_zones_apply_without_a_restart_and_end_when_they_are_removed(tmp_path: Path, models: Path, clip: str) -> None:
    with running(tmp_path, models, {"a": clip}) as run:
        run.until(lambda: len(run.published(IdentityEntered)) == 1)
        run.write({"a": f"{clip}, zones: {{all: [[0, 0], [1, 0], [1, 1], [0, 1]]}}"})
        run.until(lambda: [event.zone for event in run.published(ZoneEntered)] == ["all"])
        run.write({"a": clip})
        run.until(lambda: [event.zone for event in run.published(ZoneLeft)] == ["all"])
        assert [event.keys for event in run.published(CameraConfigured)] == [("zones",)] * 2
        assert run.site.source.stats[CameraId("a")].reconnects == 0
        assert run.published(IdentityLeft) == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_new_region_applies_without_opening_the_stream_again(
    workers: int, tmp_path: Path, models: Path, clip: str
) -> None:
    with running(tmp_path, models, {"a": clip, "b": clip}, workers) as run:
        run.until(lambda: len(run.published(IdentityEntered)) == 2)
        away = "region: [[0, 0], [0.1, 0], [0.1, 0.1]]"
        run.write({"a": f"{clip}, {away}", "b": clip})
        run.until(lambda: [event.camera for event in run.published(IdentityLeft)] == ["a"])
        assert run.site.source.stats[CameraId("a")].reconnects == 0
        run.write({"a": clip, "b": clip})
        run.until(lambda: [event.camera for event in run.published(IdentityEntered)].count("a") == 2)
