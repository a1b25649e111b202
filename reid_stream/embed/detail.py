"""Cut people out of a camera's main stream, where they were at its image's time (pure).

The image is a moment older than the frame that it comes with, so a person's box is interpolated between the frame
before and this one, then scaled by the sizes of both images, per axis, for streams of another aspect.
"""

import numpy as np

from reid_stream import boxes as box_maths
from reid_stream.images import Detail
from reid_stream.records import Floats, Tracks

_MOST_GAP_S = 1.0
"""Longest time between two frames to interpolate between."""
_SAME_S = 0.03
"""An image this close to its frame shows people in the same place: 4 cm at walking pace."""


def boxes_in(detail: Detail, tracks: Tracks, before: Tracks | None, size: tuple[int, int]) -> Floats:
    """Return where tracked people are in a larger image (n, 4), in its pixels; NaN for those whose place is unknown.

    Args:
        detail: the larger image.
        tracks: of the frame that it came with.
        before: of the frame before.
        size: (width, height) of the frames.
    """
    height, width = detail.image.shape[:2]
    scale = np.array([width / size[0], height / size[1]] * 2, np.float32)
    late_s = tracks.seen_at - detail.captured_at
    if abs(late_s) <= _SAME_S:
        return np.asarray(box_maths.clip(tracks.boxes * scale, (width, height)), dtype=np.float32)
    found = np.full((len(tracks), 4), np.nan, np.float32)
    if before is None or not 0 < (gap_s := tracks.seen_at - before.seen_at) <= _MOST_GAP_S:
        return found
    share = np.float32(late_s / gap_s)
    if not -0.5 <= share <= 1.5:  # further from both frames, steps are no longer straight
        return found
    rows = {int(number): row for row, number in enumerate(before.ids)}
    for index, number in enumerate(tracks.ids):
        if (row := rows.get(int(number))) is not None:
            found[index] = tracks.boxes[index] + share * (before.boxes[row] - tracks.boxes[index])
    return np.asarray(box_maths.clip(found * scale, (width, height)), dtype=np.float32)
