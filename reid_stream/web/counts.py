"""Unique people per hour, by camera and for the whole site; stays in zones and crossings of lines per hour."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from reid_stream.events import Event, LineCrossed, ZoneLeft
from reid_stream.publish.cloudevents import UnknownEvent
from reid_stream.publish.projection import PersonView
from reid_stream.records import CameraId, GlobalId
from reid_stream.web.count_schemas import HourCount, PlaceCount

HOUR_S = 3600
_MOST_HOURS = 24 * 31
"""Most hours per request."""
_MOST_KEPT = 50_000
"""(camera, place, hour) that are remembered; the oldest are forgotten first."""


@dataclass(slots=True)
class _Tally:
    people: set[GlobalId] = field(default_factory=set)
    into: int = 0
    out: int = 0
    seconds: float = 0.0


class PlaceTally:
    """Stays and crossings by camera, zone or line, and hour."""

    def __init__(self) -> None:
        self._found: dict[tuple[CameraId, str, str, int], _Tally] = {}

    def note(self, event: Event | UnknownEvent) -> None:
        """Count an event of a zone or a line."""
        match event:
            case LineCrossed():
                tally = self._of(event.camera, "line", event.line, event.at, event.person)
                tally.into += event.direction == "in"
                tally.out += event.direction == "out"
            case ZoneLeft():
                # Counted in the hour in which the stay started.
                tally = self._of(event.camera, "zone", event.zone, event.since, event.person)
                tally.into += 1
                tally.out += 1
                tally.seconds += event.dwell_s
            case _:
                pass

    def counts(self, since: float, until: float, camera: str | None = None) -> list[PlaceCount]:
        """Return the hours that start in [since, until), UTC seconds, in order of time."""
        rows = sorted(self._found.items(), key=lambda row: (row[0][3], *row[0][:3]))
        return [
            _count(where, kind, name, hour, tally)
            for (where, kind, name, hour), tally in rows
            if since <= hour < until and camera in (None, where)
        ]

    def totals(self, since: float) -> list[PlaceCount]:
        """Return one count per zone and line of all hours that start at or after `since`, UTC seconds."""
        sums: dict[tuple[CameraId, str, str], _Tally] = defaultdict(_Tally)
        for (where, kind, name, hour), tally in self._found.items():
            if hour >= since:
                whole = sums[where, kind, name]
                whole.people |= tally.people
                whole.into, whole.out = whole.into + tally.into, whole.out + tally.out
                whole.seconds += tally.seconds
        return [_count(*place, since, tally) for place, tally in sorted(sums.items())]

    def _of(self, camera: CameraId, kind: str, name: str, at: float, person: GlobalId) -> _Tally:
        key = (camera, kind, name, hour_of(at))
        tally = self._found.get(key)
        if tally is None:
            tally = self._found[key] = _Tally()
            while len(self._found) > _MOST_KEPT:
                del self._found[next(iter(self._found))]
        tally.people.add(person)
        return tally


def _count(camera: CameraId, kind: str, name: str, hour: float, tally: _Tally) -> PlaceCount:
    return PlaceCount(
        hour=float(hour),
        camera=camera,
        kind="zone" if kind == "zone" else "line",
        name=name,
        people=len(tally.people),
        entries=tally.into,
        exits=tally.out,
        dwell_s=round(tally.seconds / tally.into, 1) if kind == "zone" and tally.into else None,
    )


def hour_of(at: float) -> int:
    """Return the start of the hour of a time, UTC seconds."""
    return int(at // HOUR_S) * HOUR_S


def people_per_hour(
    people: Iterable[PersonView], since: float, until: float, camera: str | None = None
) -> list[HourCount]:
    """Count the people who were in view, hour by hour: each once per hour and camera, and once per hour of the site.

    Args:
        people: with their visits, corrections applied.
        since: UTC seconds; its hour is the first.
        until: UTC seconds; the hour that contains it is the last.
        camera: only this one; None for all and the site.
    """
    first = max(hour_of(since), hour_of(until) - (_MOST_HOURS - 1) * HOUR_S)
    found: dict[tuple[str | None, int], set[str]] = defaultdict(set)
    for person in people:
        for visit in person.visits:
            if camera not in (None, visit.camera):
                continue
            begin, end = max(hour_of(visit.since), first), min(hour_of(visit.last_at), hour_of(until))
            for hour in range(begin, end + 1, HOUR_S):
                found[visit.camera, hour].add(person.person)
                if camera is None:
                    found[None, hour].add(person.person)
    rows = sorted(found.items(), key=lambda row: (row[0][1], row[0][0] or ""))
    return [HourCount(hour=float(hour), camera=where, people=len(who)) for (where, hour), who in rows]
