"""What the HTTP API says of people per hour."""

from typing import Literal

from reid_stream.web.schemas import Record


class HourCount(Record):
    """Unique people in an hour."""

    hour: float
    """Its begin, UTC seconds."""
    camera: str | None
    """Null for the whole site, where a person on two cameras counts once."""
    people: int


class PlaceCount(Record):
    """A zone or a line in an hour."""

    hour: float
    """Its begin, UTC seconds; a stay counts where it begins."""
    camera: str
    kind: Literal["zone", "line"]
    name: str
    people: int
    """Unique people."""
    entries: int
    """Stays that are over, or crossings `in`."""
    exits: int
    """The same for a zone; crossings `out`."""
    dwell_s: float | None
    """Mean stay, seconds; null for a line."""


class Counts(Record):
    """People per hour."""

    hours: list[HourCount]
    """Hours with anybody."""
    places: list[PlaceCount]
    is_complete: bool
    """False while the console still reads older events."""
