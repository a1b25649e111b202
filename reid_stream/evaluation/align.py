"""Align ground truth and prediction by camera and frame, with their overlaps (pure).

    {camera: Boxes} true, {camera: Boxes} predicted -> Alignment -> score (HOTA, IDF1), matched (pairs of boxes)

A time step is one frame of one camera. All data are flat arrays sorted by time step, so that the cost is a few array
operations per set, not per frame.

Letters: n true boxes, m predicted boxes, t time steps, p pairs of a true and a predicted box of one time step.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MATCH_IOU = 0.5
"""Least intersection over union of a match, as in CLEAR (Bernardin & Stiefelhagen, 2008) and IDF1 (Ristani et al.,
"Performance measures and a data set for multi-target, multi-camera tracking", 2016)."""


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Boxes of people on one camera, over time."""

    frames: Ints
    """(n,) frame numbers."""
    people: tuple[Hashable, ...]
    """(n,) person numbers or global IDs, shared by all cameras."""
    boxes: Doubles
    """(n, 4) x1, y1, x2, y2 in pixels."""
    ignored_frames: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    """(m,) frame numbers of the ignored boxes of a truth."""
    ignored: Doubles = field(default_factory=lambda: np.empty((0, 4)))
    """(m, 4) boxes that count neither as found nor as false: flag 0 or another class in MOT text."""

    def __post_init__(self) -> None:
        if not len(self.frames) == len(self.people) == len(self.boxes) or self.boxes.shape[1:] != (4,):
            raise ValueError(
                f"frames, people, boxes must be (n,), (n,), (n, 4), got {len(self.frames)}, {len(self.people)},"
                f" {self.boxes.shape}"
            )
        if len(self.ignored_frames) != len(self.ignored) or self.ignored.shape[1:] != (4,):
            raise ValueError(
                f"ignored_frames, ignored must be (m,), (m, 4), got {len(self.ignored_frames)}, {self.ignored.shape}"
            )

    def __len__(self) -> int:
        return len(self.frames)

    def only(self, frames: Ints) -> "Boxes":
        """Return the boxes in the given frames."""
        kept, ignored = np.isin(self.frames, frames), np.isin(self.ignored_frames, frames)
        return replace(self.at(kept), ignored_frames=self.ignored_frames[ignored], ignored=self.ignored[ignored])

    def at(self, kept: npt.NDArray[np.bool_]) -> "Boxes":
        """Return the boxes selected by a mask (n,), with all ignored boxes."""
        people = tuple(person for person, keep in zip(self.people, kept, strict=True) if keep)
        return replace(self, frames=self.frames[kept], people=people, boxes=self.boxes[kept])


@dataclass(frozen=True, slots=True, eq=False)
class AlignedBoxes:
    """True or predicted boxes of all cameras, sorted by camera, then frame."""

    cameras: Ints
    """(n,) rows of `Alignment.cameras`."""
    frames: Ints
    """(n,)."""
    people: Ints
    """(n,) rows of `names`."""
    boxes: Doubles
    """(n, 4)."""
    names: tuple[Hashable, ...]
    """All names, in order of first appearance."""
    starts: Ints
    """(t + 1,) the boxes of time step i are `starts[i]:starts[i + 1]`."""

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """Truth and prediction over the same time steps."""

    cameras: tuple[str, ...]
    steps: Ints
    """(t,) the camera of each time step: rows of `cameras`."""
    true: AlignedBoxes
    predicted: AlignedBoxes
    overlaps: Doubles
    """(p,) intersection over union of every pair within a time step, row by row of each step's table."""
    starts: Ints = field(repr=False)
    """(t + 1,) the table of time step i is `overlaps[starts[i]:starts[i + 1]]`, true boxes by predicted ones."""

    def table(self, step: int) -> Doubles:
        """Return the overlaps of one time step: true boxes by predicted ones."""
        predicted = int(self.predicted.starts[step + 1] - self.predicted.starts[step])
        return (
            self.overlaps[self.starts[step] : self.starts[step + 1]].reshape(-1, predicted)
            if predicted
            else np.empty((0, 0))
        )


def align(truth: Mapping[str, Boxes], predicted: Mapping[str, Boxes]) -> Alignment:
    """Align truth and prediction.

    Frames without truth are time steps as well. Cameras without a prediction have no predicted boxes. Predicted boxes
    that match ignored ones are left out first, see `without_ignored`.

    Raises:
        ValueError: a predicted camera has no truth, or a person appears twice in one frame of a camera.
    """
    unknown = sorted(set(predicted) - set(truth))
    if unknown:
        raise ValueError(f"every predicted camera must have truth, got {unknown} with truth for {sorted(truth)}")
    cameras = tuple(truth)
    predicted = {camera: without_ignored(truth[camera], boxes) for camera, boxes in predicted.items()}
    keys = [
        _key(n, boxes[camera].frames)
        for boxes in (truth, predicted)
        for n, camera in enumerate(cameras)
        if camera in boxes
    ]
    steps = np.unique(np.concatenate([np.empty(0, np.int64), *keys]))
    true, ours = _side(cameras, truth, steps), _side(cameras, predicted, steps)
    starts = np.concatenate([[0], np.cumsum(np.diff(true.starts) * np.diff(ours.starts))])
    rows, columns = _pairs(true.starts, ours.starts, starts)
    return Alignment(
        cameras=cameras,
        steps=steps >> _FRAME_BITS,
        true=true,
        predicted=ours,
        overlaps=_iou(true.boxes[rows], ours.boxes[columns]),
        starts=starts,
    )


def without_ignored(truth: Boxes, predicted: Boxes, least: float = MATCH_IOU) -> Boxes:
    """Return the predicted boxes of one camera without those that match ignored true boxes.

    Within each frame predicted boxes are paired one to one with counted and ignored true boxes, for the greatest sum of
    overlaps of at least `least`; of equal ones counted boxes come first. Those paired with an ignored box are dropped.

    Source: the MOTChallenge protocol (Milan et al., "MOT16", arXiv 1603.00831, section 4.1), as in TrackEval.
    """
    kept = np.ones(len(predicted), dtype=bool)
    ignored_rows = rows_by_frame(truth.ignored_frames)
    counted_rows, predicted_rows = (rows_by_frame(boxes.frames) if ignored_rows else {} for boxes in (truth, predicted))
    for frame in ignored_rows.keys() & predicted_rows.keys():
        rows = predicted_rows[frame]
        counted = truth.boxes[counted_rows.get(frame, _NO_ROWS)]
        every = np.concatenate([counted, truth.ignored[ignored_rows[frame]]])
        pairs = np.repeat(every, len(rows), axis=0), np.tile(predicted.boxes[rows], (len(every), 1))
        table = _iou(*pairs).reshape(len(every), len(rows))
        table[table < least] = 0
        worth = table.copy()
        worth[: len(counted)][table[: len(counted)] > 0] += 1e-6
        first, second = linear_sum_assignment(worth, maximize=True)
        kept[rows[second[(first >= len(counted)) & (table[first, second] > 0)]]] = False
    return predicted if kept.all() else predicted.at(kept)


def rows_by_frame(frames: Ints) -> dict[int, Ints]:
    """Return the rows (k,) of each frame number in `frames` (n,)."""
    if not len(frames):
        return {}
    order = np.argsort(frames, kind="stable")
    numbers, starts = np.unique(frames[order], return_index=True)
    return dict(zip(numbers.tolist(), np.split(order, starts[1:]), strict=True))


def matched(aligned: Alignment, least: float = MATCH_IOU) -> tuple[Ints, Ints]:
    """Pair boxes one to one within each time step, for the greatest sum of overlaps of at least `least`.

    Returns:
        Rows of the true side and rows of the predicted side, (m,) each, in order of time steps.
    """
    near = np.flatnonzero(aligned.overlaps >= least)
    rows, columns = _pairs(aligned.true.starts, aligned.predicted.starts, aligned.starts, near)
    # Nearly all pairs are alone in their row and column; only overlapping people need an assignment.
    is_alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1) if len(near) else near > 0
    found_rows, found_columns = [rows[is_alone]], [columns[is_alone]]
    crowded = near[~is_alone]
    for step in np.unique(np.searchsorted(aligned.starts, crowded, side="right") - 1):
        table = aligned.table(int(step))
        a, b = linear_sum_assignment(np.where(table >= least, table, 0), maximize=True)
        good = table[a, b] >= least
        found_rows.append(a[good] + aligned.true.starts[step])
        found_columns.append(b[good] + aligned.predicted.starts[step])
    # A pair that is alone in a crowded step is found twice.
    pairs = np.unique(np.stack([np.concatenate(found_rows), np.concatenate(found_columns)], axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]


_NO_ROWS = np.empty(0, np.int64)
_FRAME_BITS = 40
"""Bits of the frame number in the key of a time step; the camera number is above them."""


def _key(camera: int, frames: Ints) -> Ints:
    return np.asarray((camera << _FRAME_BITS) + frames.astype(np.int64), dtype=np.int64)


def _side(cameras: tuple[str, ...], boxes: Mapping[str, Boxes], steps: Ints) -> AlignedBoxes:
    here = [(n, boxes[camera]) for n, camera in enumerate(cameras) if camera in boxes]
    numbers: dict[Hashable, int] = {}
    people = np.asarray(
        [numbers.setdefault(person, len(numbers)) for _, each in here for person in each.people], dtype=np.int64
    )
    keys = np.concatenate([np.empty(0, np.int64), *(_key(n, each.frames) for n, each in here)])
    corners = np.concatenate([np.empty((0, 4)), *(each.boxes for _, each in here)])
    order = np.argsort(keys, kind="stable")
    keys, people, corners = keys[order], people[order], corners[order]
    twice = np.lexsort((people, keys))
    same = np.flatnonzero((np.diff(keys[twice]) == 0) & (np.diff(people[twice]) == 0))
    if len(same):
        row = twice[same[0]]
        camera, frame = cameras[keys[row] >> _FRAME_BITS], keys[row] & ((1 << _FRAME_BITS) - 1)
        person = list(numbers)[people[row]]
        raise ValueError(f"a person must be in a frame once, got {person!r} twice (camera {camera}, frame {frame})")
    return AlignedBoxes(
        cameras=keys >> _FRAME_BITS,
        frames=keys & ((1 << _FRAME_BITS) - 1),
        people=people,
        boxes=corners,
        names=tuple(numbers),
        starts=np.concatenate([np.searchsorted(keys, steps), [len(keys)]]).astype(np.int64),
    )


def _pairs(true: Ints, predicted: Ints, starts: Ints, at: Ints | None = None) -> tuple[Ints, Ints]:
    """Return the rows of both sides for each pair of the flat tables, or for the pairs at the indices `at`."""
    at = np.arange(starts[-1]) if at is None else at
    step = np.searchsorted(starts, at, side="right") - 1
    width = (predicted[1:] - predicted[:-1])[step]
    inner = at - starts[step]
    return true[step] + inner // width, predicted[step] + inner % width


def _iou(a: Doubles, b: Doubles) -> Doubles:
    """Return the intersection over union (p,) of boxes (p, 4) and boxes (p, 4), pair by pair."""
    sides = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None)
    inner = sides[:, 0] * sides[:, 1]
    union = np.prod(a[:, 2:] - a[:, :2], axis=1) + np.prod(b[:, 2:] - b[:, :2], axis=1) - inner
    return np.asarray(np.divide(inner, union, out=np.zeros_like(inner), where=union > 0), dtype=np.float64)
