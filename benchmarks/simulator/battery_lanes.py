"""Draw the swim lanes of a simulated world: true visits, with the identities published at once and in the end.

Where a world is silent for a minute or more (people who return the next morning), ten seconds of it are drawn.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.simulator.figures import boxes_named
from benchmarks.simulator.replay import ReplayResult
from benchmarks.simulator.world import BEGINS_AT, SimulatedWorld
from reid_stream.evaluation.align import Boxes, align
from reid_stream.evaluation.lanes import lanes
from reid_stream.evaluation.plots import draw_lanes
from reid_stream.evaluation.stream import Timeline
from reid_stream.evaluation.visits import visits
from reid_stream.records import Ints

_SILENCE_S, _DRAWN_S = 60.0, 10.0


def draw(world: SimulatedWorld, replayed: ReplayResult, rows: Ints, file: Path, title: str) -> None:
    """Draw some rows (n,) of a world to a PNG."""
    fps = world.scenario.fps
    when = np.unique(world.rows.frame[rows])

    def boxes(names: Ints) -> dict[str, Boxes]:
        found = boxes_named(world, names, rows)
        return {c: replace(b, frames=without_silence(b.frames, when, fps)) for c, b in found.items()}

    truth = boxes(world.rows.person)
    at_once, in_the_end = (align(truth, boxes(names)) for names in (replayed.at_once, replayed.in_the_end))
    found = visits(at_once, dict.fromkeys(at_once.cameras, fps))
    file.parent.mkdir(parents=True, exist_ok=True)
    times = {camera: Timeline(BEGINS_AT, fps) for camera in at_once.cameras}
    draw_lanes(lanes(times, at_once, in_the_end, found), file, title)


def without_silence(frames: Ints, when: Ints, fps: float) -> Ints:
    """Return frame numbers (n,) with every silence between `when` (m,), all frames with boxes, cut short."""
    gaps = np.diff(when, prepend=when[0])
    cut = np.where(gaps >= _SILENCE_S * fps, gaps - round(_DRAWN_S * fps), 0)
    return np.asarray(frames - np.cumsum(cut)[np.searchsorted(when, frames)], dtype=np.int64)
