"""Site times become UTC by one shift, and times given by operators become site times."""

import msgspec

from reid_stream.events import CameraDown, IdentityEntered, IdentityLeft, IdentitySplit
from reid_stream.instructions import TrackSpan
from reid_stream.publish.site_time import _shifted, in_utc
from reid_stream.records import CameraId, GlobalId, TrackId

CAMERA, PERSON = CameraId("door"), GlobalId("lab-1")
LEFT = IdentityLeft(
    person=PERSON, revision=1, camera=CAMERA, since=900.0, last_seen_at=1000.0, clock="rtcp", state="confirmed"
)
SPLIT = IdentitySplit(
    person=PERSON,
    revision=1,
    into=GlobalId("lab-2"),
    tracks=((CAMERA, "run", TrackId(1)),),
    split_at=1000.0,
    spans=((None, 950.0),),
)


def test_all_times_of_an_identity_event_are_shifted() -> None:
    assert in_utc(LEFT, -90.0) == msgspec.structs.replace(LEFT, since=810.0, last_seen_at=910.0)
    assert in_utc(SPLIT, 10.0) == msgspec.structs.replace(SPLIT, split_at=1010.0, spans=((None, 960.0),))
    times = {name for name in IdentityEntered.__struct_fields__ if name.endswith("_at") or name == "since"}
    assert times == {"seen_at", "since"}


def test_events_that_have_utc_already_and_those_of_a_clock_that_was_never_set_stay() -> None:
    down = CameraDown(camera=CAMERA, changed_at=1000.0, reason="gone")
    assert in_utc(down, -90.0) is down
    assert in_utc(LEFT, 0.0) is LEFT


def test_times_of_visits_are_shifted_but_for_bounds_that_are_none() -> None:
    visit = TrackSpan(camera=CAMERA, since=0.0, until=1000.0)
    assert _shifted(visit, 90.0) == {"since": 0.0, "until": 1090.0}
