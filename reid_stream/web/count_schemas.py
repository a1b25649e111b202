"""Response schemas of the HTTP API for people per hour."""

from typing import Literal

from reid_stream.web.schemas import Record


class HourCount(Record):
    """Unique people in an hour."""

    hour: float
    """Start of the hour, UTC seconds."""
    camera: str | None
    """Null for the whole site, where a person on two cameras counts once."""
    people: int


class PlaceCount(Record):
    """A zone or a line in an hour."""

    hour: float
    """Start of the hour, UTC seconds; a stay counts in the hour in which it starts."""
    camera: str
    kind: Literal["zone", "line"]
    name: str
    people: int
    """Unique people."""
    entries: int
    """Ended stays, or crossings `in`."""
    exits: int
    """Same as `entries` for a zone; crossings `out` for a line."""
    dwell_s: float | None
    """Mean stay, seconds; null for a line."""


class Counts(Record):
    """People per hour."""

    hours: list[HourCount]
    """Hours with at least one person."""
    places: list[PlaceCount]
    is_complete: bool
    """False while the console still reads older events."""
