"""Types of settings with their pydantic validators (pure)."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

Point = tuple[float, float]


def _polygon(points: tuple[Point, ...]) -> tuple[Point, ...]:
    if len(points) < 3:
        raise ValueError(f"a polygon needs at least 3 points, got {len(points)}")
    return points


def _segment(points: tuple[Point, Point]) -> tuple[Point, Point]:
    if points[0] == points[1]:
        raise ValueError(f"a line must have two different points, found {list(points[0])} twice")
    return points


def _two(pair: tuple[str, str]) -> tuple[str, str]:
    if pair[0] == pair[1]:
        raise ValueError(f"a pair must be two cameras, found {pair[0]} twice")
    return pair


def _rising(times: tuple[float, float, float]) -> tuple[float, float, float]:
    if not times[0] <= times[1] <= times[2] or times[0] == times[2]:
        raise ValueError(f"times must be [minimum, typical, maximum], rising, found {list(times)}")
    return times


def _workers(value: object) -> object:
    """Check before pydantic does, which would report one fault for each allowed type."""
    if value != "auto" and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 64):
        raise ValueError(f"must be auto or a whole number from 1 to 64, found {value!r}")
    return value


Workers = Annotated[Literal["auto"] | Annotated[int, Field(ge=1, le=64)], BeforeValidator(_workers)]
Polygon = Annotated[tuple[Point, ...], AfterValidator(_polygon)]
Segment = Annotated[tuple[Point, Point], AfterValidator(_segment)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0)]

Pair = Annotated[tuple[Name, Name], AfterValidator(_two)]
Passage = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}->[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
"""`from->to`, two cameras."""
Transit = Annotated[tuple[float, float, float], AfterValidator(_rising)]
"""Seconds: minimum, typical, maximum; negative where the views overlap."""
