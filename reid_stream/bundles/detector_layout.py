"""Find the layout of a detector's output from its shape, its classes and, if several match, an image (pure).

    yolo             (1, 4 + classes, n)  centre boxes in pixels, class scores              YOLOv8, YOLO11
    yolo_transposed  (1, n, 4 + classes)  the same, transposed
    yolov5           (1, n, 5 + classes)  centre boxes in pixels, objectness, class scores  YOLOv5, YOLOv7
    yolox            (1, n, 5 + classes)  as yolov5, boxes relative to a grid               YOLOX
    rtdetr           (1, n, 4 + classes)  centre boxes as shares of the input, class scores RT-DETR
    yolo_end2end     (1, n, 6)            corner boxes in pixels, score, class              YOLO26, exports with NMS

Letters: n boxes, h and w pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from reid_stream.errors import ModelError

Floats = npt.NDArray[np.float32]
Layout = Literal["yolo", "yolo_end2end", "yolox", "yolo_transposed", "yolov5", "rtdetr"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
_STRIDES = (8, 16, 32)
_ANCHORS = 3
"""Boxes of a cell in YOLOv5 (Jocher, 2020) and YOLOv7."""
_MOST_QUERIES = 1000
"""RT-DETR has 300 (Zhao et al., 2024); grids of usual inputs have more cells."""
_COCO_CLASSES = 80
_PLAIN_SCORE = 0.4
"""Least score of a clearly visible person."""
_SLACK = 0.1
"""Share of the image by which a valid box may extend beyond it."""
_LEAST_PX = 4.0
"""Least width of a valid box."""


@dataclass(frozen=True, slots=True)
class LayoutMatch:
    """A layout that matches a shape, and its number of classes; None where the shape leaves it open."""

    layout: Layout
    classes: int | None


def candidates(shape: tuple[int, ...], size: tuple[int, int], classes: int | None = None) -> list[LayoutMatch]:
    """Return the layouts that match an output.

    Args:
        shape: of the output for one image.
        size: (h, w) of the input in pixels.
        classes: number of classes, where it is known.
    """
    if len(shape) != 3 or shape[0] != 1:
        return []
    _, rows, columns = shape
    cells = sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in _STRIDES)
    found = []
    if columns > rows >= 5 and columns != 6:
        found.append(LayoutMatch("yolo", rows - 4))
    if rows > columns >= 5:
        if rows == _ANCHORS * cells:
            found += [LayoutMatch("yolov5", columns - 5)]
        elif rows == cells:
            found += [LayoutMatch("yolox", columns - 5), LayoutMatch("yolo_transposed", columns - 4)]
        elif rows <= _MOST_QUERIES:
            found += [LayoutMatch("rtdetr", columns - 4)]
        else:
            found += [LayoutMatch("yolov5", columns - 5), LayoutMatch("yolo_transposed", columns - 4)]
    if columns == 6 and (rows == cells or rows <= _MOST_QUERIES):
        found.append(LayoutMatch("yolo_end2end", None))
    found = [each for each in found if each.classes is None or each.classes >= 1]
    if classes is not None:
        return [each for each in found if each.classes in (None, classes)]
    # Without names, prefer one class or the eighty of COCO.
    return [each for each in found if each.classes in (None, 1, _COCO_CLASSES)] or found


def choose(found: Sequence[LayoutMatch], shape: tuple[int, ...], size: tuple[int, int]) -> LayoutMatch:
    """Return the only layout in `found`.

    Raises:
        ModelError: there is none, or there are several.
    """
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(f"{each.layout} ({_count(each.classes)})" for each in found)
        raise ModelError(
            f"the layout of a detector's output must be unambiguous, {shape} for one image of {size[0]} x {size[1]} "
            f"can be {several}; give --decoder, or --picture with an image that shows whole people"
        )
    raise ModelError(
        f"a detector must give (1, 4 + classes, n), (1, n, 4 + classes), (1, n, 5 + classes) or (1, n, 6) for one "
        f"image of {size[0]} x {size[1]}, got {shape}; export it without post-processing, give the input size with "
        "--height and --width, or the classes with --classes"
    )


def by_picture(
    found: Sequence[LayoutMatch], output: Floats, size: tuple[int, int], person: int = 0
) -> list[LayoutMatch]:
    """Return the layouts by which the output for an image of people decodes to the most person-like boxes.

    Args:
        found: layouts that match the shape.
        output: (rows, columns) for one letterboxed image that shows people.
        size: (h, w) of the input in pixels.
        person: index of the class person.
    """
    counts = {each: _people(each.layout, output, size, person) for each in found}
    most = max(counts.values(), default=0)
    return [each for each in found if most and counts[each] == most]


def _people(layout: Layout, output: Floats, size: tuple[int, int], person: int) -> int:
    """Count the boxes that may be people: scored like one, within the image, taller than wide."""
    boxes, scores = _decoded(layout, output, size, person)
    if not np.isfinite(output).all() or scores.size == 0 or scores.max() > 1.01 or scores.min() < -0.01:
        return 0
    height, width = size
    x1, y1, x2, y2 = boxes[scores >= _PLAIN_SCORE].T
    inside = (x1 > -_SLACK * width) & (y1 > -_SLACK * height)
    inside &= (x2 < (1 + _SLACK) * width) & (y2 < (1 + _SLACK) * height)
    tall = (x2 - x1 >= _LEAST_PX) & (y2 - y1 >= x2 - x1)
    right = int((inside & tall).sum())
    return right if 2 * right > len(x1) else 0  # most boxes of high score must look like people


def _decoded(layout: Layout, output: Floats, size: tuple[int, int], person: int) -> tuple[Floats, Floats]:
    rows = output.T if layout == "yolo" else output
    if layout == "yolo_end2end":
        of_class = rows[np.abs(rows[:, 5] - person) < 0.01]
        is_index = bool((np.abs(rows[:, 5] - rows[:, 5].round()) < 0.01).all())
        return (of_class[:, :4], of_class[:, 4]) if is_index else (rows[:0, :4], rows[:0, 4])
    centres = rows[:, :4].astype(np.float32)
    has_objectness = layout in ("yolov5", "yolox")
    scores = rows[:, 4] * rows[:, 5 + person] if has_objectness else rows[:, 4 + person]
    if layout == "yolox":
        grid = _grid(size)
        if len(grid) != len(rows):
            return centres[:0], scores[:0]
        centres = np.concatenate(
            [(centres[:, :2] + grid[:, :2]) * grid[:, 2:], np.exp(np.minimum(centres[:, 2:], 20.0)) * grid[:, 2:]], 1
        )
    if layout == "rtdetr":
        centres = centres * np.array([size[1], size[0]] * 2, np.float32)
    half = centres[:, 2:] / 2
    return np.concatenate([centres[:, :2] - half, centres[:, :2] + half], axis=1), scores


def _grid(size: tuple[int, int]) -> Floats:
    """Return column, row and stride (n, 3) of every cell of an input (h, w), as YOLOX orders them."""
    parts = []
    for stride in _STRIDES:
        down, across = np.mgrid[: size[0] // stride, : size[1] // stride]
        parts.append(np.stack([across.ravel(), down.ravel(), np.full(across.size, stride)], axis=1))
    return np.concatenate(parts).astype(np.float32)


def _count(classes: int | None) -> str:
    return "any number of classes" if classes is None else f"{classes} class{'es' if classes != 1 else ''}"
