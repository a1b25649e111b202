"""Presence: entered, seen, left, balanced for every published ID."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_stream.config.settings import Match, Publish
from reid_stream.events import (
    Event,
    IdentityEntered,
    IdentityLeft,
    IdentityMerged,
    IdentitySeen,
    IdentitySplit,
)
from reid_stream.match.matcher import Matcher
from reid_stream.match.presence import BestCrop, Presence
from reid_stream.records import CameraId, GlobalId, Merge, Observation, Sighting, Split, TrackId
from tests.worlds import FRAME, MODEL, RUN, World


def sighting(at: float, person: str = "site-1", camera: str = "a", track: int = 1) -> Sighting:
    return Sighting(
        person=GlobalId(person),
        state="confirmed",
        similarity=None,
        probability=None,
        revision=1,
        observation=Observation(
            run=RUN,
            camera=CameraId(camera),
            track=TrackId(track),
            sequence=0,
            seen_at=at,
            clock="file",
            box=(1, 1, 2, 2),
            frame_size=FRAME,
            score=0.9,
            quality=0,
            vector=None,
            model=MODEL,
        ),
    )


def persons(events: Sequence[Event]) -> list[tuple[str, str]]:
    return [(event.type.split(".")[1], event.subject) for event in events]


def test_a_visit_is_entered_seen_at_intervals_and_left_once() -> None:
    presence = Presence(Publish(seen_interval_s=1, left_after_s=3))
    events = [event for tick in range(30) for event in presence.update([sighting(tick / 10)], tick / 10)]
    events += presence.tick(5.8) + presence.tick(5.9) + presence.tick(6.0)
    assert persons(events) == [("entered", "site-1"), ("seen", "site-1"), ("seen", "site-1"), ("left", "site-1")]
    left = events[-1]
    assert isinstance(left, IdentityLeft)
    assert (left.since, left.last_seen_at) == (0.0, 2.9)


def test_coming_back_after_the_pause_is_a_new_visit() -> None:
    presence = Presence(Publish())
    events = presence.update([sighting(0.0)], 0.0) + presence.update([sighting(10.0)], 10.0)
    assert persons(events) == [("entered", "site-1"), ("left", "site-1"), ("entered", "site-1")]


def test_two_cameras_are_two_visits() -> None:
    presence = Presence(Publish())
    presence.update([sighting(0.0, camera="a"), sighting(0.0, camera="b")], 0.0)
    assert presence.present() == {"a": {"site-1"}, "b": {"site-1"}}
    assert presence.people == 1


def test_a_merge_ends_the_visits_of_the_one_id_and_continues_with_the_other() -> None:
    presence = Presence(Publish())
    presence.update([sighting(0.0, "site-2")], 0.0)
    merge = Merge(GlobalId("site-2"), GlobalId("site-1"), 2, 0.9, None, 1.0)
    events = presence.update([merge, sighting(1.1, "site-1")], 1.1)
    assert persons(events) == [("left", "site-2"), ("merged", "site-1"), ("entered", "site-1"), ("seen", "site-1")]
    entered = events[2]
    assert isinstance(entered, IdentityEntered)
    assert entered.since == 0.0


def test_a_split_ends_the_visit_that_only_the_moved_track_held() -> None:
    presence = Presence(Publish())
    presence.update([sighting(0.0, "site-1", track=7)], 0.0)
    moved = (CameraId("a"), RUN, TrackId(7))
    split = Split(GlobalId("site-1"), GlobalId("site-2"), (moved,), 2, 1.0)
    events = presence.update([split, sighting(1.0, "site-2", track=7)], 1.0)
    assert persons(events) == [("left", "site-1"), ("split", "site-1"), ("entered", "site-2")]


def best_of(at: float, quality: float, person: str = "site-1", track: int = 1) -> Sighting:
    """A sighting with a crop of a quality."""
    seen = sighting(at, person, track=track)
    observation = msgspec.structs.replace(seen.observation, quality=quality, vector=b"\0\0")
    return replace(seen, observation=observation)


def snapshots(events: Sequence[Event]) -> list[str | None]:
    return [event.snapshot for event in events if isinstance(event, IdentityLeft)]


def test_a_visit_that_ends_names_its_best_crop() -> None:
    presence = Presence(Publish(left_after_s=3))
    crops = [best_of(0.0, 0.4), best_of(1.0, 0.9, track=2), best_of(2.0, 0.9, track=2), sighting(2.5)]
    events = presence.update(crops, 2.5) + Presence(Publish(), presence.state()).tick(9.0)
    assert snapshots(events) == [f"a/{RUN}/2/1000"]
    # The next visit does not show a picture of the one before.
    assert snapshots(presence.tick(9.0) + presence.update([sighting(10.0)], 10.0) + presence.close())[1:] == [None]


def test_no_visit_names_a_crop_where_none_are_kept() -> None:
    presence = Presence(Publish(snapshots=False))
    assert snapshots(presence.update([best_of(0.0, 0.4)], 9.0)) == [None]


def test_a_merged_visit_names_the_best_crop_of_both_and_a_split_one_none_that_moved() -> None:
    presence = Presence(Publish())
    presence.update([best_of(0.0, 0.4), best_of(0.0, 0.8, "site-2", 2)], 0.0)
    presence.update([Merge(GlobalId("site-2"), GlobalId("site-1"), 2, 0.9, None, 0.1)], 0.1)
    assert presence.state()[0].best == BestCrop(RUN, TrackId(2), 0.0, 0.8)
    presence.update([Split(GlobalId("site-1"), GlobalId("site-3"), ((CameraId("a"), RUN, TrackId(2)),), 3, 0.2)], 0.2)
    assert snapshots(presence.close()) == [None]


def test_closing_ends_every_visit() -> None:
    presence = Presence(Publish())
    presence.update([sighting(0.0, "site-1"), sighting(0.0, "site-2")], 0.0)
    assert persons(presence.close()) == [("left", "site-1"), ("left", "site-2")]
    assert presence.close() == []


@given(seed=st.integers(0, 2**16), noise=st.floats(0.2, 2.0), room=st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_every_entered_is_followed_by_seen_and_exactly_one_left(seed: int, noise: float, room: int) -> None:
    matcher, presence = Matcher(Match(max_identities=room), "site", MODEL), Presence(Publish())
    events: list[Event] = []
    records = World(people=5, cameras=2, seed=seed, noise=noise, dim=16, fps=2).observations()
    for at, group in groupby(records, key=lambda record: record.seen_at):
        events += presence.update(matcher.update(list(group), at), at)
    events += presence.close()
    inside: set[tuple[GlobalId, CameraId]] = set()
    gone: set[GlobalId] = set()
    for event in events:
        if isinstance(event, IdentityEntered):
            assert (event.person, event.camera) not in inside
            assert event.person not in gone
            inside.add((event.person, event.camera))
        elif isinstance(event, IdentitySeen):
            assert (event.person, event.camera) in inside
        elif isinstance(event, IdentityLeft):
            inside.remove((event.person, event.camera))
        elif isinstance(event, IdentityMerged):
            gone.add(event.previous)
            assert all(person != event.previous for person, _ in inside)
        elif isinstance(event, IdentitySplit):
            assert event.into != event.person
    assert not inside
