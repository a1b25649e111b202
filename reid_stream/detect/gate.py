"""Choose which parts of each frame the detector sees (pure).

    nothing moved within `HOLD_S`, no one is followed   the frame is skipped
    every `detect.full_every_s`, or motion is unknown  the whole image
    tracks that can be predicted (`detect.min_fps`)    the frame is skipped, its tracks are predicted
    otherwise                                          what moves and where people should be (`detect.packing`)

Who stands still keeps an open track. A full look finds a person who was there from the start or was lost while
standing still, and what the model of motion got wrong; until a second look confirms them, every frame is looked at.

Letters: n boxes.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from reid_stream import boxes as box_maths
from reid_stream.config.settings import Detect
from reid_stream.detect.followed import NO_TRACKS, Followed
from reid_stream.images import Unread
from reid_stream.records import CameraId, Floats, Frame

HOLD_S = 1.0
"""Time after the last motion, seconds, for which frames are detected: a person at the edge may not have a track yet."""
_PAD_SIDES, _PAD_ENDS, _PAD_PX = 0.5, 0.4, 32.0
"""A box's context, as shares of its height and at least so many pixels: what a person walks in two frames and what the
detector needs to see around one. With 0.3, 0.2 and 20 pixels, twice as many scores cross the tracker's thresholds."""
_MOTION_SIDES, _MOTION_ENDS, _MOTION_PX = 0.05, 0.1, 6.0
"""The same for a motion, which may be only a part of a person."""
_INSIDE = 0.9
"""Least share of a motion inside a tracked person's region for which it gets no region of its own."""
_MOST_DOUBT = 0.05
"""Largest expected error of a predicted box, in its heights, before the detector is called again."""
_EDGE = 0.15
"""Heights from the image's left or right border within which a track is about to end."""
_MOST_LOOKS = 8
_NOTHING = np.empty((0, 4), np.float32)
_EXPLAINED = 0.5
"""Least share of a motion on tracked people for it to be attributed to them."""
_CELL_PX = 16
"""Cell size of the grid on which motions are counted, pixels."""
_LOOKS = 2
"""Detections without a person after which a part is ignored."""
_WITHIN = 0.9
"""Share of a motion that must lie in such parts."""


Bools = npt.NDArray[np.bool_]


class MotionGate:
    """Gate for the frames of all cameras of a perception, in order of time."""

    def __init__(self, settings: Detect) -> None:
        self._settings = settings
        self._moving: dict[CameraId, tuple[float, Floats]] = {}
        """When and where something moved last."""
        self._nuisance: dict[CameraId, NuisanceMotion] = {}
        self._looks: dict[CameraId, deque[tuple[float, Floats]]] = {}
        """Time and motion of the detections whose result is not known yet."""
        self._looked_at: dict[CameraId, float] = {}
        self._full_at: dict[CameraId, float] = {}

    def __call__(self, frames: Sequence[Frame], followed: Mapping[CameraId, Followed]) -> list[Frame | None]:
        """Return of each frame what to detect people in: the frame, perhaps limited to regions, or None."""
        return [self._choose(frame, followed.get(frame.camera, NO_TRACKS)) for frame in frames]

    def forget(self, camera: CameraId) -> None:
        """Drop the state of a camera."""
        for state in (self._moving, self._nuisance, self._looks, self._looked_at, self._full_at):
            state.pop(camera, None)

    def _choose(self, frame: Frame, followed: Followed) -> Frame | None:
        camera, now = frame.camera, frame.captured_at
        if isinstance(frame.image, Unread):
            return None
        motion = self._without_nuisance(frame, followed)
        if motion is None or len(motion):
            self._moving[camera] = now, motion if motion is not None else _NOTHING
        moved_at, moving = self._moving.get(camera, (-np.inf, _NOTHING))
        since_full = now - self._full_at.get(camera, -np.inf)  # negative where the clock was put back
        is_full = frame.moving is None or not 0 <= since_full < self._settings.full_every_s
        if is_full:
            self._full_at[camera] = now
            return self._look(frame, None)
        if not followed.wants_look and now - moved_at > HOLD_S:
            return None
        if self._can_wait(frame, followed, motion if motion is not None else _NOTHING):
            return None
        return self._look(frame, self._regions(frame, followed, moving) if self._settings.packing == "auto" else None)

    def _without_nuisance(self, frame: Frame, followed: Followed) -> Floats | None:
        """Return the motions without those that showed no people so far; None where everything may move."""
        if frame.moving is None:
            return None
        nuisance = self._nuisance.get(frame.camera)
        if nuisance is None or nuisance.size != frame.size:
            nuisance = self._nuisance[frame.camera] = NuisanceMotion(frame.size, self._settings.full_every_s)
        looks = self._looks.get(frame.camera, deque())
        while looks and looks[0][0] <= followed.seen_at:
            at, moving = looks.popleft()
            if at == followed.seen_at:
                nuisance.learn(at, moving, np.concatenate([followed.boxes, followed.others]))
        return np.asarray(frame.moving[~nuisance.holds(frame.moving, frame.captured_at)], dtype=np.float32)

    def _look(self, frame: Frame, regions: Floats | None) -> Frame:
        self._looked_at[frame.camera] = frame.captured_at
        looks = self._looks.setdefault(frame.camera, deque(maxlen=_MOST_LOOKS))
        looks.append((frame.captured_at, frame.moving if frame.moving is not None else _NOTHING))
        return frame if regions is None or not len(regions) else replace(frame, regions=regions)

    def _can_wait(self, frame: Frame, followed: Followed, moving: Floats) -> bool:
        """Whether all people in view can be predicted, so that the frame can be skipped."""
        least_fps = self._settings.min_fps
        if least_fps is None or not len(followed) or len(followed.others) or not followed.is_seen.all():
            return False
        passed_s = frame.captured_at - self._looked_at.get(frame.camera, -np.inf)
        # Half a millisecond for times that were rounded.
        if not 0 <= passed_s < 1.0 / least_fps - 5e-4:
            return False
        gap_s = frame.captured_at - followed.seen_at
        if not (followed.doubts * gap_s <= _MOST_DOUBT).all():
            return False
        boxes = followed.expected(frame.captured_at)
        height = boxes[:, 3:] - boxes[:, 1:2]
        if (np.concatenate([boxes[:, :1], frame.size[0] - boxes[:, 2:3]], axis=1) < _EDGE * height).any():
            return False
        near = widened(boxes, 0.1, 0.05, 0.0)
        if np.triu(box_maths.intersection(near, near), k=1).any():
            return False
        explained = box_maths.intersection(moving, widened(boxes, 0.25, 0.1, 0.0)).sum(axis=1)
        return bool((explained >= _EXPLAINED * box_maths.area(moving)).all())

    def _regions(self, frame: Frame, followed: Followed, moving: Floats) -> Floats:
        """Return what moves, where tracked people should be, and other boxes of the last detection (n, 4)."""
        lost = followed.boxes[~followed.is_seen]
        boxes = np.concatenate([followed.expected(frame.captured_at), lost, followed.others])
        people = widened(boxes, _PAD_SIDES, _PAD_ENDS, _PAD_PX)
        if len(people):
            inside = box_maths.intersection(moving, people).max(axis=1) >= _INSIDE * box_maths.area(moving)
            moving = moving[~inside]
        return np.concatenate([people, widened(moving, _MOTION_SIDES, _MOTION_ENDS, _MOTION_PX)])


def widened(boxes: Floats, sides: float, ends: float, least_px: float) -> Floats:
    """Return boxes (n, 4) widened by shares of their height, at least `least_px` pixels each way.

    Args:
        boxes: (n, 4).
        sides: share of the height to the left and right.
        ends: share of the height above and below.
        least_px: pixels.
    """
    height = boxes[:, 3] - boxes[:, 1]
    across = np.maximum(height * np.float32(sides), np.float32(least_px))
    along = np.maximum(height * np.float32(ends), np.float32(least_px))
    return np.asarray(boxes + np.stack([-across, -along, across, along], axis=1), dtype=np.float32)


class NuisanceMotion:
    """Parts of one camera's image whose motion showed no people: leaves, flags, screens, a place that was just left.

    A part where something moved in two detections that found no people is ignored until the next full look is due,
    unless the motion grows beyond it.
    """

    def __init__(self, size: tuple[int, int], lasts_s: float) -> None:
        """Keep parts of an image of `size` (width, height) in pixels for `lasts_s` seconds."""
        self.size = size
        self._lasts_s = lasts_s
        shape = -(-size[1] // _CELL_PX), -(-size[0] // _CELL_PX)
        self._looks = np.zeros(shape, np.uint8)
        self._until = np.full(shape, -np.inf)

    def learn(self, at: float, moving: Floats, people: Floats) -> None:
        """Learn a detection.

        Args:
            at: of its frame, UTC seconds.
            moving: (n, 4) what moved in it.
            people: (m, 4) all boxes that were found or are followed.
        """
        near = widened(people, 0.2, 0.2, float(_CELL_PX))
        shared = box_maths.intersection(moving, near).max(axis=1, initial=0)
        for box, area in zip(moving, shared, strict=True):
            cells = self._cells(box)
            if area > 0:
                self._looks[cells] = 0
            else:
                self._until[cells] = at + self._lasts_s
                self._looks[cells] += self._looks[cells] < _LOOKS
        for box in near:
            self._looks[self._cells(box)] = 0

    def holds(self, moving: Floats, now: float) -> Bools:
        """Return which motions (n,) lie in such parts."""
        ignored = (self._looks >= _LOOKS) & (self._until >= now) & (self._until <= now + self._lasts_s)
        if not ignored.any():
            return np.zeros(len(moving), dtype=bool)
        return np.array([ignored[self._cells(box)].mean() >= _WITHIN for box in moving], dtype=bool)

    def _cells(self, box: Floats) -> tuple[slice, slice]:
        x1, y1, x2, y2 = np.maximum(box, 0) / _CELL_PX
        return slice(int(y1), max(int(y1) + 1, int(np.ceil(y2)))), slice(int(x1), max(int(x1) + 1, int(np.ceil(x2))))
