"""The daemon starts, passes everything on in order, and ends in order, whatever the stages do."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from reid_stream.config.settings import Match, Publish, Watchdog
from reid_stream.errors import ModelError, StreamError
from reid_stream.events import (
    CameraChanged,
    CameraDown,
    CameraUp,
    DaemonStarted,
    DaemonStopped,
    Event,
    IdentityEntered,
    IdentityLeft,
)
from reid_stream.ingest.overload_alarm import OverloadAlarm
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.journal.direct import DirectIdentification
from reid_stream.link.inproc import InprocLink
from reid_stream.match.matcher import Matcher
from reid_stream.match.presence import Presence
from reid_stream.observe.metrics import Metrics
from reid_stream.pipeline import Identification, Perception
from reid_stream.publish.projection import SiteView
from reid_stream.records import CameraId, Decision, Detections, Frame, Perceived
from reid_stream.runtime.daemon import Daemon, DaemonSettings, Monitors
from reid_stream.runtime.identification_thread import IdentificationThread
from reid_stream.runtime.perception_thread import PerceptionThread
from tests.builders import ListSink, ListSource, Lost, OnePerson, frame

CAMERAS = [CameraId("door"), CameraId("till")]


def matcher() -> Matcher:
    return Matcher(Match(similarity=0.7), "site", "model", dim=8)


class Broken(Matcher):
    """A matcher that fails."""

    def __init__(self) -> None:
        super().__init__(Match(), "site", "model", dim=8)

    def update(self, records: Sequence[Perceived], now: float) -> list[Decision]:
        raise RuntimeError("no idea")


class Unobservable(DirectIdentification):
    """Identification whose figures cannot be read."""

    @property
    def gallery_size(self) -> int:
        raise ZeroDivisionError("no frames")

    people_in_view = gallery_size


class FailingMonitor(SiteView, OverloadAlarm):
    """A view and an overload alarm that fail."""

    def __init__(self) -> None:
        SiteView.__init__(self)

    def follow(self, events: object) -> None:
        raise ZeroDivisionError("no frames")

    def update(self, *_: object) -> Any:
        return min([])


def build(
    source: ListSource,
    sink: ListSink,
    *,
    detect: Callable[[Sequence[Frame]], list[Detections]] | None = None,
    match: Matcher | None = None,
    link: InprocLink | None = None,
    metrics: Metrics | None = None,
    can_be_observed: bool = True,
    is_live: bool = False,
) -> Daemon:
    world, watchdog = OnePerson(), Watchdog()
    perception = Perception(
        run="run",
        model="model",
        detect=detect or world.detect,
        follow=dict.fromkeys(CAMERAS, world.follow),
        select=world.select,
        embed=world.embed,
    )
    kind = DirectIdentification if can_be_observed else Unobservable
    steps = kind(Identification(matcher() if match is None else match, Presence(Publish())), sink)
    metrics = metrics or Metrics()
    return Daemon(
        PerceptionThread(source.open, lambda number, pulse: perception, link or InprocLink(), watchdog=watchdog),
        IdentificationThread(steps, is_live=is_live),
        sink,
        SiteClock(),
        settings=DaemonSettings(
            run="run", version="1", cameras=CAMERAS, is_live=is_live, heartbeat_s=1000, watchdog=watchdog
        ),
        monitors=Monitors(metrics, SiteView())
        if can_be_observed
        else Monitors(metrics, monitor := FailingMonitor(), monitor),
    )


def walk(seconds: int) -> list[list[Frame]]:
    return [[frame(camera, 100.0 + step / 2, step) for camera in CAMERAS] for step in range(2 * seconds)]


def test_one_person_on_two_cameras_has_one_id_and_every_visit_ends() -> None:
    source, sink = ListSource(walk(5)), ListSink()
    build(source, sink).run(threading.Event())
    entered = [event for event in sink.events if isinstance(event, IdentityEntered)]
    left = [event for event in sink.events if isinstance(event, IdentityLeft)]
    assert {event.camera for event in entered} == {"door", "till"}
    assert {(event.person, event.camera) for event in entered} >= {(event.person, event.camera) for event in left}
    assert len({event.person for event in left}) == 1
    assert source.started
    assert source.stopped
    assert sink.closed


def test_the_first_event_is_started_and_the_last_one_stopped() -> None:
    sink = ListSink()
    build(ListSource(walk(1)), sink).run(threading.Event())
    assert isinstance(sink.events[0], DaemonStarted)
    assert isinstance(sink.events[-1], DaemonStopped)
    assert sink.events[-1].reason == "all cameras ended"


def test_the_same_footage_gives_the_same_events() -> None:
    def published() -> list[Event]:
        sink = ListSink()
        build(ListSource(walk(4)), sink).run(threading.Event())
        return sink.events[1:-1]

    assert published() == published()


def test_a_stop_ends_the_visits_in_order() -> None:
    source, sink, stop = ListSource(walk(3), then_wait=True), ListSink(), threading.Event()
    daemon = build(source, sink)
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    daemon.run(stop)
    assert isinstance(sink.events[-1], DaemonStopped)
    assert sink.events[-1].reason == "stopped"
    assert any(isinstance(event, IdentityLeft) for event in sink.events)


def test_a_detector_that_fails_ends_the_daemon_with_its_error_and_reports_it() -> None:
    def broken(frames: Sequence[Frame]) -> list[Detections]:
        raise ModelError("the network has lost its mind")

    source, sink = ListSource(walk(1)), ListSink()
    with pytest.raises(ModelError, match="lost its mind"):
        build(source, sink, detect=broken).run(threading.Event())
    assert source.stopped
    assert isinstance(sink.events[-1], DaemonStopped)
    assert "lost its mind" in sink.events[-1].reason


def test_a_matcher_that_fails_ends_the_daemon_too() -> None:
    sink = ListSink()
    with pytest.raises(RuntimeError, match="no idea"):
        build(ListSource(walk(50), then_wait=True), sink, match=Broken()).run(threading.Event())
    assert sink.closed


def test_a_matcher_that_fails_while_the_link_is_full_ends_the_daemon_too() -> None:
    sink = ListSink()
    daemon = build(ListSource(walk(50), then_wait=True), sink, match=Broken(), link=InprocLink(max_waiting=1))
    with pytest.raises(RuntimeError, match="no idea"):
        daemon.run(threading.Event())
    assert isinstance(sink.events[-1], DaemonStopped)


def test_a_source_that_cannot_start_ends_the_daemon_and_reports_it() -> None:
    class Unreadable(ListSource):
        def start(self) -> None:
            raise StreamError("a.mp4 must be a video")

    sink = ListSink()
    with pytest.raises(StreamError, match=r"a\.mp4"):
        build(Unreadable([]), sink).run(threading.Event())
    assert isinstance(sink.events[-1], DaemonStopped)
    assert "a.mp4" in sink.events[-1].reason
    assert sink.closed


def test_a_replay_publishes_camera_events_between_the_same_records_however_slow_the_matcher_is() -> None:
    class Restless(ListSource):
        """Its camera goes up before the first batch and down after the last."""

        def take_frames(self, timeout_s: float) -> list[Frame] | None:
            batch = super().take_frames(timeout_s)
            camera = CAMERAS[0]
            if batch is not None and batch[0].sequence == 0:
                self.on_change(
                    CameraUp(camera=camera, changed_at=100.0, frame_size=(64, 48), codec="h264", clock="file")
                )
            if batch is None:
                self.on_change(CameraDown(camera=camera, changed_at=110.0, reason="the file has ended"))
            return batch

    class Slow(Matcher):
        def update(self, records: Sequence[Perceived], now: float) -> list[Decision]:
            threading.Event().wait(0.02)
            return super().update(records, now)

    source, sink = Restless(walk(4)), ListSink()
    build(source, sink, match=Slow(Match(similarity=0.7), "site", "model", dim=8)).run(threading.Event())
    kinds = [type(event) for event in sink.events]
    assert kinds[:2] == [DaemonStarted, CameraUp]
    assert kinds.index(CameraDown) > kinds.index(IdentityEntered)
    assert kinds.index(CameraDown) == max(
        n for n, kind in enumerate(kinds) if kind not in (IdentityLeft, DaemonStopped)
    )


def test_one_batch_goes_through_the_detector_at_once() -> None:
    world, sink = OnePerson(), ListSink()
    build(ListSource(walk(1)), sink, detect=world.detect).run(threading.Event())
    assert world.batches == [2, 2]


def test_a_track_end_is_published_after_the_observations_of_its_frame() -> None:
    world = OnePerson()
    perceive = Perception(
        run="run",
        model="model",
        detect=world.detect,
        follow={CAMERAS[0]: world.follow, CAMERAS[1]: Lost()},
        select=lambda frame, tracks: world.select(frame, tracks) if len(tracks) else [],
        embed=world.embed,
    )
    records = perceive.step([frame(camera, 1.0) for camera in CAMERAS])
    assert [(type(record).__name__, record.camera, record.sequence) for record in records] == [
        ("Observation", "door", 0),
        ("TrackEnded", "till", 0),
    ]
    assert perceive.counts.unassigned == 1


def test_ready_asks_for_a_camera_and_room_for_events_and_alive_for_neither() -> None:
    sink, metrics = ListSink(), Metrics()
    daemon = build(ListSource([]), sink, metrics=metrics, is_live=True)
    health = daemon.health
    sink.state = (True, "on disk, since no connection")
    assert health.healthy() == (True, "ok, 0 of 2 cameras")
    assert health.ready() == (False, "no camera delivers frames (0 of 2)")
    up = CameraUp(camera=CAMERAS[0], changed_at=1.0, frame_size=(64, 48), codec="h264", clock="rtcp")
    daemon.report_camera(up)
    assert health.ready() == (True, "ok, 1 of 2 cameras, events: on disk, since no connection")
    daemon.report_camera(
        CameraChanged(
            camera=CAMERAS[0],
            changed_at=1.5,
            frame_size=(128, 96),
            codec="h264",
            clock="rtcp",
            previous_frame_size=up.frame_size,
            previous_codec=up.codec,
            previous_clock=up.clock,
        )
    )
    assert health.ready()[0]
    assert metrics.camera_up.labels(CAMERAS[0])._value.get() == 1
    sink.state = (False, "neither takes events")
    assert health.ready() == (False, "neither takes events")
    assert health.healthy()[0]
    daemon.report_camera(CameraDown(camera=CAMERAS[0], changed_at=2.0, reason="rtsp://u:secret@10.0.0.5 is silent"))
    assert health.ready()[0] is False


def test_faults_in_all_that_only_watches_counts_or_reports_change_no_event(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = ListSink()
    build(ListSource(walk(5)), plain).run(threading.Event())

    def fails() -> None:
        raise ZeroDivisionError("no frames")

    sink, metrics = ListSink(), Metrics()
    build(ListSource(walk(5)), sink, metrics=metrics, can_be_observed=False).run(threading.Event(), fails)
    assert [type(event) for event in sink.events] == [type(event) for event in plain.events]
    assert sink.closed
    found = {
        sample.labels["part"]: sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "reid_stream_monitoring_faults_total"
    }
    assert found["identity figures"] >= 5
    assert found["event counts"] >= 5
    logged = capsys.readouterr()
    assert (logged.out + logged.err).count("part='identity figures'") <= 1


def test_a_monitor_of_the_watching_thread_that_fails_is_counted_and_the_daemon_continues() -> None:
    looks: list[None] = []

    def fails() -> None:
        looks.append(None)
        if len(looks) == 3:
            stop.set()
        raise ZeroDivisionError("no frames")

    metrics, stop = Metrics(), threading.Event()
    build(ListSource(walk(1), then_wait=True), ListSink(), metrics=metrics, can_be_observed=False).run(stop, fails)
    for part in ("overload", "watchdog"):
        count = metrics.registry.get_sample_value("reid_stream_monitoring_faults_total", {"part": part})
        assert count is not None
        assert count >= 3
