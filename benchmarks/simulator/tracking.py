"""Simulate a tracker on visits: boxes per frame with gaps, breaks, identity swaps, duplicates (pure).

    scenario, visits, chance -> TrackerRows: one per person, camera and frame in which the tracker reports a person

The truth is kept beside it: `person` is the true person of a box, `track` the tracker's number.

Letters: n rows, m visits.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from benchmarks.simulator.journeys import Bools, Doubles, SimulatedVisits
from benchmarks.simulator.scenario import Scenario
from reid_stream.records import Ints

FRAME_SIZE = (1280, 720)
_DUPLICATE_S = 3.0
"""Median life of a second box."""
_HEAD = 0.55
"""Share of the first box's height that a second box covers; it lies within it."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackerRows:
    """Tracked boxes."""

    person: Ints
    """(n,) true person of the box."""
    camera: Ints
    """(n,)."""
    frame: Ints
    """(n,) number of the camera's frame; those of all cameras are `1 / fps` apart."""
    visit: Ints
    """(n,) which visit it belongs to."""
    track: Ints
    """(n,) unique over all cameras."""
    box: Doubles
    """(n, 4) pixels."""
    duplicate: Bools
    """(n,) a second box of a person who has another one already."""

    def __len__(self) -> int:
        return len(self.person)

    def keep(self, chosen: Bools | Ints) -> "TrackerRows":
        """Return the chosen rows."""
        return TrackerRows(
            self.person[chosen],
            self.camera[chosen],
            self.frame[chosen],
            self.visit[chosen],
            self.track[chosen],
            self.box[chosen],
            self.duplicate[chosen],
        )


def follow(scenario: Scenario, visits: SimulatedVisits, rng: np.random.Generator) -> TrackerRows:
    """Track all visits, with the faults of the scenario."""
    rows = _frames(scenario, visits, rng)
    rows, breaks = _occluded(scenario, visits, rows, rng)
    tracks = np.unique(rows.visit * (breaks.max(initial=0) + 1) + breaks, return_inverse=True)[1]
    rows = replace(rows, track=tracks.astype(np.int64))
    rows = replace(rows, track=_swapped(scenario, visits, rows, rng))
    second = _second_boxes(scenario, visits, rows, rng)
    return TrackerRows(*(np.concatenate(pair) for pair in zip(_columns(rows), _columns(second), strict=True)))


def _columns(rows: TrackerRows) -> tuple[npt.NDArray[np.generic], ...]:
    return rows.person, rows.camera, rows.frame, rows.visit, rows.track, rows.box, rows.duplicate


def _frames(scenario: Scenario, visits: SimulatedVisits, rng: np.random.Generator) -> TrackerRows:
    """Give each visit a row per frame, and a box that crosses the image; visit by visit, in time."""
    first = np.ceil(visits.enters_at * scenario.fps).astype(np.int64)
    count = np.maximum(1, np.ceil(visits.leaves_at * scenario.fps).astype(np.int64) - first)
    visit = np.repeat(np.arange(len(visits)), count)
    step = np.arange(len(visit)) - np.repeat(np.cumsum(count) - count, count)
    width, height = FRAME_SIZE
    tall = rng.uniform(0.3, 0.5, len(visits))[visit] * height
    lane = rng.uniform(0.0, 0.45, len(visits))[visit] * height
    share = step / np.maximum(1, count - 1)[visit]
    share = np.where(rng.random(len(visits))[visit] < 0.5, share, 1 - share)
    left = share * (width - 0.4 * tall)
    return TrackerRows(
        person=visits.person[visit],
        camera=visits.camera[visit],
        frame=first[visit] + step,
        visit=visit,
        track=visit,
        box=np.stack([left, lane, left + 0.4 * tall, lane + tall], axis=1),
        duplicate=np.zeros(len(visit), dtype=bool),
    )


def _occluded(
    scenario: Scenario, visits: SimulatedVisits, rows: TrackerRows, rng: np.random.Generator
) -> tuple[TrackerRows, Ints]:
    """Remove rows out of sight; also return how often each remaining row's visit was broken before it (n,)."""
    lasts = visits.leaves_at - visits.enters_at
    events = np.repeat(np.arange(len(visits)), rng.poisson(scenario.occlusions_per_min * lasts / 60))
    begins = visits.enters_at[events] + rng.random(len(events)) * lasts[events]
    gone_s = scenario.occlusion_s * np.exp(rng.normal(0, 0.8, len(events)))
    start = np.searchsorted(rows.visit, np.arange(len(visits)))
    stop = np.searchsorted(rows.visit, np.arange(len(visits)), side="right")
    low = np.clip(np.round((begins - visits.enters_at[events]) * scenario.fps).astype(np.int64), 1, None)
    low = np.minimum(start[events] + low, stop[events])
    high = np.minimum(low + np.ceil(gone_s * scenario.fps).astype(np.int64), stop[events])
    change = np.zeros(len(rows) + 1, dtype=np.int64)
    np.add.at(change, low, 1)
    np.add.at(change, high, -1)
    hidden = np.cumsum(change)[:-1] > 0
    # Gaps may overlap, so what breaks a track is how long nothing of it was left.
    kept = rows.keep(~hidden)
    silent = np.diff(kept.frame, prepend=0) > scenario.lost_s * scenario.fps
    same = np.diff(kept.visit, prepend=-1) == 0
    total = np.cumsum(silent & same)
    return kept, np.asarray(total - total[np.searchsorted(kept.visit, kept.visit)], dtype=np.int64)


def _swapped(scenario: Scenario, visits: SimulatedVisits, rows: TrackerRows, rng: np.random.Generator) -> Ints:
    """Swap the tracks of some pairs side by side, from a moment on."""
    track = rows.track.copy()
    a, b = _side_by_side(visits)
    begins = np.maximum(visits.enters_at[a], visits.enters_at[b])
    lasts = np.minimum(visits.leaves_at[a], visits.leaves_at[b]) - begins
    happens = rng.poisson(scenario.swaps_per_min * lasts / 60) > 0
    moments = begins + rng.random(len(a)) * lasts
    start = np.searchsorted(rows.visit, np.arange(len(visits)))
    stop = np.searchsorted(rows.visit, np.arange(len(visits)), side="right")
    for one, other, moment in zip(a[happens], b[happens], moments[happens], strict=True):
        frame = moment * scenario.fps
        cut = [start[v] + np.searchsorted(rows.frame[start[v] : stop[v]], frame) for v in (one, other)]
        if cut[0] in (start[one], stop[one]) or cut[1] in (start[other], stop[other]):
            continue  # one of the two has not been followed yet, or is not any more
        tracks = track[cut[0]], track[cut[1]]
        for (begin, end), mine, theirs in (((cut[0], stop[one]), *tracks), ((cut[1], stop[other]), *tracks[::-1])):
            part = track[begin:end]
            part[part == mine] = theirs
    return track


def _side_by_side(visits: SimulatedVisits) -> tuple[Ints, Ints]:
    """Return all pairs of visits of one camera that overlap in time."""
    pairs = []
    for camera in np.unique(visits.camera):
        here = np.flatnonzero(visits.camera == camera)  # in order of entering
        until = np.searchsorted(visits.enters_at[here], visits.leaves_at[here])
        count = np.maximum(0, until - np.arange(len(here)) - 1)
        first = np.repeat(np.arange(len(here)), count)
        offset = np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count)
        pairs.append(np.stack([here[first], here[first + 1 + offset]]))
    joined = np.concatenate(pairs, axis=1) if pairs else np.zeros((2, 0), dtype=np.int64)
    return joined[0], joined[1]


def _second_boxes(
    scenario: Scenario, visits: SimulatedVisits, rows: TrackerRows, rng: np.random.Generator
) -> TrackerRows:
    """Return rows of second boxes: head and shoulders of a person in view, with their own track numbers."""
    lasts = visits.leaves_at - visits.enters_at
    chosen = np.flatnonzero(rng.poisson(scenario.duplicates_per_min * lasts / 60))
    begins = visits.enters_at[chosen] + rng.random(len(chosen)) * lasts[chosen]
    ends = begins + _DUPLICATE_S * np.exp(rng.normal(0, 0.5, len(chosen)))
    low, high = (np.full(len(visits), np.inf) for _ in range(2))
    low[chosen], high[chosen] = begins * scenario.fps, ends * scenario.fps
    second = rows.keep((rows.frame >= low[rows.visit]) & (rows.frame < high[rows.visit]))
    box = second.box.copy()
    inset = 0.1 * (box[:, 2] - box[:, 0])
    box[:, 0] += inset
    box[:, 2] -= inset
    box[:, 3] = box[:, 1] + _HEAD * (box[:, 3] - box[:, 1])
    number = rows.track.max(initial=-1) + 1
    track = number + np.unique(second.visit, return_inverse=True)[1].astype(np.int64)
    return replace(second, box=box, track=track, duplicate=np.ones(len(second), dtype=bool))
