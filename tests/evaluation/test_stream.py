"""An event stream as a subscriber sees it: at once, and after corrections."""

from reid_stream.evaluation.stream import Timeline, boxes_of
from reid_stream.events import Event, IdentitySplit
from reid_stream.records import CameraId, GlobalId, TrackId
from tests.publish.test_site_view import entered, merged

CAMERAS = {"door": Timeline(10.0, 10.0), "till": Timeline(10.0, 10.0)}


def test_times_become_frame_numbers_from_one() -> None:
    assert Timeline(100.0, 25.0).frame(100.0) == 1
    assert Timeline(100.0, 25.0).frame(100.0 + 7 / 25 + 1e-4) == 8


def test_a_merge_renames_the_past_only_for_those_who_follow_corrections() -> None:
    published = boxes_of([entered("s-1", "door"), entered("s-2", "till", at=10.3), merged("s-2", "s-1")], CAMERAS)
    assert published.at_once["till"].people == ("s-2",)
    assert published.in_the_end["till"].people == ("s-1",)
    assert published.in_the_end["till"].frames.tolist() == [4]


def test_merges_of_merges_lead_to_the_last_one() -> None:
    events: list[Event] = [entered("s-3", "till"), merged("s-3", "s-2"), merged("s-2", "s-1")]
    assert boxes_of(events, CAMERAS).in_the_end["till"].people == ("s-1",)


def test_a_split_moves_its_tracks_and_no_others() -> None:
    split = IdentitySplit(
        person=GlobalId("s-1"),
        revision=1,
        into=GlobalId("s-2"),
        tracks=((CameraId("till"), "r", TrackId(4)),),
        split_at=14,
    )
    published = boxes_of(
        [
            entered("s-1", "door", track=4),
            entered("s-1", "till", track=4),
            entered("s-1", "till", track=5, at=11),
            split,
        ],
        CAMERAS,
    )
    assert published.in_the_end["door"].people == ("s-1",)
    assert published.in_the_end["till"].people == ("s-2", "s-1")


def test_what_is_split_off_and_merged_back_ends_where_it_began() -> None:
    split = IdentitySplit(
        person=GlobalId("s-1"),
        revision=1,
        into=GlobalId("s-2"),
        tracks=((CameraId("door"), "r", TrackId(1)),),
        split_at=14,
    )
    events: list[Event] = [entered("s-1", "door"), split, merged("s-2", "s-1"), entered("s-1", "door", at=12)]
    assert boxes_of(events, CAMERAS).in_the_end["door"].people == ("s-1", "s-1")


def test_a_split_moves_every_event_of_a_track_however_often_it_changed_its_identity() -> None:
    split = IdentitySplit(
        person=GlobalId("s-1"),
        revision=3,
        into=GlobalId("s-9"),
        tracks=((CameraId("door"), "r", TrackId(1)),),
        split_at=14,
    )
    events: list[Event] = [
        entered("s-1", "door"),
        merged("s-1", "s-5"),
        entered("s-1", "door", at=11),
        merged("s-5", "s-1"),
    ]
    events += [entered("s-1", "till"), split, entered("s-9", "door", at=12)]
    published = boxes_of(events, CAMERAS).in_the_end
    assert (published["door"].people, published["till"].people) == (("s-9", "s-9", "s-9"), ("s-1",))


def test_a_frame_published_again_under_a_corrected_identity_counts_once() -> None:
    published = boxes_of([entered("s-2", "door"), merged("s-2", "s-1"), entered("s-1", "door")], CAMERAS)
    assert published.at_once["door"].people == ("s-2",)
    assert published.in_the_end["door"].people == ("s-1",)


def _a_part(since: float | None, until: float | None, person: str = "s-1", into: str = "s-2") -> IdentitySplit:
    return IdentitySplit(
        person=GlobalId(person), revision=1, into=GlobalId(into), tracks=((CameraId("door"), "r", TrackId(1)),),
        split_at=14, spans=((since, until),),
    )  # fmt: skip


def test_a_split_of_a_part_of_a_track_leaves_the_rest() -> None:
    seen: list[Event] = [entered("s-1", "door", at=10 + second) for second in range(5)]
    assert boxes_of([*seen, _a_part(12, None)], CAMERAS).in_the_end["door"].people == ("s-1",) * 2 + ("s-2",) * 3
    assert boxes_of([*seen, _a_part(None, 11)], CAMERAS).in_the_end["door"].people == ("s-2",) + ("s-1",) * 4


def test_parts_of_a_track_go_their_own_ways_and_come_back() -> None:
    events: list[Event] = [entered("s-1", "door", at=10 + second) for second in range(5)]
    events += [_a_part(11, 13), entered("s-1", "door", at=15), _a_part(12, 13, "s-2", "s-3"), merged("s-2", "s-1")]
    people = boxes_of(events, CAMERAS).in_the_end["door"].people
    assert people == ("s-1", "s-1", "s-3", "s-1", "s-1", "s-1")
