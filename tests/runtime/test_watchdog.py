"""A stage that hangs is replaced, or ends the daemon; either way an event says so."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rtsp.clips import draw_clip
from reid_stream import subscribe
from reid_stream.assembly.site import assemble
from reid_stream.config.settings import Match, Publish, Settings, Watchdog
from reid_stream.errors import StuckError
from reid_stream.events import (
    DaemonStalled,
    DaemonStopped,
    Event,
    IdentityEntered,
    IdentityLeft,
    IdentitySeen,
)
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.journal.direct import DirectIdentification
from reid_stream.link.inproc import InprocLink
from reid_stream.match.matcher import Matcher
from reid_stream.match.presence import Presence
from reid_stream.observe.metrics import Metrics
from reid_stream.pipeline import Identification, Perception
from reid_stream.publish.embedded_redis import EmbeddedRedis
from reid_stream.publish.projection import SiteView
from reid_stream.records import CameraId, Decision, Detections, Frame, Perceived
from reid_stream.runtime.daemon import Daemon, DaemonSettings, Monitors
from reid_stream.runtime.identification_thread import IdentificationThread
from reid_stream.runtime.perception_thread import PerceptionThread
from reid_stream.runtime.stages import WatchedStages
from reid_stream.runtime.watchdog import Pulse, StageLimits
from tests.builders import ListSink, ListSource, OnePerson, frame
from tests.integration.program import call, tiny_models, write_cams

CAMERAS = [CameraId("door"), CameraId("till")]
LIMIT_S = 0.2


class Hanging:
    """A stage that hangs in its calls of these numbers, from 0, until it is let go."""

    def __init__(self, *calls: int, then: Callable[..., Any]) -> None:
        self.let_go = threading.Event()
        self.came_back = threading.Event()
        self._calls, self._then, self._count = calls, then, 0

    def __call__(self, *arguments: Any) -> Any:
        number, self._count = self._count, self._count + 1
        if number in self._calls:
            self.let_go.wait(30)
            self.came_back.set()
        return self._then(*arguments)


class Slow(ListSource):
    """Gives a batch every few milliseconds, as cameras do."""

    def take_frames(self, timeout_s: float) -> list[Frame] | None:
        time.sleep(0.01)
        return super().take_frames(timeout_s)


@pytest.fixture
def hung() -> Iterator[list[Hanging]]:
    """Give a list of stages that are let go at the end, so that no thread is left behind."""
    stages: list[Hanging] = []
    yield stages
    for stage in stages:
        stage.let_go.set()


def build(
    sink: ListSink,
    *,
    source: ListSource | None = None,
    detect: Callable[[Sequence[Frame]], list[Detections]] | None = None,
    match: Callable[[Sequence[Perceived], float], list[Decision]] | None = None,
    restarts: int = 3,
    live: bool = True,
) -> Daemon:
    class Stage(Matcher):
        def update(self, records: Sequence[Perceived], now: float) -> list[Decision]:
            return super().update(records, now) if match is None else match(records, now)

    world, metrics, pulse = OnePerson(), Metrics(), Pulse()
    watchdog = Watchdog(stage_s=LIMIT_S, restarts=restarts)
    steps = Identification(
        Stage(Match(similarity=0.7), "site", "model", dim=8),
        Presence(Publish()),
        stage=WatchedStages(pulse, metrics),
    )

    def perception(number: int, pulse: Pulse) -> Perception:
        return Perception(
            run=f"run.{number}" if number else "run",
            model="model",
            detect=pulse.watched("detect", detect or world.detect),
            follow=dict.fromkeys(CAMERAS, pulse.watched("track", world.follow)),
            select=world.select,
            embed=world.embed,
        )

    now = time.time()
    walk = [[frame(camera, now + step / 20, step) for camera in CAMERAS] for step in range(60)]
    return Daemon(
        PerceptionThread((source or Slow(walk)).open, perception, InprocLink(), watchdog=watchdog),
        IdentificationThread(DirectIdentification(steps, sink), is_live=live, pulse=pulse),
        sink,
        SiteClock(),
        settings=DaemonSettings(
            run="run", version="1", cameras=CAMERAS, is_live=live, heartbeat_s=1000, watchdog=watchdog
        ),
        monitors=Monitors(metrics, SiteView()),
    )


def stalls(sink: ListSink) -> list[DaemonStalled]:
    return [event for event in sink.events if isinstance(event, DaemonStalled)]


def test_a_detector_that_hangs_is_replaced_and_an_event_is_published(hung: list[Hanging]) -> None:
    detect = Hanging(3, then=OnePerson().detect)
    hung.append(detect)
    sink = ListSink()
    daemon = build(sink, detect=detect)
    daemon.run(threading.Event())
    (stall,) = stalls(sink)
    assert (stall.stage, stall.action, stall.frames) == ("detect", "restarted", 2)
    assert stall.after_s >= LIMIT_S  # rounded to a tenth
    assert sink.events.index(stall) < len(sink.events) - 1
    assert daemon.progress.frames == {"door": 59, "till": 59}
    assert sum(isinstance(event, IdentityEntered) for event in sink.events) >= 2
    value = daemon._metrics.registry.get_sample_value
    assert value("reid_stream_stage_stuck_total", {"stage": "detect", "action": "restarted"}) == 1
    assert value("reid_stream_frames_stuck_total", {"camera": "door"}) == 1


def test_the_late_result_of_a_hung_call_is_not_published(hung: list[Hanging]) -> None:
    records: list[Perceived] = []

    def match(batch: Sequence[Perceived], now: float) -> list[Decision]:
        records.extend(batch)
        return []

    detect = Hanging(3, then=OnePerson().detect)
    hung.append(detect)
    source = Slow([[frame("door", 1000.0 + step, step)] for step in range(100)])
    threading.Timer(3 * LIMIT_S, detect.let_go.set).start()
    build(ListSink(), source=source, detect=detect, match=match).run(threading.Event())
    assert detect.came_back.is_set()
    seen = [record.seen_at for record in records]
    assert 1003.0 not in seen
    assert len(seen) == 99
    # Track numbers restart, so they are of another run.
    assert [record.run for record in records] == ["run"] * 3 + ["run.1"] * 96


def test_a_detector_that_hangs_again_and_again_ends_the_daemon(hung: list[Hanging]) -> None:
    detect = Hanging(*range(100), then=OnePerson().detect)
    hung.append(detect)
    sink = ListSink()
    with pytest.raises(StuckError, match="detect must answer within"):
        build(sink, detect=detect, restarts=2).run(threading.Event())
    assert [stall.action for stall in stalls(sink)] == ["restarted", "restarted", "ended"]
    assert isinstance(sink.events[-1], DaemonStopped)
    assert sink.closed


def test_a_matcher_that_hangs_ends_the_daemon_and_every_visit(hung: list[Hanging]) -> None:
    matcher = Matcher(Match(similarity=0.7), "site", "model", dim=8)
    match = Hanging(10, then=matcher.update)
    hung.append(match)
    sink = ListSink()
    daemon = build(sink, match=match)
    with pytest.raises(StuckError, match="match must answer"):
        daemon.run(threading.Event())
    (stall,) = stalls(sink)
    assert (stall.stage, stall.action) == ("match", "ended")
    assert daemon.health.healthy()[0] is False
    inside = [event for event in sink.events if isinstance(event, IdentityEntered)]
    gone = [event for event in sink.events if isinstance(event, IdentityLeft)]
    assert len(inside) == len(gone) == 2


def test_a_disk_that_hangs_ends_the_daemon(hung: list[Hanging]) -> None:
    class Sink(ListSink):
        def publish(self, events: Sequence[Event]) -> None:
            keep(events)

    sink = Sink()
    keep = Hanging(2, then=sink.events.extend)
    hung.append(keep)
    with pytest.raises(StuckError, match="publish must answer"):
        build(sink).run(threading.Event())


def test_a_stop_does_not_wait_for_a_stage_that_hangs(hung: list[Hanging]) -> None:
    detect = Hanging(0, then=OnePerson().detect)
    hung.append(detect)
    sink, stop = ListSink(), threading.Event()
    daemon = build(sink, detect=detect, source=Slow([[frame("door", 1.0)]], then_wait=True))
    threading.Timer(0.05, stop.set).start()
    daemon.run(stop)
    assert isinstance(sink.events[-1], DaemonStopped)
    assert sink.events[-1].reason == "stopped"


def test_a_stage_that_is_slow_but_answers_is_left_alone() -> None:
    world = OnePerson()

    def slow(frames: Sequence[Frame]) -> list[Detections]:
        time.sleep(LIMIT_S / 4)
        return world.detect(frames)

    sink = ListSink()
    walk = [[frame("door", 1000.0 + step, step)] for step in range(12)]
    build(sink, detect=slow, source=ListSource(walk)).run(threading.Event())
    assert not stalls(sink)


def test_each_stage_of_a_step_has_its_own_time() -> None:
    now = [0.0]
    pulse = Pulse(clock=lambda: now[0])

    def work() -> None:
        now[0] += 8.0
        assert pulse.stuck(10.0) is None

    stage = pulse.watched("detect", work)
    with pulse.busy("perceive", ["door"]):
        for _ in range(3):
            stage()
        now[0] += 11.0
        found = pulse.stuck(10.0)
        assert found is not None
        assert (found.stage, found.after_s, found.cameras) == ("perceive", 11.0, ("door",))
    assert pulse.abandon(10.0) is None


def test_loading_may_take_longer() -> None:
    now = [0.0]
    pulse = Pulse(clock=lambda: now[0])
    with pulse.busy("load", slack=10):
        now[0] = 99.0
        assert pulse.stuck(10.0) is None
        now[0] = 101.0
        assert pulse.stuck(10.0) is not None


@pytest.mark.slow
def test_the_whole_first_half_is_replaced_networks_and_all(tmp_path: Path, hung: list[Hanging]) -> None:
    models = tiny_models(tmp_path / "models")
    clip = draw_clip(tmp_path / "a.mp4", seconds=4)
    settings = Settings.model_validate(
        {
            "cameras": [{"id": "door", "url": str(clip)}],
            "models": {"detector": str(models / "detector"), "embedder": str(models / "embedder")},
            "watchdog": {"stage_s": 2},
        }
    )
    sink = ListSink()
    made: list[Perception] = []

    def first_hangs(perception: Perception) -> Perception:
        made.append(perception)
        if len(made) == 1:
            perception.detect = Hanging(5, then=perception.detect)
            hung.append(perception.detect)
        return perception

    with assemble(settings, run="r", fast=True, sink=sink, wrap=first_hangs) as site:
        site.daemon.run(threading.Event())
        assert len(made) == 2
        assert made[0].embed is not made[1].embed
        used = site.daemon.progress.frames[CameraId("door")]
    (stall,) = stalls(sink)
    # What is not used was with the detector, and is reported: a batch, and the one after it where there are lanes.
    assert (stall.action, used + stall.frames) == ("restarted", 40)
    assert 1 <= stall.frames <= 2
    after = sink.events[sink.events.index(stall) :]
    assert any(isinstance(event, IdentityEntered | IdentitySeen) for event in after)


def test_a_process_that_cannot_even_watch_is_ended_and_logs_where_it_was() -> None:
    script = """
import ctypes
from reid_stream.commands.run import last_resort
with last_resort(0.5) as rearm:
    rearm()
    ctypes.PyDLL(None).sleep(30)  # called with Python's lock held, as a careless library would
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=25, check=False)
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
    assert "line 6 in" in ended.stderr


@pytest.mark.slow
def test_the_program_ends_with_a_code_of_its_own_and_its_events_are_published(tmp_path: Path) -> None:
    models, clip = tiny_models(tmp_path / "models"), draw_clip(tmp_path / "a.mp4", seconds=3)
    with EmbeddedRedis(tmp_path / "redis") as server:
        # No network answers within a tenth of a millisecond.
        impatient = "observe: {port: null}\nwatchdog: {stage_s: 0.0001, restarts: 1}"
        cams = write_cams(tmp_path, {"a": f"{clip}, loop: true"}, redis=server.url, more=impatient)
        ended = call("--cameras", cams, "--plain", models=models, home=tmp_path, timeout_s=100)
        with subscribe(server.url, site="lab", start="0", block_s=0) as received:
            data = [event.data for event in received]
    assert ended.code == 5
    assert ended.is_plain
    assert "must answer within 0.0001 s (watchdog.stage_s)" in ended.err
    stalled = [event for event in data if isinstance(event, DaemonStalled)]
    assert stalled[-1].action == "ended"
    assert isinstance(data[-1], DaemonStopped)


def test_patience_ends_and_comes_back() -> None:
    patience = StageLimits(2)
    assert [patience.allows(at) for at in (0.0, 10.0, 20.0, 3601.0, 3602.0)] == [True, True, False, True, False]
