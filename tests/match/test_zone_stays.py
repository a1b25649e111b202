"""Zones and lines: who is in, for how long, who crosses, whatever boxes jitter."""

from collections.abc import Iterable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_stream.config.presence_settings import CameraPlaces, PresenceSettings
from reid_stream.config.settings import Publish
from reid_stream.events import Event, IdentityLeft, LineCrossed, ZoneEntered, ZoneLeft
from reid_stream.match.presence import Presence, VisitState
from reid_stream.records import CameraId, GlobalId, Merge, Observation, Sighting, Split, TrackId

RIGHT = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))
"""The right half of the picture."""
DOWN = ((0.5, 0.2), (0.5, 0.8))
"""Through the middle, downwards; its right is the left half of the picture."""
SIZE = (1000, 500)
HEIGHT = 100


def settings(**publish: float) -> PresenceSettings:
    places = {"door": CameraPlaces(zones={"till": RIGHT}, lines={"gate": DOWN})}
    return PresenceSettings(places=places, **Publish.model_validate(publish).model_dump())


def at(
    seconds: float, x: float, y: float = 0.5, person: str = "shop-1", track: int = 1, camera: str = "door"
) -> Sighting:
    """A person whose feet are at (x, y), fractions of the picture."""
    feet_x, feet_y = x * SIZE[0], y * SIZE[1]
    observation = Observation(
        run="r", camera=CameraId(camera), track=TrackId(track), sequence=0, seen_at=seconds, clock="rtcp",
        box=(feet_x - 20, feet_y - HEIGHT, feet_x + 20, feet_y), frame_size=SIZE, score=0.9, quality=0, vector=None,
        model="m",
    )  # fmt: skip
    return Sighting(GlobalId(person), "confirmed", None, None, 1, observation)


def of(events: Iterable[Event], *kinds: type) -> list[Event]:
    return [event for event in events if isinstance(event, kinds)]


def walk(presence: Presence, xs: Sequence[float], begin: float = 0.0, y: float = 0.5) -> list[Event]:
    """Walk, ten steps a second."""
    return [
        event
        for number, x in enumerate(xs)
        for event in presence.update([at(begin + number / 10, x, y)], begin + number / 10)
    ]


def test_a_stay_has_its_begin_its_end_and_its_length() -> None:
    presence = Presence(settings())
    events = walk(presence, [0.3] * 10 + [0.7] * 20 + [0.3] * 10)
    (entered,) = of(events, ZoneEntered)
    (left,) = of(events, ZoneLeft)
    assert isinstance(entered, ZoneEntered)
    assert isinstance(left, ZoneLeft)
    assert (entered.zone, entered.camera, entered.person) == ("till", "door", "shop-1")
    assert (entered.entered_at, left.since, left.left_at, left.dwell_s) == pytest.approx((1.0, 1.0, 3.0, 2.0))
    assert not of(presence.close(), ZoneLeft)


def test_jitter_at_the_edge_is_no_stay_and_no_end_of_one() -> None:
    outside = walk(Presence(settings()), [0.49, 0.49, 0.51, 0.51, 0.49] * 20)
    assert not of(outside, ZoneEntered)
    inside = walk(Presence(settings()), [0.7] * 10 + [0.51, 0.49, 0.48, 0.51] * 20)
    assert (len(of(inside, ZoneEntered)), len(of(inside, ZoneLeft))) == (1, 0)


def test_who_is_last_seen_in_a_zone_leaves_it_with_the_visit() -> None:
    presence = Presence(settings())
    events = walk(presence, [0.7] * 21) + presence.tick(30.0)
    (left,) = of(events, ZoneLeft)
    assert isinstance(left, ZoneLeft)
    assert (left.left_at, left.dwell_s) == (2.0, 2.0)
    assert [type(event) for event in events[-2:]] == [ZoneLeft, IdentityLeft]


def test_a_merge_and_a_split_carry_stays_over_to_the_id_that_goes_on() -> None:
    presence = Presence(settings())
    walk(presence, [0.7] * 21)
    merged = presence.update([Merge(GlobalId("shop-1"), GlobalId("shop-9"), 2, 0.9, None, 2.1)], 2.1)
    assert [event.subject for event in of(merged, ZoneLeft)] == ["shop-1"]
    (entered,) = of(merged, ZoneEntered)
    assert isinstance(entered, ZoneEntered)
    assert (entered.person, entered.entered_at) == ("shop-9", 0.0)
    split = Split(GlobalId("shop-9"), GlobalId("shop-3"), ((CameraId("door"), "r", TrackId(1)),), 3, 2.2)
    assert [event.subject for event in of(presence.update([split], 2.2), ZoneLeft)] == ["shop-9"]


@pytest.mark.parametrize(
    ("xs", "y", "expected"),
    [
        ([0.4, 0.45, 0.55, 0.6], 0.5, ["out"]),  # to the right of the picture is to the left of the line
        ([0.6, 0.55, 0.45, 0.4], 0.5, ["in"]),
        ([0.4, 0.6, 0.4], 0.5, ["out", "in"]),
        ([0.4, 0.6, 0.4], 0.95, []),  # past the line's end
        ([0.495, 0.505] * 30, 0.5, []),  # jitter on it
        ([0.45] + [0.498, 0.502] * 20 + [0.55], 0.5, ["out"]),
        ([0.45] + [0.498, 0.502] * 20 + [0.45], 0.5, []),
    ],
)
def test_a_line_is_crossed_once_in_its_direction(xs: list[float], y: float, expected: list[str]) -> None:
    events = walk(Presence(settings()), xs, y=y)
    assert [event.direction for event in events if isinstance(event, LineCrossed)] == expected


def test_a_new_visit_crosses_nothing_on_its_way_from_the_last() -> None:
    presence = Presence(settings())
    events = walk(presence, [0.4, 0.4]) + walk(presence, [0.6, 0.6], begin=60.0)
    assert not of(events, LineCrossed)


def test_other_cameras_have_no_zones() -> None:
    presence = Presence(settings())
    assert not of(presence.update([at(t, 0.7, camera="till") for t in range(9)], 9.0), ZoneEntered)


def test_a_daemon_that_starts_again_goes_on_where_the_last_was() -> None:
    before, whole = Presence(settings()), Presence(settings())
    xs = [0.3] * 10 + [0.7] * 20 + [0.3] * 10
    expected = walk(whole, xs)
    for cut in (3, 12, 25, 33):
        before = Presence(settings())
        first = walk(before, xs[:cut])
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(before.state()), type=list[VisitState])
        after = Presence(settings(), state)
        assert first + walk(after, xs[cut:], begin=cut / 10) == expected


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(1, 3)), max_size=60))
def test_every_stay_that_begins_ends_once(steps: list[tuple[float, float, int]]) -> None:
    presence = Presence(settings(zone_settle_s=0.15))
    events = [
        event
        for number, (x, y, person) in enumerate(steps)
        for event in presence.update([at(number / 10, x, y, f"shop-{person}", person)], number / 10)
    ] + presence.close()
    inside: set[str] = set()
    for event in events:
        match event:
            case ZoneEntered():
                assert event.person not in inside
                inside.add(event.person)
            case ZoneLeft():
                assert event.dwell_s >= 0
                inside.remove(event.person)
            case IdentityLeft():
                assert event.person not in inside
            case _:
                pass
    assert not inside


def moved(**places: object) -> PresenceSettings:
    return PresenceSettings.model_validate({**settings().model_dump(), "places": {"door": places}})


def test_a_zone_that_is_removed_ends_its_stays_and_a_new_one_begins_some() -> None:
    presence = Presence(settings())
    walk(presence, [0.7] * 10)
    (left,) = presence.change_settings(moved(zones={"shelf": RIGHT}))
    assert isinstance(left, ZoneLeft)
    assert left.zone == "till"
    assert left.left_at == pytest.approx(0.9)
    (entered,) = of(walk(presence, [0.7] * 10, begin=1.0), ZoneEntered)
    assert isinstance(entered, ZoneEntered)
    assert entered.zone == "shelf"
    assert entered.entered_at == pytest.approx(1.0)
    assert [event.zone for event in presence.close() if isinstance(event, ZoneLeft)] == ["shelf"]


def test_a_stay_goes_on_in_a_redrawn_zone_until_the_feet_are_outside_of_it() -> None:
    presence = Presence(settings())
    walk(presence, [0.7] * 10)
    narrow = ((0.8, 0.0), (1.0, 0.0), (1.0, 1.0), (0.8, 1.0))
    assert presence.change_settings(moved(zones={"till": narrow})) == []
    assert not of(walk(presence, [0.9] * 10, begin=1.0), ZoneEntered, ZoneLeft)
    (left,) = of(walk(presence, [0.7] * 10, begin=2.0), ZoneLeft)
    assert isinstance(left, ZoneLeft)
    assert (left.since, left.left_at) == pytest.approx((0.0, 2.0))


def test_a_line_that_is_moved_past_a_person_is_not_crossed_by_that() -> None:
    presence = Presence(settings())
    walk(presence, [0.7] * 5)
    presence.change_settings(moved(lines={"gate": ((0.9, 0.2), (0.9, 0.8))}))
    assert not of(walk(presence, [0.7] * 5, begin=0.5), LineCrossed)
    assert len(of(walk(presence, [0.98] * 5, begin=1.0), LineCrossed)) == 1
