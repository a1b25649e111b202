"""Detect zone stays and line crossings by the position of people's feet (pure).

Boxes jitter, so neither counts at once: a zone is entered or left when the feet have been inside or outside for
`zone_settle_s`, and the events have the time at which that began; a line is crossed when the feet are clear of it on
the other side, by a share of the person's height, and the way there crosses it between its ends.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from reid_stream.boxes import inside
from reid_stream.config.field_types import Point
from reid_stream.config.presence_settings import CameraPlaces
from reid_stream.events import LineCrossed, ZoneEntered, ZoneLeft
from reid_stream.records import CameraId, ClockQuality, GlobalId, Sighting

_CLEAR = 0.08
"""Distance from a line, in heights of the box, from which a side is sure."""
PlaceEvent = ZoneEntered | ZoneLeft | LineCrossed


class ZoneStay(msgspec.Struct):
    """One person and one zone."""

    since: float | None = None
    """UTC seconds at which the stay started; None outside."""
    changing_at: float | None = None
    """UTC seconds since when the feet are on the other side of the edge; None while they are not."""


class LineSide(msgspec.Struct):
    """One person and one line."""

    side: int
    """1 to the right of the line, -1 to the left."""
    feet: Point
    """Where the feet were clear of the line last, pixels."""


class PlaceState(msgspec.Struct):
    """One visit's zones and lines."""

    zones: dict[str, ZoneStay] = {}
    lines: dict[str, LineSide] = {}


def see(state: PlaceState, places: CameraPlaces, sighting: Sighting, settle_s: float) -> list[PlaceEvent]:
    """Bring a visit's state up to date with a sighting; return what happened."""
    seen = sighting.observation
    (x1, _, x2, y2), (width, height) = seen.box, seen.frame_size
    feet = ((x1 + x2) / 2, y2)
    events: list[PlaceEvent] = []
    for name, polygon in places.zones.items():
        stay = state.zones.setdefault(name, ZoneStay())
        point = np.array([[feet[0] / width, feet[1] / height]], dtype=np.float32)
        if bool(inside(point, polygon)[0]) == (stay.since is not None):
            stay.changing_at = None
            continue
        if stay.changing_at is None:
            stay.changing_at = seen.seen_at
        if seen.seen_at - stay.changing_at < settle_s:
            continue
        if stay.since is None:
            stay.since = stay.changing_at
            events.append(entered(sighting, name, stay.since))
        else:
            events.append(
                left(sighting.person, sighting.revision, seen.camera, seen.clock, name, stay.since, stay.changing_at)
            )
            stay.since = None
        stay.changing_at = None
    for name, (start, end) in places.lines.items():
        a, b = (start[0] * width, start[1] * height), (end[0] * width, end[1] * height)
        distance = _across(a, b, feet) / math.dist(a, b)
        if abs(distance) <= _CLEAR * (y2 - seen.box[1]):
            continue
        side = 1 if distance > 0 else -1
        before = state.lines.get(name)
        state.lines[name] = LineSide(side, feet)
        if (
            before is not None
            and before.side != side
            and _across(before.feet, feet, a) * _across(before.feet, feet, b) < 0
        ):
            events.append(
                LineCrossed(
                    person=sighting.person,
                    revision=sighting.revision,
                    camera=seen.camera,
                    clock=seen.clock,
                    line=name,
                    direction="in" if side > 0 else "out",
                    crossed_at=seen.seen_at,
                )
            )
    return events


def stays(state: PlaceState) -> list[tuple[str, float]]:
    """Return the zones that the person is in, with the time since."""
    return [(name, stay.since) for name, stay in state.zones.items() if stay.since is not None]


def leave(
    state: PlaceState, person: GlobalId, revision: int, camera: CameraId, clock: ClockQuality, last_at: float
) -> list[ZoneLeft]:
    """Return the ends of all stays of a visit that ends; `last_at`: UTC seconds of its last sighting."""
    ends: Sequence[tuple[str, float]] = stays(state)
    return [
        left(person, revision, camera, clock, name, since, state.zones[name].changing_at or last_at)
        for name, since in ends
    ]


def move(state: PlaceState, before: CameraPlaces, after: CameraPlaces, sighting: Sighting) -> list[ZoneLeft]:
    """Adapt a visit's state to other zones and lines; return the ends of stays in zones that no longer exist.

    A stay in a zone that was redrawn goes on until the feet are outside of the new one; the side of a line that was
    redrawn is unknown until the next sighting.

    Args:
        state: of the visit.
        before: zones and lines until now.
        after: zones and lines from now on.
        sighting: the visit's latest.
    """
    seen = sighting.observation
    ends = [
        left(sighting.person, sighting.revision, seen.camera, seen.clock, name, since, seen.seen_at)
        for name, since in stays(state)
        if name not in after.zones
    ]
    unchanged = [name for name in state.zones if before.zones.get(name) == after.zones.get(name)]
    state.zones = {
        name: stay if name in unchanged else ZoneStay(stay.since)
        for name, stay in state.zones.items()
        if name in after.zones
    }
    state.lines = {name: side for name, side in state.lines.items() if before.lines.get(name) == after.lines.get(name)}
    return ends


def entered(sighting: Sighting, zone: str, at: float) -> ZoneEntered:
    """Return the event of a stay's start."""
    seen = sighting.observation
    return ZoneEntered(
        person=sighting.person,
        revision=sighting.revision,
        camera=seen.camera,
        clock=seen.clock,
        zone=zone,
        entered_at=at,
    )


def left(
    person: GlobalId, revision: int, camera: CameraId, clock: ClockQuality, zone: str, since: float, at: float
) -> ZoneLeft:
    """Return the event of a stay's end."""
    return ZoneLeft(
        person=person,
        revision=revision,
        camera=camera,
        clock=clock,
        zone=zone,
        since=since,
        left_at=at,
        dwell_s=round(at - since, 3),
    )


def _across(a: Point, b: Point, point: Point) -> float:
    """Return twice the area of a, b and a point: above 0 to the right of the way from a to b, y downwards."""
    return (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])
