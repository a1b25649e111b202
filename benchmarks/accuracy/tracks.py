"""Single-camera tracks of a recording as flat arrays, and their scores under given names (pure).

    Recording ─▶ TrackSet ─▶ names (n,) of its tracks ─▶ {camera: Boxes}
                                                     └▶ Links.idf1, for searches over many sets of names

Letters: n tracks, b boxes, v vectors, d dimensions, p people of the truth.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from reid_stream.evaluation.align import MATCH_IOU, Boxes, align, matched
from reid_stream.evaluation.recording import Recording
from reid_stream.match.tracklets import are_apart
from reid_stream.records import Floats, Ints, Observation, unpack_vector

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class TrackSet:
    """Perception's output for a set, by track."""

    cameras: tuple[str, ...]
    """(n,) of each track; tracks are in order of appearance."""
    of: Ints
    """(b,) track of each box; boxes are in order of time."""
    frames: Ints
    """(b,) frame of its camera, from 1."""
    boxes: Floats
    """(b, 4)."""
    scores: Floats
    """(b,) the detector's."""
    vectors: Floats
    """(v, d) unit vectors, in order of time."""
    vector_of: Ints
    """(v,) track of each vector."""
    is_apart: Flags
    """(n, n) whether two tracks were seen in one frame, so are two people."""

    def __len__(self) -> int:
        return len(self.cameras)

    def means(self, *, centred: bool = False) -> Floats:
        """Return each track's mean vector (n, d) at unit length; zero for a track without vectors.

        Args:
            centred: subtract each camera's mean from its vectors first.
        """
        vectors = self.vectors
        if centred:
            names = np.asarray(self.cameras)[self.vector_of]
            vectors = vectors.copy()
            for camera in np.unique(names):
                vectors[names == camera] -= vectors[names == camera].mean(axis=0)
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        sums = np.zeros((len(self), vectors.shape[1]), dtype=np.float32)
        np.add.at(sums, self.vector_of, vectors)
        return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9), dtype=np.float32)

    def named_boxes(self, names: Ints) -> dict[str, Boxes]:
        """Return the boxes under names (n,); of two boxes with one name in one frame the surer one stays."""
        rows = self.kept(names)
        camera = np.asarray(self.cameras)[self.of[rows]]
        return {
            str(where): Boxes(
                self.frames[rows[camera == where]],
                tuple(names[self.of[rows[camera == where]]].tolist()),
                self.boxes[rows[camera == where]].astype(np.float64),
            )
            for where in dict.fromkeys(self.cameras)
        }

    def kept(self, names: Ints) -> Ints:
        """Return the rows of the boxes that are left when a name is once in a frame."""
        _, camera = np.unique(np.asarray(self.cameras), return_inverse=True)
        name = names[self.of]
        order = np.lexsort((-self.scores, name, self.frames, camera[self.of]))
        key = np.stack([camera[self.of], self.frames, name])[:, order]
        first = np.concatenate([[True], np.any(np.diff(key, axis=1) != 0, axis=0)]) if len(order) else order > 0
        return np.sort(order[first])


def tracks_of(recording: Recording) -> TrackSet:
    """Collect the tracks of a recording."""
    numbers: dict[tuple[str, str, int], int] = {}
    of, frames, boxes, scores, vectors, vector_of = [], [], [], [], [], []
    apart: set[tuple[int, int]] = set()
    for batch in recording.batches:
        here: dict[str, list[tuple[int, Observation]]] = {}
        for seen in batch.records:
            if not isinstance(seen, Observation):
                continue
            track = numbers.setdefault((seen.camera, seen.run, seen.track), len(numbers))
            for other, beside in here.setdefault(seen.camera, []):
                if are_apart(seen.box, beside.box):
                    apart |= {(track, other), (other, track)}
            here[seen.camera].append((track, seen))
            of.append(track)
            frames.append(recording.cameras[seen.camera].frame(seen.seen_at))
            boxes.append(seen.box)
            scores.append(seen.score)
            if seen.vector is not None:
                vectors.append(unpack_vector(seen.vector))
                vector_of.append(track)
    is_apart = np.zeros((len(numbers), len(numbers)), dtype=np.bool_)
    for a, b in apart:
        is_apart[a, b] = True
    return TrackSet(
        cameras=tuple(camera for camera, _, _ in numbers),
        of=np.asarray(of, dtype=np.int64),
        frames=np.asarray(frames, dtype=np.int64),
        boxes=np.asarray(boxes, dtype=np.float32).reshape(-1, 4),
        scores=np.asarray(scores, dtype=np.float32),
        vectors=np.asarray(vectors, dtype=np.float32).reshape(-1, recording.dim),
        vector_of=np.asarray(vector_of, dtype=np.int64),
        is_apart=is_apart,
    )


class Links:
    """Tracks against the truth: the true person of each, and a fast IDF1 for any names of the tracks."""

    def __init__(self, tracks: TrackSet, truth: Mapping[str, Boxes]) -> None:
        self._tracks = tracks
        self._true_boxes = sum(len(boxes) for boxes in truth.values())
        names = np.arange(len(tracks))
        aligned = align(truth, tracks.named_boxes(names))
        self.people = aligned.true.names
        # Rows of `tracks` in the order of `aligned.predicted`: by camera as in the truth, then frame.
        place = {camera: n for n, camera in enumerate(aligned.cameras)}
        where = np.asarray([place[camera] for camera in tracks.cameras], dtype=np.int64)[tracks.of]
        rows = tracks.kept(names)
        rows = rows[np.lexsort((tracks.frames[rows], where[rows]))]
        steps = np.repeat(np.arange(len(aligned.steps)), np.diff(aligned.starts))
        inner = np.arange(aligned.starts[-1]) - aligned.starts[steps]
        width = np.diff(aligned.predicted.starts)[steps]
        near = np.flatnonzero(aligned.overlaps >= MATCH_IOU)
        self._person = aligned.true.people[(aligned.true.starts[:-1][steps] + inner // np.maximum(width, 1))[near]]
        self._box = rows[(aligned.predicted.starts[:-1][steps] + inner % np.maximum(width, 1))[near]]
        true_rows, published_rows = matched(aligned)
        self.counts = np.zeros((len(tracks), len(self.people)), dtype=np.int64)
        """(n, p) number of frames in which each track covers each person."""
        np.add.at(self.counts, (tracks.of[rows[published_rows]], aligned.true.people[true_rows]), 1)

    def idf1(self, names: Ints) -> float:
        """Return IDF1 of names (n,) over all cameras (Ristani et al., 2016); equal to that of `score`."""
        kept = np.zeros(len(self._tracks.of), dtype=np.bool_)
        kept[self._tracks.kept(names)] = True
        pairs = kept[self._box]
        _, compact = np.unique(names, return_inverse=True)
        table = np.zeros((int(compact.max(initial=0)) + 1, len(self.people)))
        np.add.at(table, (compact[self._tracks.of[self._box[pairs]]], self._person[pairs]), 1)
        rows, columns = linear_sum_assignment(table, maximize=True)
        return float(2 * table[rows, columns].sum() / max(1, self._true_boxes + int(kept.sum())))
