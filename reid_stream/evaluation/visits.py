"""Split ground truth into visits: one person on one camera without a gap (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reid_stream.evaluation.align import Alignment, Ints

GAP_S = 3.0
"""Gap after which a person has left a camera: the default of `publish.left_after_s`, so that an ideal daemon publishes
one `entered` and one `left` per visit."""


@dataclass(frozen=True, slots=True, eq=False)
class Visits:
    """All visits, sorted by person, then camera, then time."""

    of: Ints
    """(n,) visit of each true box: row of the arrays below."""
    people: Ints
    """(v,) rows of `Alignment.true.names`."""
    cameras: Ints
    """(v,) rows of `Alignment.cameras`."""
    first: Ints
    """(v,) first frame."""
    last: Ints
    """(v,) last frame."""

    def __len__(self) -> int:
        return len(self.people)


def visits(aligned: Alignment, fps: Mapping[str, float], gap_s: float = GAP_S) -> Visits:
    """Split the true boxes into visits.

    Args:
        aligned: n true boxes.
        fps: frames per second of each camera's truth.
        gap_s: a longer gap in seconds ends a visit.
    """
    true = aligned.true
    order = np.lexsort((true.frames, true.cameras, true.people))
    people, cameras, frames = true.people[order], true.cameras[order], true.frames[order]
    most = np.asarray([gap_s * fps[camera] for camera in aligned.cameras])
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (np.diff(people) != 0) | (np.diff(cameras) != 0) | (np.diff(frames) > most[cameras[1:]])
    ends = np.append(begins[1:], True)[: len(order)]
    of = np.empty(len(order), dtype=np.int64)
    of[order] = np.cumsum(begins) - 1
    return Visits(of, people[begins], cameras[begins], frames[begins], frames[ends])
