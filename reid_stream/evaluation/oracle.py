"""Perception stages that return the ground truth, to measure the loss of the real ones (pure).

TrueDetector: frames -> true boxes            replaces the detector
TrueTracker: boxes -> their true tracks       replaces the tracker, on true or detected boxes
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from reid_stream import boxes as box_maths
from reid_stream.evaluation.align import MATCH_IOU, Boxes, Ints, align
from reid_stream.evaluation.stream import Timeline
from reid_stream.evaluation.visits import visits
from reid_stream.records import CameraId, Detections, Floats, Frame, TrackId, Tracks


class TrueDetector:
    """Detector that returns the true boxes, clipped to the image, with a score of 1."""

    def __init__(self, scene: "Scene") -> None:
        self._scene = scene

    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return the true boxes of each frame."""
        found = []
        for frame in frames:
            boxes = box_maths.clip(self._scene.at(frame.camera, frame.captured_at)[0], frame.size)
            boxes = boxes[((boxes[:, 2:] - boxes[:, :2]) >= 1).all(axis=1)]
            found.append(Detections(boxes=boxes, scores=np.ones(len(boxes), dtype=np.float32)))
        return found


@dataclass(slots=True)
class TrueTracker:
    """Tracker that gives each box the track of the true person it covers; boxes that cover none are dropped.

    A track is a person on a camera without a gap of `lost_s`, as for the real tracker.
    """

    scene: "Scene"
    _open: dict[int, int] = field(default_factory=dict)
    """Open track -> its last frame."""

    def update(self, camera: CameraId, seen_at: float, detections: Detections) -> Tracks:
        """Return the boxes of one camera with true track numbers; called with rising times."""
        true, tracks, lasts, now = self.scene.at(camera, seen_at)
        table = box_maths.iou(true, detections.boxes)
        rows, columns = linear_sum_assignment(np.where(table >= MATCH_IOU, table, 0), maximize=True)
        good = table[rows, columns] >= MATCH_IOU
        rows, columns = rows[good], columns[good]
        self._open.update(zip(tracks.tolist(), lasts.tolist(), strict=True))
        ended = sorted(track for track, last in self._open.items() if last < now)
        for track in ended:
            del self._open[track]
        return Tracks(
            camera=camera,
            seen_at=seen_at,
            boxes=detections.boxes[columns],
            scores=detections.scores[columns],
            ids=tracks[rows],
            unassigned=len(detections) - len(columns),
            ended=tuple(TrackId(track) for track in ended),
        )


class Scene:
    """True boxes and tracks by camera and time."""

    def __init__(self, truth: Mapping[str, Boxes], cameras: Mapping[str, Timeline], lost_s: float = 2.0) -> None:
        self._cameras = cameras
        aligned = align(truth, {})
        true = aligned.true
        found = visits(aligned, {camera: line.fps for camera, line in cameras.items()}, lost_s)
        self._frames: dict[tuple[str, int], tuple[Floats, Ints, Ints]] = {}
        for step in range(len(aligned.steps)):
            here = slice(int(true.starts[step]), int(true.starts[step + 1]))
            key = (aligned.cameras[aligned.steps[step]], int(true.frames[here.start]))
            self._frames[key] = (true.boxes[here].astype(np.float32), found.of[here] + 1, found.last[found.of[here]])

    def at(self, camera: CameraId, seen_at: float) -> tuple[Floats, Ints, Ints, int]:
        """Return boxes (n, 4), tracks (n,), the last frame of each track (n,) and the number of the frame."""
        frame = self._cameras[camera].frame(seen_at)
        boxes, tracks, lasts = self._frames.get((camera, frame), _EMPTY)
        return boxes, tracks, lasts, frame


_EMPTY = (np.empty((0, 4), np.float32), np.empty(0, np.int64), np.empty(0, np.int64))
