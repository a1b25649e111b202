"""Delay until the right ID, counted by hand on a stream of a few events."""

import msgspec
import pytest

from reid_stream.evaluation.delay import Delay, FrameLatency
from reid_stream.evaluation.summary import summarize_stream
from reid_stream.events import Event, IdentityEntered, IdentitySeen, IdentitySplit
from reid_stream.records import CameraId, GlobalId, TrackId
from tests.evaluation.rows import TIMELINES, Row, box, boxes
from tests.publish.test_site_view import entered, merged

TRUTH: list[Row] = [("door", 1, 1, 20, 0), ("till", 1, 31, 50, 0)]


def published(person: str, camera: str, frames: range, track: int = 1, place: float = 0) -> list[Event]:
    def event(frame: int) -> IdentityEntered:
        at = TIMELINES[camera].at(frame)
        return msgspec.structs.replace(entered(person, camera, track=track, at=at), box=box(place))

    return [event(frame) for frame in frames]


def delay(events: list[Event], truth: list[Row] = TRUTH) -> Delay:
    return summarize_stream(boxes(truth), events, TIMELINES).delay


def test_a_right_first_event_costs_only_the_time_that_it_waited() -> None:
    found = delay([*published("s-1", "door", range(6, 21)), *published("s-1", "till", range(40, 51))])
    assert (found.right, found.never_right, found.untold, found.right_at_first) == (2, 0, 0, 2)
    assert found.right_p50_s == pytest.approx((0.5 + 0.9) / 2)
    assert found.told_p50_s == found.right_p50_s


def test_a_merge_corrects_earlier_events() -> None:
    merge = merged("s-2", "s-1")  # at 13.0, before anything here: the stream's own time continues
    found = delay([*published("s-1", "door", range(1, 21)), *published("s-2", "till", range(31, 41)), merge,
                   *published("s-1", "till", range(41, 51))])  # fmt: skip
    assert (found.right, found.right_at_first) == (2, 1)
    # The door at once, the till once its tenth frame is published: 0 and 0.9 s.
    assert (found.right_p50_s, found.right_p95_s) == pytest.approx((0.45, 0.855))


def test_a_split_makes_right_what_it_moves() -> None:
    truth: list[Row] = [("door", 1, 1, 40, 0), ("till", 2, 31, 50, 0)]
    split = IdentitySplit(
        person=GlobalId("s-1"),
        revision=1,
        into=GlobalId("s-2"),
        tracks=((CameraId("till"), "run", TrackId(7)),),
        split_at=TIMELINES["till"].at(46),
    )
    found = delay(
        [*published("s-1", "door", range(1, 41)), *published("s-1", "till", range(31, 46), track=7), split], truth
    )
    assert (found.right, found.right_at_first, found.never_right) == (2, 1, 0)
    assert found.right_p95_s == pytest.approx(0.95 * 1.5)


def test_a_second_identity_is_never_right_and_a_visit_may_have_no_event() -> None:
    truth: list[Row] = [*TRUTH, ("door", 2, 1, 20, 200)]
    found = delay([*published("s-1", "door", range(1, 21)), *published("s-2", "till", range(31, 41))], truth)
    assert (found.right, found.never_right, found.untold) == (1, 1, 1)


def test_no_events_have_no_percentiles() -> None:
    assert delay([]) == Delay(None, None, None, right_at_first=0, right=0, never_right=0, untold=2)


def test_latency_counts_the_newest_frame_of_a_camera_and_no_sighting_of_a_newcomer_from_before_it() -> None:
    def seen(camera: str, at: float) -> IdentitySeen:
        fields = msgspec.structs.asdict(entered("s-1", camera, at=at))
        return IdentitySeen(**fields)

    latency = FrameLatency()
    latency.add(100.0, [seen("door", 99.5), seen("door", 99.9), seen("till", 99.8)])
    latency.add(100.5, [seen("door", 99.2), seen("till", 100.4)])
    latency.add(101.0, [seen("door", 99.9), entered("s-2", "door", at=100.9)])
    assert [at for at, _ in latency.samples] == [100.0, 100.0, 100.5]
    assert [seconds for _, seconds in latency.samples] == pytest.approx([0.1, 0.2, 0.1])
