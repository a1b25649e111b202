"""Publishing of the daemon's events."""

from reid_stream.events import CameraDown, DaemonStopped
from reid_stream.observe.metrics import Metrics
from reid_stream.publish.projection import SiteView
from reid_stream.records import CameraId
from reid_stream.runtime.event_publisher import DaemonProgress, EventPublisher
from tests.builders import ListSink


def test_nothing_follows_the_end_of_the_daemon() -> None:
    sink = ListSink()
    events = EventPublisher(sink, Metrics(), SiteView(), DaemonProgress(1000.0))
    door = CameraDown(camera=CameraId("door"), changed_at=1.0, reason="stopped")
    stopped = DaemonStopped(run="run", told_at=2.0, reason="asked to")
    assert events.publish([door])
    assert events.publish([stopped])
    assert events.publish([door])
    assert sink.events == [door, stopped]
