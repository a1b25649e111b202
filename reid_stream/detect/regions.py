"""Parts of an image where people may be, as boxes that do not overlap (pure). Letters: n boxes."""

import numpy as np

from reid_stream.records import Floats


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
