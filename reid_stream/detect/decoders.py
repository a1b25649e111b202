"""Decode detector outputs to boxes of persons, in the network's pixels (pure).

    yolo         (4 + classes, n)  centre, size, class scores         YOLOv8, YOLO11; needs suppression
    yolo_end2end (n, 6)            corners, score, class              YOLO26, YOLOv10; suppressed by the network
    yolox        (n, 5 + classes)  per grid cell, objectness, classes YOLOX; needs suppression

Letters: n candidates, k persons kept.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, cast

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Decoder = Literal["yolo", "yolo_end2end", "yolox"]
Found = tuple[Floats, Floats]
"""Corner boxes (k, 4) and scores (k,)."""

# Ge et al., "YOLOX", 2021: one anchor per cell of three grids; the exports leave the grid to the reader.
_YOLOX_STRIDES = (8, 16, 32)
MAX_CANDIDATES = 1000
"""Most persons per image; bounds the quadratic cost of suppression, and a denser crowd cannot be tracked anyway."""


def decode(decoder: Decoder, output: Floats, person: int, score: float, size: tuple[int, int]) -> Found:
    """Return the persons of one image, before suppression.

    Args:
        decoder: the network's family.
        output: (rows, columns) of one image.
        person: index of the class.
        score: weaker ones are dropped.
        size: (width, height) of the network's input in pixels; YOLOX's grid follows from it.
    """
    return _DECODERS[decoder](output, person, score, size)


def fits(decoder: Decoder, shape: tuple[int | None, ...], classes: int) -> bool:
    """Return whether a network's output (b, rows, columns) can be of this family; unknown sizes (None) can."""
    if len(shape) != 3:
        return False
    _, rows, columns = shape
    if decoder == "yolo":
        return rows in (None, 4 + classes)
    return columns in (None, 6 if decoder == "yolo_end2end" else 5 + classes)


def suppress(found: Found, iou: float) -> Found:
    """Keep the best of boxes that overlap more than `iou`, best first (OpenCV's NMS)."""
    boxes, scores = found
    if len(scores) > MAX_CANDIDATES:
        best = np.argpartition(-scores, MAX_CANDIDATES)[:MAX_CANDIDATES]
        boxes, scores = boxes[best], scores[best]
    if len(scores) > 1:
        corners_and_sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        picked = cv2.dnn.NMSBoxes(cast(Any, corners_and_sizes), cast(Any, scores), 0.0, iou)  # stubs accept lists only
        kept = np.asarray(picked, dtype=np.int64).reshape(-1)
        boxes, scores = boxes[kept], scores[kept]
    return boxes, scores


def _yolo(output: Floats, person: int, score: float, _size: tuple[int, int]) -> Found:
    kept = np.flatnonzero(output[4 + person] >= score)
    candidates = output[:, kept]
    scores = candidates[4 + person]
    is_person = scores >= candidates[4:].max(axis=0, initial=0)
    return _corners(candidates[:4, is_person].T), np.ascontiguousarray(scores[is_person])


def _yolo_end2end(output: Floats, person: int, score: float, _size: tuple[int, int]) -> Found:
    kept = output[(output[:, 4] >= score) & (output[:, 5].round() == person)]
    best_first = kept[np.argsort(-kept[:, 4], kind="stable")]
    return np.ascontiguousarray(best_first[:, :4]), np.ascontiguousarray(best_first[:, 4])


def _yolox(output: Floats, person: int, score: float, size: tuple[int, int]) -> Found:
    kept = np.flatnonzero(output[:, 4] * output[:, 5 + person] >= score)
    kept = kept[output[kept, 5 + person] >= output[kept, 5:].max(axis=1, initial=0)]
    candidates, cells = output[kept], yolox_cells(size)[kept]
    centres = (candidates[:, :2] + cells[:, :2]) * cells[:, 2:]
    sides = np.exp(candidates[:, 2:4]) * cells[:, 2:]
    return _corners(np.concatenate([centres, sides], axis=1)), candidates[:, 4] * candidates[:, 5 + person]


def _corners(centres: Floats) -> Floats:
    half = centres[:, 2:4] / 2
    return np.concatenate([centres[:, :2] - half, centres[:, :2] + half], axis=1).astype(np.float32)


@lru_cache(maxsize=32)
def yolox_cells(size: tuple[int, int]) -> Floats:
    """Return column, row and stride (n, 3) of every cell, in the order of the network's output."""
    rows = []
    for stride in _YOLOX_STRIDES:
        down, across = np.mgrid[: size[1] // stride, : size[0] // stride]
        rows.append(np.stack([across.ravel(), down.ravel(), np.full(across.size, stride)], axis=1))
    return np.concatenate(rows).astype(np.float32)


_DECODERS: dict[Decoder, Callable[[Floats, int, float, tuple[int, int]], Found]] = {
    "yolo": _yolo,
    "yolo_end2end": _yolo_end2end,
    "yolox": _yolox,
}
