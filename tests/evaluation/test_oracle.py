"""Oracle stages return the truth and nothing else."""

import numpy as np

from reid_stream.evaluation.oracle import Scene, TrueDetector, TrueTracker
from reid_stream.records import CameraId, Detections, Floats
from tests.builders import frame
from tests.evaluation.rows import TIMELINES, Row, box, boxes

DOOR = CameraId("door")


def scene(*rows: Row, lost_s: float = 2.0) -> Scene:
    return Scene(boxes(rows), TIMELINES, lost_s)


def found(*places: float) -> Detections:
    corners: Floats = np.asarray([box(place) for place in places], dtype=np.float32).reshape(-1, 4)
    return Detections(corners, np.full(len(corners), 0.7, np.float32))


def test_the_true_detector_finds_who_is_there_in_that_frame_cut_to_the_image() -> None:
    detect = TrueDetector(scene(("door", 1, 1, 3, -10), ("door", 2, 3, 3, 200), ("till", 3, 1, 3, 0)))
    first, later, empty = (detect([frame("door", TIMELINES["door"].at(n), size=(230, 60))])[0] for n in (1, 3, 4))
    assert first.boxes.tolist() == [[0, 10, 30, 60]]
    assert later.boxes.tolist() == [[0, 10, 30, 60], [200, 10, 230, 60]]
    assert (later.scores.tolist(), len(empty)) == ([1.0, 1.0], 0)


def test_the_true_tracker_knows_boxes_by_whom_they_cover() -> None:
    follow = TrueTracker(scene(("door", 1, 1, 9, 0), ("door", 2, 1, 9, 100))).update
    here = follow(DOOR, TIMELINES["door"].at(1), found(104, 3, 300))
    there = follow(DOOR, TIMELINES["door"].at(2), found(0, 101))
    assert (here.unassigned, len(here)) == (1, 2)
    by_place = dict(zip(here.boxes[:, 0].tolist(), here.ids.tolist(), strict=True))
    assert dict(zip(there.boxes[:, 0].tolist(), there.ids.tolist(), strict=True)) == {
        0: by_place[3],
        101: by_place[104],
    }


def test_a_true_track_ends_when_the_person_has_gone_for_longer_than_tracks_wait() -> None:
    rows: list[Row] = [("door", 1, 1, 5, 0), ("door", 1, 20, 24, 0), ("door", 1, 60, 61, 0)]
    follow = TrueTracker(scene(*rows, lost_s=2.0)).update
    seen = [follow(DOOR, TIMELINES["door"].at(n), found(0)) for n in (1, 20, 25, 60)]
    tracks = [tuple(each.ids.tolist()) for each in seen]
    assert tracks == [(1,), (1,), (), (2,)]
    assert [each.ended for each in seen] == [(), (), (1,), ()]
