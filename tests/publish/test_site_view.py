"""People in view, labels and counts of the live table follow from the events alone."""

from reid_stream.console.table import people_in_view
from reid_stream.events import (
    IdentityConfirmed,
    IdentityEntered,
    IdentityLeft,
    IdentityMerged,
    IdentityNamed,
    IdentitySplit,
)
from reid_stream.publish.projection import SiteView
from reid_stream.records import CameraId, GlobalId, TrackId


def entered(person: str, camera: str, track: int = 1, at: float = 10.0) -> IdentityEntered:
    return IdentityEntered(
        person=GlobalId(person),
        revision=0,
        camera=CameraId(camera),
        track=TrackId(track),
        seen_at=at,
        clock="file",
        box=(0, 0, 10, 20),
        frame_size=(64, 48),
        score=0.9,
        state="provisional",
        similarity=None,
        probability=None,
        model="m",
        since=at,
    )


def left(person: str, camera: str) -> IdentityLeft:
    return IdentityLeft(
        person=GlobalId(person),
        revision=0,
        camera=CameraId(camera),
        since=10.0,
        last_seen_at=12.0,
        clock="file",
        state="provisional",
    )


def merged(previous: str, person: str) -> IdentityMerged:
    return IdentityMerged(
        person=GlobalId(person),
        revision=1,
        previous=GlobalId(previous),
        similarity=0.9,
        probability=None,
        merged_at=13.0,
    )


def test_a_person_on_two_cameras_counts_once_and_on_two() -> None:
    view = SiteView([entered("s-1", "door"), left("s-1", "door"), entered("s-1", "till")])
    assert [(row.person, row.camera) for row in people_in_view(view)] == [("s-1", "till")]
    assert (view.seen, view.on_two) == (1, 1)


def test_a_merge_hands_over_the_places_and_the_past() -> None:
    view = SiteView([entered("s-1", "door"), entered("s-2", "till"), merged("s-2", "s-1")])
    assert [(row.person, row.camera) for row in people_in_view(view)] == [("s-1", "door"), ("s-1", "till")]
    assert (view.seen, view.on_two) == (1, 1)


def test_a_split_makes_a_second_person_of_it() -> None:
    split = IdentitySplit(
        person=GlobalId("s-1"),
        revision=1,
        into=GlobalId("s-2"),
        tracks=((CameraId("till"), "run", TrackId(4)),),
        split_at=14.0,
    )
    view = SiteView([entered("s-1", "door"), split])
    assert view.seen == 2


def test_a_confirmed_person_is_shown_as_such() -> None:
    confirmed = IdentityConfirmed(
        person=GlobalId("s-1"), revision=0, camera=CameraId("door"), track=TrackId(1), confirmed_at=11.0
    )
    view = SiteView([entered("s-1", "door"), confirmed])
    assert [row.state for row in people_in_view(view)] == ["confirmed"]


def test_the_name_of_a_person_survives_a_restart() -> None:
    def named(person: str, label: str) -> IdentityNamed:
        return IdentityNamed(person=GlobalId(person), revision=1, label=label, by="anna", named_at=11.0)

    view = SiteView(
        [entered("s-1", "door"), entered("s-2", "till"), named("s-2", "Bea")], labels={GlobalId("s-1"): "Anna"}
    )
    assert [row.name for row in people_in_view(view)] == ["s-1 Anna", "s-2 Bea"]
    view.apply(merged("s-2", "s-1"))
    view.apply(named("s-1", ""))
    assert [row.name for row in people_in_view(view)] == ["s-1", "s-1"]
