"""Simulated world: observations in the matcher's order, and the true person of each box (pure).

    scenario, looks, seed -> World -> batches(): (now, [Observation | TrackEnded, ...]), ...

Deterministic: the same scenario, looks and seed give the same bytes. All is computed in arrays; records are made only
as they are requested, so that a day of many cameras needs little memory.

Letters: n rows, d dimensions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.simulator import journeys, tracking
from benchmarks.simulator.journeys import Bools, CameraGraph, Doubles, SimulatedVisits
from benchmarks.simulator.looks import Looks, cast, dressed_alike
from benchmarks.simulator.scenario import Scenario
from benchmarks.simulator.tracking import FRAME_SIZE, TrackerRows
from reid_stream.records import CameraId, Ints, Observation, Perceived, TrackEnded, TrackId, pack_vector

BEGINS_AT = 1_767_225_600.0
"""2026-01-01T00:00:00Z, start of every world."""
RUN = "simulated"
_CHUNK = 20_000
"""TrackerRows turned into records at a time."""
_MOST_JITTER = 0.4
"""Largest jitter as a share of the frame interval: frames of one camera stay in order."""


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedWorld:
    """Truth and observations of one world."""

    scenario: Scenario
    looks: Looks
    """Appearance of this world's people, by number."""
    paths: CameraGraph
    visits: SimulatedVisits
    rows: TrackerRows
    """Rows in order of arrival."""
    seen_at: Doubles
    """(n,) capture time by the camera's own clock, UTC seconds."""
    tick: Ints
    """(n,) frame interval, counted from the start of the world, in which the matcher receives it."""
    vector: Ints
    """(n,) row of `looks`, -1 without one."""
    mixed_with: Ints
    """(n,) row of `looks` that is in front, -1 if none is."""
    quality: Doubles
    """(n,) in [0, 1]."""
    score: Doubles
    """(n,) in [0, 1]."""
    ends: Ints
    """(n,) 1 + track number where a row stands for a track's end, 0 for an observation."""
    sequence: Ints
    """(n,) of its camera."""
    skew: Doubles
    """(c,) how far each camera's clock is ahead, in seconds."""
    names: tuple[CameraId, ...]
    """Names of the cameras."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def observations(self) -> int:
        """Number of observations."""
        return int((self.ends == 0).sum())

    def batches(self) -> Iterator[tuple[float, list[Perceived]]]:
        """Yield what arrives within each frame interval, and when that is (UTC seconds); nothing per quiet second."""
        waiting: list[Perceived] = []
        last = int(self.tick[0]) if len(self) else 0
        second = max(1, round(self.scenario.fps))
        for start in range(0, len(self), _CHUNK):
            stop = min(start + _CHUNK, len(self))
            ticks = self.tick[start:stop].tolist()
            for at, record in zip(ticks, self._records(start, stop), strict=True):
                if at != last:
                    yield self._now(last), waiting
                    # A night is not yielded second by second.
                    for silent in range(last + second, min(at, last + 120 * second), second):
                        yield self._now(silent), []
                    waiting, last = [], at
                waiting.append(record)
        if waiting:
            yield self._now(last), waiting

    def _now(self, tick: int) -> float:
        return BEGINS_AT + (tick + 1) / self.scenario.fps

    def _records(self, start: int, stop: int) -> Iterator[Perceived]:
        rows = slice(start, stop)
        columns = (
            self.ends[rows].tolist(),
            self.rows.camera[rows].tolist(),
            self.rows.track[rows].tolist(),
            self.sequence[rows].tolist(),
            self.seen_at[rows].tolist(),
            self.rows.box[rows].round(2).tolist(),
            self.score[rows].round(4).tolist(),
            self.quality[rows].round(4).tolist(),
            self.vector[rows].tolist(),
            self.mixed_with[rows].tolist(),
        )
        for end, camera, track, sequence, at, box, score, quality, vector, other in zip(*columns, strict=True):
            if end:
                yield TrackEnded(RUN, self.names[camera], TrackId(track), sequence, at)
                continue
            yield Observation(
                RUN,
                self.names[camera],
                TrackId(track),
                sequence,
                at,
                "rtcp",
                (box[0], box[1], box[2], box[3]),
                FRAME_SIZE,
                score,
                quality,
                None if vector < 0 else self._vector(vector, other),
                self.looks.model,
            )

    def _vector(self, row: int, other: int) -> bytes:
        if other < 0:
            return bytes(self.looks.vectors[row].tobytes())
        weight = np.float32(self.scenario.mixed_weight)
        vector = self.looks.vectors[row].astype(np.float32) * (1 - weight)
        vector += self.looks.vectors[other].astype(np.float32) * weight
        return pack_vector(vector / np.linalg.norm(vector))


def simulate(scenario: Scenario, looks: Looks, seed: int = 0) -> SimulatedWorld:
    """Make a world.

    Args:
        scenario: settings of the world.
        looks: of all people, from whom those of the world are drawn.
        seed: of all random draws; each part has its own generator, so that one more swap moves no one.
    """
    chances = iter(np.random.default_rng([seed, part]) for part in range(9))
    people = cast(looks, scenario.people, scenario.look_alikes, scenario.likeness, next(chances))
    if scenario.uniform_share:
        uniforms = np.random.default_rng([seed, 10])
        people = dressed_alike(people, scenario.uniform_share, scenario.uniform_likeness, uniforms)
    paths = journeys.graph(scenario, next(chances))
    view = np.arange(scenario.cameras) % looks.views
    visits = journeys.visits(scenario, paths, people.count[:, view] > 0, next(chances))
    rows = tracking.follow(scenario, visits, next(chances))
    when, rows = _times(scenario, rows, next(chances))
    vector = _vectors(scenario, rows, people, view, next(chances))
    quality, mixed_with = _qualities(scenario, rows, vector, people, view, next(chances))
    rows, ends, at = _with_ends(scenario, rows, when)
    spare = len(rows) - len(vector)
    tick = np.floor(_arrivals(scenario, rows, at, next(chances)) * scenario.fps).astype(np.int64)
    skew = next(chances).normal(0, scenario.clock_skew_s, scenario.cameras)
    seen_at = BEGINS_AT + at + skew[rows.camera]
    # The order of a camera is kept; within a frame, an end comes after the observations.
    order = np.lexsort((ends, rows.track, seen_at, rows.camera, tick))
    camera = rows.camera[order]
    score = np.random.default_rng([seed, 9]).uniform(0.6, 0.98, len(rows))
    return SimulatedWorld(
        scenario=scenario,
        looks=people,
        paths=paths,
        visits=visits,
        rows=rows.keep(order),
        seen_at=seen_at[order],
        tick=tick[order],
        vector=np.concatenate([vector, np.full(spare, -1)])[order],
        mixed_with=np.concatenate([mixed_with, np.full(spare, -1)])[order],
        quality=np.concatenate([quality, np.zeros(spare)])[order],
        score=score,
        ends=ends[order],
        sequence=_counted(camera, scenario.cameras),
        skew=skew,
        names=tuple(CameraId(f"cam{number + 1}") for number in range(scenario.cameras)),
    )


def _times(scenario: Scenario, rows: TrackerRows, rng: np.random.Generator) -> tuple[Doubles, TrackerRows]:
    """Return each row's capture time (n,), the same for all of one frame, and the rows of frames that arrived."""
    key = rows.frame * scenario.cameras + rows.camera
    frames, which = np.unique(key, return_inverse=True)
    arrived = (rng.random(len(frames)) >= scenario.dropped_frames)[which]
    rates = np.full(scenario.cameras, scenario.fps)
    rates[: len(scenario.camera_fps)] = scenario.camera_fps
    share = rates[rows.camera] / scenario.fps
    arrived &= np.floor((rows.frame + 1) * share) > np.floor(rows.frame * share)
    most = _MOST_JITTER / scenario.fps
    jitter = np.clip(rng.normal(0, scenario.clock_jitter_s, len(frames)), -most, most)
    when = rows.frame / scenario.fps + jitter[which]
    return np.asarray(when[arrived], dtype=np.float64), rows.keep(arrived)


def _vectors(scenario: Scenario, rows: TrackerRows, people: Looks, view: Ints, rng: np.random.Generator) -> Ints:
    """Return which crop each row's vector is of (n,), -1 where the track is not due for one.

    A track goes through the crops that its camera has of the person, starting anywhere.
    """
    order = np.lexsort((rows.frame, rows.track))
    track, frame = rows.track[order], rows.frame[order]
    start = np.searchsorted(track, track)
    turn = ((frame - frame[start]) / (scenario.fps * scenario.vector_every_s)).astype(np.int64)
    due = (np.diff(track, prepend=-1) != 0) | (np.diff(turn, prepend=-1) != 0)
    person, seen_by = rows.person[order], view[rows.camera[order]]
    tracks = int(rows.track.max(initial=-1)) + 1
    offset = rng.integers(0, 1 << 20, tracks)[track]
    count = people.count[person, seen_by]
    crop = people.first[person, seen_by] + (offset + turn) % np.maximum(1, count)
    found = np.full(len(rows), -1, dtype=np.int64)
    found[order] = np.where(due & (count > 0), crop, -1)
    return found


def _qualities(
    scenario: Scenario, rows: TrackerRows, vector: Ints, people: Looks, view: Ints, rng: np.random.Generator
) -> tuple[Doubles, Ints]:
    """Return qualities (n,), 0 without a vector, and whose crop is in front (n,), -1 for none."""
    quality = np.clip(rng.beta(*scenario.quality, len(rows)), 0.01, 1.0)
    other = rng.integers(0, len(people), len(rows))
    seen_by = view[rows.camera]
    front = people.first[other, seen_by]
    mixed = rng.random(len(rows)) < scenario.mixed_share
    mixed &= (vector >= 0) & (people.count[other, seen_by] > 0) & (other != rows.person)
    quality = np.where(mixed | rows.duplicate, 0.5 * quality, quality)
    return np.where(vector >= 0, quality, 0.0), np.where(mixed, front, -1)


def _with_ends(scenario: Scenario, rows: TrackerRows, when: Doubles) -> tuple[TrackerRows, Ints, Doubles]:
    """Add a row for each track's end; also return `ends` and the times of all rows."""
    latest = np.lexsort((when, rows.track))
    final = latest[np.flatnonzero(np.diff(rows.track[latest], append=-1))]
    ended = rows.keep(final)
    both = TrackerRows(
        *(
            np.concatenate([getattr(rows, name), getattr(ended, name)])
            for name in ("person", "camera", "frame", "visit", "track", "box", "duplicate")
        )
    )
    ends = np.concatenate([np.zeros(len(rows), dtype=np.int64), ended.track + 1])
    return both, ends, np.concatenate([when, when[final] + scenario.lost_s])


def _arrivals(scenario: Scenario, rows: TrackerRows, at: Doubles, rng: np.random.Generator) -> Doubles:
    """Return when each row arrives (n,), seconds since the world began: late where its camera was held up."""
    arrives = at + scenario.latency_s
    lasts = float(at.max(initial=0.0))
    for camera in range(scenario.cameras):
        count = rng.poisson(scenario.stalls_per_hour * lasts / 3600)
        begins, holds = np.sort(rng.uniform(0, lasts, count)), rng.exponential(scenario.stall_s, count)
        here = np.flatnonzero(rows.camera == camera)
        for begin, hold in zip(begins, holds, strict=True):
            late = here[(at[here] >= begin) & (at[here] < begin + hold)]
            arrives[late] = np.maximum(arrives[late], begin + hold)
    return arrives


def _counted(camera: Ints, cameras: int) -> Ints:
    """Return each row's number among those of its camera (n,)."""
    sequence = np.zeros(len(camera), dtype=np.int64)
    for number in range(cameras):
        here: Bools = camera == number
        sequence[here] = np.arange(here.sum())
    return sequence
