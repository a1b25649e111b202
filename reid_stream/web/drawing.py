"""Geometry of the console's figures: swim lanes of a journey, the graph of cameras; templates draw them as SVG."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from reid_stream.web.count_schemas import HourCount
from reid_stream.web.schemas import Person, TopologyRecord

_LANE, _GAP, _HEAD = 30, 20, 6
"""Pixels: height of a lane, above it for its name, above all."""
_LEAST = 0.6
"""Least width of a visit, percent."""
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_TICKS = 6


@dataclass(frozen=True, slots=True)
class Bar:
    """A visit in its lane."""

    number: int
    """Number of the visit, from 1."""
    left: float
    """Percent of the width."""
    width: float
    top: int
    """Pixels."""
    color: int
    title: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One camera's lane."""

    camera: str
    top: int
    """Pixels."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """A journey as swim lanes."""

    lanes: list[Lane]
    bars: list[Bar]
    ticks: list[tuple[float, float]]
    """(percent, UTC seconds)."""
    height: int
    lane_height: int = _LANE


def lanes(person: Person, colors: Callable[[str], int], first: int = 1) -> Lanes:
    """Lay a journey out: a lane a camera in the order of first visits, a bar a visit, numbered from `first`."""
    begin = min((visit.since for visit in person.journey), default=0.0)
    end = max((visit.last_at for visit in person.journey), default=1.0)
    span = max(end - begin, 1.0)
    order = list(dict.fromkeys(visit.camera for visit in person.journey))
    tops = {camera: _HEAD + _GAP + number * (_LANE + _GAP) for number, camera in enumerate(order)}
    bars = [
        Bar(
            number=number,
            left=round(min(100 * (visit.since - begin) / span, 100 - _LEAST), 3),
            width=round(max(100 * (visit.last_at - visit.since) / span, _LEAST), 3),
            top=tops[visit.camera],
            color=colors(visit.camera),
            title=(
                f"{visit.camera}, {_clock(visit.since)} to {_clock(visit.last_at)}, {visit.last_at - visit.since:.0f} s"
            ),
        )
        for number, visit in enumerate(person.journey, first)
    ]
    step = next((step for step in _STEPS if span / step <= _TICKS), math.ceil(span / _TICKS / 86_400) * 86_400)
    first = math.ceil(begin / step) * step
    ticks = [
        (round(100 * (at - begin) / span, 3), float(at))
        for at in (first + step * number for number in range(_TICKS + 1))
        if at <= end
    ]
    height = _HEAD + len(order) * (_LANE + _GAP) + 24
    return Lanes([Lane(camera, top) for camera, top in tops.items()], bars, ticks, height)


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class HourBar:
    """One hour of a chart."""

    hour: float
    """Start of the hour, UTC seconds."""
    people: int
    height: float
    """Percent of the chart."""


def hour_bars(counts: Iterable[HourCount], now: float) -> dict[str | None, list[HourBar]]:
    """Lay out the last 24 hours by camera, None for the site; all charts have the scale of the site's."""
    found: dict[str | None, dict[float, int]] = {}
    for one in counts:
        found.setdefault(one.camera, {})[one.hour] = one.people
    most = max((people for hours in found.values() for people in hours.values()), default=1)
    last = now // 3600 * 3600
    hours = [last - 3600 * back for back in range(23, -1, -1)]
    return {
        camera: [HourBar(hour, of.get(hour, 0), round(100 * of.get(hour, 0) / most, 1)) for hour in hours]
        for camera, of in found.items()
    }


@dataclass(frozen=True, slots=True)
class Edge:
    """An arrow from a camera to another."""

    path: str
    """SVG path."""
    width: float
    overlaps: bool
    text: str
    text_x: float
    text_y: float
    title: str


@dataclass(frozen=True, slots=True)
class Node:
    """A camera."""

    camera: str
    x: float
    y: float
    half: float
    """Half of its width."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Cameras on a circle with the transitions between them."""

    nodes: list[Node]
    edges: list[Edge]
    view: str
    """SVG viewBox."""


_OVERLAP = 0.3
"""Share of simultaneous matches from which two cameras count as overlapping."""


def topology_graph(record: TopologyRecord) -> Graph:
    """Lay cameras out on a circle; arrows are as wide as they are frequent, dashed where views overlap."""
    count = max(1, len(record.cameras))
    radius = 130 + 12 * count
    size = 2 * radius + 220
    nodes: dict[str, Node] = {}
    for number, camera in enumerate(record.cameras):
        angle = math.pi * (1 if count == 2 else 0.5) - 2 * math.pi * number / count
        x, y = size / 2 + radius * math.cos(angle), size / 2 - radius * math.sin(angle)
        nodes[camera] = Node(camera, round(x, 1), round(y, 1), max(34.0, 4.6 * len(camera) + 12))
    most = max((one.people for one in record.passages), default=1.0) or 1.0
    edges = []
    for one in record.passages:
        if one.camera_from == one.camera_to:
            continue
        a, b = nodes[one.camera_from], nodes[one.camera_to]
        overlaps = one.at_once >= _OVERLAP
        length = math.hypot(b.x - a.x, b.y - a.y) or 1.0
        ux, uy = (b.x - a.x) / length, (b.y - a.y) / length
        bend = 0.16 * length
        mx, my = (a.x + b.x) / 2 - uy * bend, (a.y + b.y) / 2 + ux * bend
        start, end = _leave(a, mx, my), _leave(b, mx, my)
        text = f"{one.people:.0f}" + ("" if one.at_once >= 0.9 else f" · {one.seconds[1]:.0f} s")
        edges.append(
            Edge(
                path=f"M{start[0]:.1f} {start[1]:.1f} Q{mx:.1f} {my:.1f} {end[0]:.1f} {end[1]:.1f}",
                width=round(1 + 4 * one.people / most, 2),
                overlaps=overlaps,
                text=text,
                text_x=round((a.x + b.x) / 2 - uy * bend * 0.62, 1),
                text_y=round((a.y + b.y) / 2 + ux * bend * 0.62 + (4 if abs(ux) < 0.5 else (16 if ux > 0 else -8)), 1),
                title=f"{one.camera_from} to {one.camera_to}: {one.people:.0f} people, {one.at_once:.0%} at once",
            )
        )
    half = 75.0 if count <= 2 else max(abs(node.y - size / 2) for node in nodes.values()) + 60
    return Graph(list(nodes.values()), edges, f"0 {size / 2 - half:.0f} {size} {2 * half:.0f}")


def _leave(node: Node, x: float, y: float) -> tuple[float, float]:
    """Return where a line from a node's middle towards a point leaves the node."""
    dx, dy = x - node.x, y - node.y
    reach = min(node.half / abs(dx) if dx else math.inf, 18 / abs(dy) if dy else math.inf)
    length = math.hypot(dx, dy) or 1.0
    return node.x + dx * (reach + 5 / length), node.y + dy * (reach + 5 / length)
