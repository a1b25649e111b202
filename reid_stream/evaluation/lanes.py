"""Swim lanes of a run: per camera over time, true people above and predicted identities below (pure).

Every true visit is a bar in the first free lane of its camera; below it are the stretches of time under one published
identity. `plots` draws them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from reid_stream.evaluation.align import Alignment, Doubles, Ints, matched
from reid_stream.evaluation.delay import right_names
from reid_stream.evaluation.stream import Timeline
from reid_stream.evaluation.visits import Visits

BRIDGE_S = 1.0
"""Longest gap without a box within a stretch."""
_APART_S = 1.0
"""Least distance of two bars in a lane, so that they are visibly separate."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One identity over some time."""

    start_s: float
    """Seconds from the start of the footage."""
    end_s: float
    name: str
    """Global ID."""
    person: int | None
    """Person assigned to this identity (row of `Lanes.people`); None for a surplus identity."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One true visit."""

    lane: int
    start_s: float
    end_s: float
    person: int
    """Row of `Lanes.people`."""
    in_the_end: tuple[Stretch, ...]
    """Published identities after all corrections, in order of time."""
    at_once: tuple[Stretch, ...]
    """Identities as first published."""
    switches_s: tuple[float, ...]
    """Times at which the identity changes, after all corrections."""


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One camera."""

    camera: str
    lanes: int
    bars: tuple[Bar, ...]
    false_boxes: Doubles
    """(seconds,) mean number of false boxes per frame, by second of the footage."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """A whole set."""

    panels: tuple[Panel, ...]
    people: tuple[str, ...]
    """True people, in order of first appearance."""
    length_s: float


def lanes(cameras: Mapping[str, Timeline], at_once: Alignment, in_the_end: Alignment, visits: Visits) -> Lanes:
    """Lay out the swim lanes; both alignments and `visits` are of the same truth."""
    origin = min(line.first_at for line in cameras.values())
    starts = [
        cameras[at_once.cameras[c]].at(int(f)) - origin for c, f in zip(visits.cameras, visits.first, strict=True)
    ]
    ends = [
        cameras[at_once.cameras[c]].at(int(f) + 1) - origin for c, f in zip(visits.cameras, visits.last, strict=True)
    ]
    order = np.argsort(starts, kind="stable")
    place = {int(person): n for n, person in enumerate(dict.fromkeys(visits.people[order].tolist()))}
    stands_for = {name: place[person] for person, name in right_names(in_the_end).items()}
    published = [_stretches(aligned, visits, cameras, origin, stands_for) for aligned in (at_once, in_the_end)]
    panels = []
    length_s = max(ends, default=0.0)
    for number, camera in enumerate(at_once.cameras):
        bars, free = [], np.zeros(0)
        for visit in order[visits.cameras[order] == number].tolist():
            fits = np.flatnonzero(free <= starts[visit])
            lane = int(fits[0]) if len(fits) else len(free)
            free = np.append(free, 0.0) if lane == len(free) else free
            free[lane] = ends[visit] + _APART_S
            final = published[1].get(visit, ())
            bars.append(
                Bar(
                    lane=lane,
                    start_s=starts[visit],
                    end_s=ends[visit],
                    person=place[int(visits.people[visit])],
                    in_the_end=final,
                    at_once=published[0].get(visit, ()),
                    switches_s=tuple(b.start_s for a, b in pairwise(final) if a.name != b.name),
                )
            )
        panels.append(
            Panel(camera, len(free), tuple(bars), _false_boxes(in_the_end, number, cameras[camera], origin, length_s))
        )
    return Lanes(tuple(panels), tuple(str(at_once.true.names[person]) for person in place), length_s)


def _stretches(
    aligned: Alignment, visits: Visits, cameras: Mapping[str, Timeline], origin: float, stands_for: Mapping[str, int]
) -> dict[int, tuple[Stretch, ...]]:
    rows, columns = matched(aligned)
    visit, identity, frames = visits.of[rows], aligned.predicted.people[columns], aligned.true.frames[rows]
    order = np.lexsort((frames, visit))
    visit, identity, frames = visit[order], identity[order], frames[order]
    fps = np.asarray([cameras[camera].fps for camera in aligned.cameras])[visits.cameras[visit]]
    breaks = np.ones(len(order) + 1, dtype=bool)
    breaks[1:-1] = (np.diff(visit) != 0) | (np.diff(identity) != 0) | (np.diff(frames) > BRIDGE_S * fps[1:])
    edges = np.flatnonzero(breaks)
    found: dict[int, list[Stretch]] = {}
    for first, last in zip(edges[:-1].tolist(), (edges[1:] - 1).tolist(), strict=True):
        line = cameras[aligned.cameras[visits.cameras[visit[first]]]]
        name = str(aligned.predicted.names[identity[first]])
        start_s, end_s = line.at(int(frames[first])) - origin, line.at(int(frames[last]) + 1) - origin
        found.setdefault(int(visit[first]), []).append(Stretch(start_s, end_s, name, stands_for.get(name)))
    return {number: tuple(stretches) for number, stretches in found.items()}


def _false_boxes(aligned: Alignment, camera: int, line: Timeline, origin: float, length_s: float) -> Doubles:
    """Return the mean number of false boxes per frame, in each second."""
    is_free = aligned.predicted.cameras == camera
    is_free[matched(aligned)[1]] = False
    frames: Ints = aligned.predicted.frames[is_free]
    seconds = np.clip(line.first_at - origin + (frames - 1) / line.fps, 0, None).astype(np.int64)
    return np.bincount(seconds, minlength=int(np.ceil(length_s)) + 1) / line.fps
