"""Geometry of boxes (pure): overlap, clipping, occlusion, foot points.

Boxes are (n, 4) float32 `(x1, y1, x2, y2)` in pixels. Letters: n and m boxes.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


def area(boxes: Floats) -> Floats:
    """Return the areas (n,) in square pixels; 0 for a box with x2 < x1 or y2 < y1."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1], dtype=np.float32)


def intersection(first: Floats, second: Floats) -> Floats:
    """Return the areas (n, m) that boxes (n, 4) and (m, 4) share."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.maximum(high - low, 0)
    return np.asarray(sides[..., 0] * sides[..., 1], dtype=np.float32)


def iou(first: Floats, second: Floats) -> Floats:
    """Return intersection over union (n, m) of boxes (n, 4) and (m, 4), in [0, 1]; 0 where both are empty."""
    shared = intersection(first, second)
    union = area(first)[:, None] + area(second)[None, :] - shared
    return np.asarray(np.clip(shared / np.maximum(union, np.float32(1e-9)), 0, 1), dtype=np.float32)


def clip(boxes: Floats, size: tuple[int, int]) -> Floats:
    """Return boxes cut to a picture of `size` (width, height)."""
    limits = np.array([*size, *size], dtype=np.float32)
    return np.clip(boxes, np.float32(0), limits)


def covered(boxes: Floats) -> Floats:
    """Return for each box which share of it (n,), in [0, 1], one other box in front of it covers at most.

    The person lower in the picture is in front: seen from above eye level, a nearer person's feet are lower.
    """
    if len(boxes) < 2:
        return np.zeros(len(boxes), dtype=np.float32)
    shared = intersection(boxes, boxes)
    is_in_front = boxes[None, :, 3] > boxes[:, None, 3]
    share = np.where(is_in_front, shared, 0).max(axis=1) / np.maximum(area(boxes), np.float32(1e-9))
    return np.asarray(np.clip(share, 0, 1), dtype=np.float32)


def feet(boxes: Floats) -> Floats:
    """Return the middle of each box's lower edge (n, 2)."""
    return np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], axis=1).astype(np.float32)


def inside(points: Floats, polygon: Sequence[tuple[float, float]]) -> Bools:
    """Return which points (n, 2) lie in a polygon or on its edge; both in the same unit."""
    outline = np.asarray(polygon, dtype=np.float32)[:, None, :]
    return np.array([cv2.pointPolygonTest(outline, (float(x), float(y)), False) >= 0 for x, y in points], dtype=bool)
