"""Recognise tracks that were left behind on a weak box that does not move: a poster, a chair, a shadow (pure).

Where a person walks past such an object, the tracker can hand their track to it. ByteTrack continues a track by any
weak box near its prediction (section 3 of the paper), so the track would outlive the person for ever. On ADL-Rundle-6
and worlds/plaza, 39 of the 13,316 boxes of tracks stayed below 0.5 in place for half a second; none showed a person.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from reid_stream.boxes import iou
from reid_stream.records import Floats, Ints

STILL_S = 0.5
"""Time, seconds, for which a box must be weak and in place. After 0.3 s, 3 of the 65 boxes were a person's."""
_STILL_IOU = np.float32(0.7)
"""Least IoU with the box at the start of that time."""


@dataclass(frozen=True, slots=True)
class _Anchor:
    """Last box of a track that was strong or had moved."""

    box: Floats
    """(1, 4)."""
    at: float
    """UTC seconds."""


@dataclass(slots=True)
class StillLife:
    """Watch the tracks of one camera."""

    weak: float
    """Boxes below this score are weak."""
    ends_s: float
    """Time, seconds, after which a track on a still weak box ends."""
    _anchors: dict[int, _Anchor] = field(default_factory=dict)

    def update(self, seen_at: float, boxes: Floats, scores: Floats, tracks: Ints) -> tuple[Ints, list[int]]:
        """Take one frame; times increase.

        Args:
            seen_at: UTC seconds.
            boxes: (n, 4).
            scores: (n,).
            tracks: (n,) track of each box, -1 for none.

        Returns:
            The rows of boxes that show no person, and their tracks that have ended.
        """
        rows: list[int] = []
        over: list[int] = []
        for row in np.flatnonzero(tracks >= 0).tolist():
            track, box = int(tracks[row]), boxes[row : row + 1]
            anchor = self._anchors.get(track)
            if anchor is None or scores[row] >= self.weak or iou(box, anchor.box)[0, 0] < _STILL_IOU:
                self._anchors[track] = _Anchor(box, seen_at)
                continue
            still_s = seen_at - anchor.at
            if still_s >= STILL_S:
                rows.append(row)
            if still_s >= self.ends_s:
                over.append(track)
        return np.asarray(rows, dtype=np.int64), over

    def forget(self, tracks: Collection[int]) -> None:
        """Drop what is known of ended tracks."""
        for track in tracks:
            self._anchors.pop(track, None)
