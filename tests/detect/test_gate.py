"""The detector sees what may hold people: no quiet camera, and of others what moves and where people should be."""

from collections.abc import Sequence

import numpy as np
import pytest

from reid_stream import boxes as box_maths
from reid_stream.config.settings import Detect, Track
from reid_stream.detect.followed import NO_TRACKS
from reid_stream.detect.gate import HOLD_S, MotionGate
from reid_stream.images import Unread
from reid_stream.pipeline import NO_ONE, Perception
from reid_stream.records import CameraId, Detections, Floats, Frame, Observation, Tracks
from reid_stream.track.tracker import Tracker
from tests.detect.scenes import DOOR, SIZE, boxes, frame, walking

WALKER = 90.0, 90.0, 150.0, 210.0


def gate_after(settings: Detect | None = None, until: float = 10.0) -> MotionGate:
    """Return a gate whose cameras have been quiet since 0 s."""
    gate = MotionGate(settings or Detect(packing="auto", full_every_s=1000.0))
    for number in range(round(until * 10)):
        gate([frame(number / 10, camera=camera) for camera in ("door", "till")], {})
    return gate


def held(regions: Floats | None, box: Floats) -> bool:
    assert regions is not None
    return bool((box_maths.intersection(regions, box).max(axis=0) >= box_maths.area(box)).all())


def test_a_quiet_camera_is_looked_at_whole_as_often_as_asked_and_no_more() -> None:
    gate = MotionGate(Detect(packing="auto", full_every_s=2.0))
    looks = [gate([frame(number / 10)], {})[0] for number in range(300)]
    whole = [look for look in looks if look is not None]
    assert len(whole) == 15
    assert all(look.regions is None for look in whole)


def test_while_motion_is_unknown_all_of_every_frame_is_looked_at() -> None:
    gate = gate_after()
    for number in range(20):
        (look,) = gate([frame(10 + number / 10, is_known=False)], {})
        assert look is not None
        assert look.regions is None


def test_a_camera_with_an_open_track_is_looked_at_there_though_nothing_moves() -> None:
    gate = gate_after()
    for number in range(1, 50):
        (look,) = gate([frame(10 + number / 10)], {DOOR: walking(10.0, speed=0)})
        assert look is not None
        assert look.regions is not None
        # The person with half a height of context on each side, and 0.4 above and below.
        assert np.allclose(look.regions, boxes((50, 60, 190, 240)))


def test_a_camera_is_looked_at_until_some_time_after_the_last_motion_and_others_are_not() -> None:
    gate = gate_after()
    door, till = gate([frame(10.0, WALKER), frame(10.0, camera="till")], {})
    assert till is None
    assert door is not None
    assert held(door.regions, boxes(WALKER))
    after = [gate([frame(10.1 + number / 10)], {})[0] for number in range(40)]
    assert all(look is not None and held(look.regions, boxes(WALKER)) for look in after[: int(HOLD_S * 10) - 1])
    assert not any(after[-20:])


def test_a_clock_that_is_put_back_never_closes_the_gate() -> None:
    gate = MotionGate(Detect(packing="auto", full_every_s=2.0))
    for number in range(100):
        gate([frame(1000 + number / 10)], {})
    assert gate([frame(500.0)], {}) != [None]


def test_an_image_without_pixels_is_never_looked_at() -> None:
    gate = gate_after()
    quiet = Frame(DOOR, 0, 10.0, "file", Unread(*SIZE), boxes())
    assert gate([quiet], {DOOR: walking(10.0)}) == [None]


def test_where_a_person_should_be_by_now_is_looked_at() -> None:
    gate = gate_after()
    (look,) = gate([frame(10.5)], {DOOR: walking(10.0, speed=200)})
    assert look is not None
    assert held(look.regions, boxes((200, 100, 240, 200)))


def test_a_lost_person_is_looked_for_where_they_were_and_where_they_should_be() -> None:
    followed = walking(10.0, speed=200)
    untracked = Tracks(DOOR, 10.3, boxes(), np.empty(0, np.float32), np.empty(0, np.int64), 0, ())
    (look,) = gate_after()([frame(10.4)], {DOOR: followed.after(untracked, NO_ONE)})
    assert look is not None
    assert held(look.regions, boxes((100, 100, 140, 200)))
    assert held(look.regions, boxes((180, 100, 220, 200)))


def test_boxes_without_a_track_are_looked_at_again_and_weak_ones_are_not() -> None:
    none = Tracks(DOOR, 10.0, boxes(), np.empty(0, np.float32), np.empty(0, np.int64), 2, ())
    found = Detections(boxes((300, 100, 340, 200), (500, 100, 540, 200)), np.array([0.5, 0.2], np.float32))
    (look,) = gate_after()([frame(10.1, WALKER)], {DOOR: NO_TRACKS.after(none, found)})
    assert look is not None
    assert held(look.regions, boxes((300, 100, 340, 200)))
    assert not held(look.regions, boxes((500, 100, 540, 200)))


def test_packing_off_looks_at_whole_frames() -> None:
    gate = gate_after(Detect(packing="off", full_every_s=1000.0))
    (look,) = gate([frame(10.0, WALKER)], {})
    assert look is not None
    assert look.regions is None


def test_leaves_that_were_looked_at_without_a_person_are_left_alone_until_they_reach_further() -> None:
    gate = gate_after(Detect(packing="auto", full_every_s=5.0), until=10.0)
    leaves = 400.0, 60.0, 480.0, 140.0
    looks = []
    state = NO_TRACKS
    for number in range(48):
        at = 10 + number / 10
        (look,) = gate([frame(at, leaves)], {DOOR: state})
        looks.append(look is not None)
        if look is not None:
            none = Tracks(DOOR, at, boxes(), np.empty(0, np.float32), np.empty(0, np.int64), 0, ())
            state = state.after(none, NO_ONE)
    assert all(looks[:2])
    assert not any(looks[15:45])
    (further,) = gate([frame(14.85, (300.0, 60.0, 480.0, 200.0))], {DOOR: state})
    assert further is not None


@pytest.mark.parametrize(
    ("followed", "moving", "waits"),
    [
        (walking(10.0), [(102, 98, 145, 202)], True),
        (walking(10.0, people=3), [(102, 98, 145, 202)], True),
        (NO_TRACKS, [WALKER], False),  # no one to predict
        (walking(10.0, looks=1), [], False),  # a new track
        (walking(10.0, jitter=6), [(102, 98, 145, 202)], False),  # unpredictable
        (walking(10.0), [(102, 98, 145, 202), (400, 90, 440, 200)], False),  # a newcomer
        (walking(10.0, speed=-900), [], False),  # about to leave
    ],
    ids=["one", "three apart", "no one", "new", "jumping", "newcomer", "leaving"],
)
def test_predictable_people_are_looked_at_less_often(
    followed: object, moving: Sequence[Sequence[float]], waits: bool
) -> None:
    gate = gate_after(Detect(packing="auto", full_every_s=1000.0, min_fps=2.0))
    assert gate([frame(10.0, WALKER)], {}) != [None]
    (look,) = gate([frame(10.1, *moving)], {DOOR: followed})  # type: ignore[dict-item]
    assert (look is None) == waits


def test_predictable_people_are_looked_at_as_often_as_asked() -> None:
    gate = gate_after(Detect(packing="auto", full_every_s=1000.0, min_fps=2.0))
    gate([frame(10.0, WALKER)], {})
    looks = [gate([frame(10 + number / 10)], {DOOR: walking(10 + number / 10 - 0.1)})[0] for number in range(1, 31)]
    assert sum(look is not None for look in looks) == 6


def perception(gate: MotionGate, seen: list[float], speed: float) -> Perception:
    """Perception of a person who is at x = 100 px at 40 s, walks at `speed` px/s and is there until 80 s."""

    def detect(frames: Sequence[Frame]) -> list[Detections]:
        seen.extend(frame.captured_at for frame in frames)
        return [person(frame.captured_at, speed) for frame in frames]

    return Perception(
        run="r",
        model="m",
        detect=detect,
        follow={DOOR: Tracker(Track()).update},
        select=lambda _frame, _tracks: [],
        embed=lambda _crops: np.empty((0, 8), np.float32),
        gate=gate,
    )


def person(at: float, speed: float) -> Detections:
    left = 100 + speed * (at - 40)
    there = 40 <= at < 80
    return Detections(boxes((left, 180, left + 24, 240))[: int(there)], np.array([0.9], np.float32)[: int(there)])


@pytest.mark.parametrize(("least_fps", "speed"), [(None, 0.0), (None, 8.0), (2.0, 8.0), (2.0, 0.0)])
def test_perception_follows_a_person_and_leaves_an_empty_room_alone(least_fps: float | None, speed: float) -> None:
    seen: list[float] = []
    half = perception(MotionGate(Detect(packing="auto", full_every_s=2.0, min_fps=least_fps)), seen, speed)
    records = []
    for number in range(1200):
        at = number / 10
        people = person(at, speed).boxes
        is_moving = speed > 0 or abs(at - 40) < 0.05
        records += half.step([frame(at, *(people.tolist() if is_moving else []))])

    observed = [record for record in records if isinstance(record, Observation)]
    assert observed[0].seen_at == pytest.approx(40.0, abs=0.11)
    assert observed[-1].seen_at == pytest.approx(79.9, abs=0.5 if least_fps else 0.01)
    assert len(observed) >= 398
    assert len({record.track for record in observed}) == 1
    for record in observed:
        if record.seen_at < 80:
            overlap = box_maths.iou(boxes(record.box), person(record.seen_at, speed).boxes)
            assert overlap[0, 0] > 0.85
    assert len([at for at in seen if at < 40]) <= 22
    assert half.counts.gated == 1200 - len(seen) > 550
    assert (half.counts.predicted > 250) == (least_fps is not None)
    assert half.counts.limited > 30


@pytest.mark.parametrize("algorithm", ["bytetrack", "botsort", "ocsort"])
@pytest.mark.parametrize("lag", [0, 3], ids=["at once", "late"])
def test_who_stands_still_is_found_again_after_a_gap_in_the_frames(algorithm: str, lag: int) -> None:
    half = perception(MotionGate(Detect()), [], speed=0.0)
    half.follow[DOOR] = Tracker(Track.model_validate({"algorithm": algorithm})).update
    wanted = [True]
    half.attend = lambda _camera, is_wanted: wanted.append(is_wanted)
    observed = []
    for number in range(400, 800):
        at = number / 10
        if 50 <= at < 53:  # no frames for longer than a lost track lives
            continue
        # It takes some frames until the camera knows whether its images are wanted; otherwise it sends one in 2 s.
        is_read = wanted[-1 - min(lag, len(wanted) - 1)] or number % 20 == 0
        quiet = frame(at) if is_read else Frame(DOOR, 0, at, "file", Unread(*SIZE), boxes())
        observed += [record.seen_at for record in half.step([quiet]) if isinstance(record, Observation)]
    assert any(at < 50 for at in observed)
    after = [at for at in observed if at > 53]
    assert after[0] < 53 + 2 * 2.0 + 1
    assert len(after) > 0.9 * (80 - after[0]) * 10


def test_two_cameras_do_not_share_what_is_followed() -> None:
    gate = gate_after()
    looks = gate([frame(10.0), frame(10.0, camera="till")], {CameraId("till"): walking(9.9)})
    assert [look is not None for look in looks] == [False, True]
