"""State of a camera's people between two detections: predicted boxes and their uncertainty (pure).

Letters: n tracks, m boxes without one.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from reid_stream import boxes as box_maths
from reid_stream.records import CameraId, Detections, Floats, Ints, Tracks

Doubles = npt.NDArray[np.float64]

_EASE = np.float32(0.5)
"""Weight of the newest step in a track's velocity and uncertainty."""
_MOST_GAP_S = 1.0
"""Time, seconds, for which a lost person is assumed to keep walking."""
_LEAST_SCORE = 0.3
"""Least score of a box without a track to be kept; weaker ones come and go."""


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """The open tracks of one camera after a detection."""

    seen_at: float
    """Capture time of the last frame in which people were detected, UTC seconds."""
    ids: Ints
    """(n,) track numbers."""
    boxes: Floats
    """(n, 4) where each was seen last, in pixels."""
    scores: Floats
    """(n,) scores of those boxes."""
    velocities: Floats
    """(n, 4) velocities of the boxes' edges, pixels per second."""
    doubts: Floats
    """(n,) distance per second between where each was seen and expected, in heights; infinite before a second look."""
    last_at: Doubles
    """(n,) when each was seen last, UTC seconds."""
    others: Floats
    """(m, 4) boxes of the last detection that no track has."""
    unconfirmed: int = 0
    """Boxes of the last detection that become tracks if the next one finds them again."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def wants_look(self) -> bool:
        """Whether the next image is to be detected although nothing moves in it."""
        return len(self.ids) + self.unconfirmed > 0

    def expected(self, now: float) -> Floats:
        """Return where each should be at `now` (n, 4), at constant velocity."""
        gaps_s = np.clip(now - self.last_at, 0.0, _MOST_GAP_S).astype(np.float32)
        return np.asarray(self.boxes + self.velocities * gaps_s[:, None], dtype=np.float32)

    @property
    def is_seen(self) -> npt.NDArray[np.bool_]:
        """Which were seen at the last detection (n,); the others are lost for now."""
        return np.asarray(self.last_at >= self.seen_at, dtype=bool)

    def is_in_view(self, now: float) -> bool:
        """Whether any was seen at the last detection, and that was shortly before `now`."""
        return 0 < now - self.seen_at <= _MOST_GAP_S and bool(self.is_seen.any())

    def predicted(self, camera: CameraId, now: float, size: tuple[int, int]) -> Tracks:
        """Return those seen at the last detection where they should be at `now`, in a frame of `size`."""
        boxes = box_maths.clip(self.expected(now), size)
        kept = self.is_seen & ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(axis=1)
        return Tracks(camera, now, boxes[kept], self.scores[kept], self.ids[kept], 0, ())

    def after(self, tracks: Tracks, found: Detections) -> "Followed":
        """Return the state after the detection of `found` and the tracks that resulted."""
        is_open = ~np.isin(self.ids, [*tracks.ended, *tracks.ids.tolist()])
        lost = self._only(is_open)
        rows = {int(number): row for row, number in enumerate(self.ids)}
        count = len(tracks)
        velocities = np.zeros((count, 4), np.float32)
        doubts = np.full(count, np.inf, np.float32)
        for index, number in enumerate(tracks.ids):
            row = rows.get(int(number))
            gap_s = tracks.seen_at - self.last_at[row] if row is not None else 0.0
            if row is None or gap_s <= 0:
                continue
            step = (tracks.boxes[index] - self.boxes[row]) / np.float32(gap_s)
            is_first = not np.isfinite(self.doubts[row])
            velocities[index] = step if is_first else self.velocities[row] + _EASE * (step - self.velocities[row])
            height = max(1.0, float(tracks.boxes[index, 3] - tracks.boxes[index, 1]))
            doubt = np.float32(np.abs(step - self.velocities[row]).max() / height)
            doubts[index] = doubt if is_first else self.doubts[row] + _EASE * (doubt - self.doubts[row])
        return Followed(
            seen_at=tracks.seen_at,
            ids=np.concatenate([tracks.ids, lost.ids]),
            boxes=np.concatenate([tracks.boxes, lost.boxes]),
            scores=np.concatenate([tracks.scores, lost.scores]),
            velocities=np.concatenate([velocities, lost.velocities]),
            doubts=np.concatenate([doubts, lost.doubts]),
            last_at=np.concatenate([np.full(count, tracks.seen_at), lost.last_at]),
            others=_without_track(tracks, found),
            unconfirmed=tracks.unconfirmed,
        )

    def _only(self, rows: npt.NDArray[np.bool_]) -> "Followed":
        return replace(
            self,
            ids=self.ids[rows],
            boxes=self.boxes[rows],
            scores=self.scores[rows],
            velocities=self.velocities[rows],
            doubts=self.doubts[rows],
            last_at=self.last_at[rows],
        )


def _without_track(tracks: Tracks, found: Detections) -> Floats:
    """Return the boxes of `found` that are not among the tracks' (m, 4)."""
    known = {box.tobytes() for box in tracks.boxes}
    others = [box for box, score in zip(found.boxes, found.scores, strict=True) if score >= _LEAST_SCORE]
    kept = [box for box in others if box.tobytes() not in known]
    return np.asarray(kept, dtype=np.float32).reshape(-1, 4)


NO_TRACKS = Followed(
    seen_at=float("-inf"),
    ids=np.empty(0, np.int64),
    boxes=np.empty((0, 4), np.float32),
    scores=np.empty(0, np.float32),
    velocities=np.empty((0, 4), np.float32),
    doubts=np.empty(0, np.float32),
    last_at=np.empty(0, np.float64),
    others=np.empty((0, 4), np.float32),
)
"""State of a camera without tracks."""
