"""Select the tracked people who need a new vector (pure).

A vector is costly and a track changes slowly, so: a new track at once, then after an interval, or earlier when the
person is seen clearly better than ever before; and never a crop that would give another person's vector, or none.
By `choose: gain`, a crop is taken where it may show something new instead of by the interval alone.
Where frames come with larger images now and then (`detect_url`), people are cut out of those.
"""

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from reid_stream import boxes as box_maths
from reid_stream.config.settings import Embed
from reid_stream.embed.detail import boxes_in
from reid_stream.images import Picture
from reid_stream.records import CameraId, Floats, Frame, Pick, TrackId, Tracks

# Re-ID networks see 256 pixels in height; at half of that, a crop has lost what counts (fabric, straps, logos).
_FULL_HEIGHT_PX = 128.0
# Height over width of a standing or walking person; beyond, a box holds half a person or two.
_ASPECT = (1.5, 4.0)
_WAITS = 3.0
"""Intervals for which a known track waits for the next larger image, where its camera gives some."""

_EARLY, _EARLY_CROPS = 0.4, 3
"""By gain, so many crops at first, and intervals between them: the matcher confirms a new person by three vectors."""
_NEW = 0.5
"""By gain, least intervals between two crops because of a new pose or size."""
_SIZE = 1.4
"""By gain, ratio of heights that is another size."""
_OLD = 2.0
"""By gain, intervals after which a crop is taken anyway."""

_WINDOW_S = 0.6
"""Time over which movement is measured, seconds."""
_ACROSS = 0.25
"""Heights per second to the left or right, from which a person is seen from the side."""
_ALONG = 0.08
"""Growth per second, natural logarithm, from which a person comes or goes."""

Pose = tuple[int, int]
"""To the left, neither or to the right (-1, 0, 1); away, neither or towards (-1, 0, 1)."""


@dataclass(slots=True)
class PoseHistory:
    """Newest boxes of one track: which side a person shows is where they walk to, across the image and towards it."""

    _steps: deque[tuple[float, float, float]] = field(default_factory=deque)
    """Time, UTC seconds; middle, in heights; height, pixels."""

    def add(self, at: float, box: Floats) -> Pose:
        """Add a box (4,) of time `at` and return the pose that it shows."""
        height = max(1.0, float(box[3] - box[1]))
        self._steps.append((at, float(box[0] + box[2]) / 2 / height, height))
        while at - self._steps[0][0] > _WINDOW_S:
            self._steps.popleft()
        first_at, first_x, first_height = self._steps[0]
        passed_s = at - first_at
        if passed_s <= 0:
            return 0, 0
        across = (self._steps[-1][1] - first_x) / passed_s
        along = math.log(height / first_height) / passed_s
        return _sign(across, _ACROSS), _sign(along, _ALONG)


@dataclass(slots=True)
class _Memory:
    """Embeddings of a track so far."""

    at: float
    quality: float
    height: float
    """Of the last one, pixels of the frame."""
    count: int
    poses: set[Pose]
    """That were embedded."""


@dataclass(slots=True)
class Selector:
    """Choose the tracks of each frame to embed; remembers each living track."""

    settings: Embed
    _memory: dict[CameraId, dict[TrackId, _Memory]] = field(default_factory=dict)
    _poses: dict[CameraId, dict[TrackId, PoseHistory]] = field(default_factory=dict)
    """By `choose: gain`."""
    _before: dict[CameraId, Tracks] = field(default_factory=dict)
    """Tracks of each camera's last frame with people."""
    _detail_at: dict[CameraId, float] = field(default_factory=dict)
    """Time of each camera's last larger image, UTC seconds."""

    def __call__(self, frame: Frame, tracks: Tracks) -> list[Pick]:
        """Return the picks of one frame, best first; frames of a camera come in order."""
        known = self._memory.setdefault(frame.camera, {})
        histories = self._poses.setdefault(frame.camera, {})
        for track in tracks.ended:
            known.pop(track, None)
            histories.pop(track, None)
        if not len(tracks):
            return []
        boxes, is_large = self._places(frame, tracks)
        covered = box_maths.covered(tracks.boxes)
        qualities = quality(boxes, tracks.scores, covered)
        fits = self._fits(tracks, boxes, covered, frame.size)
        since_detail_s = tracks.seen_at - self._detail_at.get(frame.camera, float("-inf"))
        may_wait = since_detail_s < _WAITS * self.settings.interval_s
        picks = []
        for index in np.argsort(-qualities, kind="stable"):
            track, worth = TrackId(int(tracks.ids[index])), float(qualities[index])
            waits_s = (_WAITS if may_wait and not is_large[index] else 1.0) * self.settings.interval_s
            box, memory, pose = tracks.boxes[index], known.get(track), (0, 0)
            if self.settings.choose == "gain":
                pose = histories.setdefault(track, PoseHistory()).add(tracks.seen_at, box)
                waits_s = _wait_for_gain(memory, pose, float(box[3] - box[1])) * waits_s
            if not fits[index] or not self._is_due(memory, worth, tracks.seen_at, waits_s):
                continue
            known[track] = _Memory(
                at=tracks.seen_at,
                quality=worth if memory is None else max(worth, memory.quality),
                height=float(box[3] - box[1]),
                count=1 if memory is None else memory.count + 1,
                poses={pose} if memory is None else memory.poses | {pose},
            )
            image = frame.detail.image if frame.detail is not None and is_large[index] else frame.image
            picks.append(Pick(index=int(index), quality=round(worth, 4), crop=cut(image, boxes[index])))
        return picks

    def forget(self, camera: CameraId) -> None:
        """Drop the state of a camera."""
        for state in (self._memory, self._poses, self._before, self._detail_at):
            state.pop(camera, None)

    def _places(self, frame: Frame, tracks: Tracks) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Return the boxes (n, 4) to cut out, and which of them are in the larger image (n,)."""
        before = self._before.get(frame.camera)
        self._before[frame.camera] = tracks
        if frame.detail is None:
            return tracks.boxes, np.zeros(len(tracks), dtype=bool)
        self._detail_at[frame.camera] = tracks.seen_at
        found = boxes_in(frame.detail, tracks, before, frame.size)
        is_large = np.asarray(np.isfinite(found).all(axis=1), dtype=bool)
        return np.where(is_large[:, None], found, tracks.boxes), is_large

    def _is_due(self, memory: _Memory | None, worth: float, now: float, wait_s: float) -> bool:
        if memory is None:
            return True
        return now - memory.at >= wait_s or worth >= memory.quality + self.settings.better_by

    def _fits(self, tracks: Tracks, cut_out: Floats, covered: Floats, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """Return which boxes are not tiny, weak, cut off at a side or the top, or hidden."""
        settings, boxes = self.settings, tracks.boxes
        sides = cut_out[:, 2:] - cut_out[:, :2]
        fits = (sides[:, 0] >= settings.min_width_px) & (sides[:, 1] >= settings.min_height_px)
        fits &= (tracks.scores >= settings.min_score) & (covered <= settings.max_overlap)
        fits &= (boxes[:, 0] > settings.edge_px) & (boxes[:, 1] > settings.edge_px)
        return np.asarray(fits & (boxes[:, 2] < size[0] - settings.edge_px), dtype=bool)


def _wait_for_gain(memory: _Memory | None, pose: Pose, height: float) -> float:
    """Return how many intervals after the last crop the next one is due."""
    if memory is None:
        return 0.0
    if memory.count < _EARLY_CROPS:
        return _EARLY
    ratio = max(1.0, height) / max(1.0, memory.height)
    return _NEW if pose not in memory.poses or max(ratio, 1 / ratio) > _SIZE else _OLD


def quality(boxes: Floats, scores: Floats, covered: Floats) -> Floats:
    """Return how much each crop can be trusted (n,), in [0, 1].

    The product of the detector's score, the height over 128 px (at most 1), the share that no one in front covers, and
    the aspect: 1 for a height of 1.5 to 4 widths, falling in proportion outside.

    Args:
        boxes: (n, 4) in pixels.
        scores: (n,) in [0, 1].
        covered: (n,) of `boxes.covered`.
    """
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], np.float32(1e-6))
    aspect = sides[:, 1] / sides[:, 0]
    upright = np.minimum(1, np.minimum(aspect / _ASPECT[0], _ASPECT[1] / aspect))
    size = np.minimum(1, sides[:, 1] / _FULL_HEIGHT_PX)
    return np.asarray(np.clip(scores * size * (1 - covered) * upright, 0, 1), dtype=np.float32)


def _sign(value: float, least: float) -> int:
    return 0 if abs(value) < least else 1 if value > 0 else -1


def cut(image: Picture, box: Floats) -> Picture:
    """Return the image within a box (x1, y1, x2, y2), whole pixels, cut to the image, at least 1x1.

    In main memory a copy, since a crop outlives its frame: a view would hold 6 MB of a 1080p image for 30 kB of
    person. On a device it stays a part of the image until it is embedded.
    """
    height, width = image.shape[:2]
    left, top = (min(max(math.floor(box[axis]), 0), side - 1) for axis, side in ((0, width), (1, height)))
    right = min(max(math.ceil(box[2]), left + 1), width)
    bottom = min(max(math.ceil(box[3]), top + 1), height)
    if isinstance(image, np.ndarray):
        return image[top:bottom, left:right].copy()
    return image.cut(left, top, right, bottom)
