"""Merges compared with the truth: which were wrong, and which of them were undone."""

import numpy as np

from benchmarks.accuracy.corrections import wrong_merges
from reid_stream.evaluation.align import Boxes
from reid_stream.evaluation.stream import Timeline
from reid_stream.events import Event, IdentitySplit
from reid_stream.records import CameraId, GlobalId, TrackId
from tests.publish.test_site_view import entered, merged

CAMERAS = {"door": Timeline(10.0, 10.0), "till": Timeline(10.0, 10.0)}


def _truth(door: int, till: int) -> dict[str, Boxes]:
    """Return who is on each camera in its first three frames."""
    edges = np.asarray([[0.0, 0.0, 10.0, 20.0]] * 3)
    return {camera: Boxes(np.arange(1, 4), (who,) * 3, edges) for camera, who in (("door", door), ("till", till))}


SEEN: list[Event] = [
    entered(person, camera, at=10 + frame / 10)
    for frame in range(3)
    for person, camera in (("s-1", "door"), ("s-2", "till"))
]
BACK = IdentitySplit(
    person=GlobalId("s-1"), revision=2, into=GlobalId("s-3"), tracks=((CameraId("till"), "r", TrackId(1)),), split_at=14
)


def test_a_merge_of_one_persons_identities_is_right() -> None:
    assert wrong_merges([*SEEN, merged("s-2", "s-1")], _truth(7, 7), CAMERAS) == (0, 0)


def test_a_merge_of_two_people_is_wrong() -> None:
    assert wrong_merges([*SEEN, merged("s-2", "s-1")], _truth(7, 8), CAMERAS) == (1, 0)


def test_a_wrong_merge_is_undone_by_a_split() -> None:
    assert wrong_merges([*SEEN, merged("s-2", "s-1"), BACK], _truth(7, 8), CAMERAS) == (1, 1)


def test_a_wrong_merge_that_comes_again_is_not_undone() -> None:
    events = [*SEEN, merged("s-2", "s-1"), BACK, merged("s-3", "s-1")]
    assert wrong_merges(events, _truth(7, 8), CAMERAS) == (2, 0)
