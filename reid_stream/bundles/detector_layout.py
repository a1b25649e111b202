"""Find the layout of a detector's output from its shape, numbers, classes and, if several match, an image (pure).

    yolo             (1, 4 + classes, n)  centre boxes in pixels, class scores              YOLOv8, YOLO11
    yolo_transposed  (1, n, 4 + classes)  the same, transposed
    yolov5           (1, n, 5 + classes)  centre boxes in pixels, objectness, class scores  YOLOv5, YOLOv7
    yolox            (1, n, 5 + classes)  as yolov5, boxes relative to a grid               YOLOX
    rtdetr           (1, n, 4 + classes)  centre boxes as shares of the input, class scores RT-DETR
    yolo_end2end     (1, n, 6)            corner boxes in pixels, score, class              YOLO26, exports with NMS
    corners          (1, n, 4 + classes)  corner boxes, class scores                        YOLO-NAS, DAMO-YOLO, SSD

Boxes and scores may also be two outputs, (1, n, 4) and (1, n, classes), as in RF-DETR. Boxes of any layout but `yolox`
and `yolo_end2end` may be in pixels or shares of the input, scores probabilities or logits: the numbers show which.

Letters: n boxes, h and w pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from reid_stream.errors import ModelError

Floats = npt.NDArray[np.float32]
Layout = Literal["yolo", "yolo_end2end", "yolox", "yolo_transposed", "yolov5", "rtdetr", "corners"]
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
_MOST_SHARE = 2.0
"""Largest number in boxes that are shares of the input; in pixels, some box of a whole image is beyond."""
_MOST_LOG_SIDE = 12.0
"""Largest logarithm of a side in YOLOX's boxes; beyond, a box is wider than any image, and the number one of pixels."""
_MOST_OUTSIDE = 0.2
"""Share of the boxes of an image that may leave it."""


@dataclass(frozen=True, slots=True)
class LayoutMatch:
    """A layout that matches a shape, and its number of classes; None where the shape leaves it open."""

    layout: Layout
    classes: int | None
    is_relative: bool = False
    """Boxes are shares of the input."""
    has_logits: bool = False
    """Scores are logits."""

    @property
    def is_served(self) -> bool:
        """Whether a decoder takes it as it is; else the network is rewritten to `yolo`."""
        return self.layout in ("yolo", "yolox", "yolo_end2end") and not (self.is_relative or self.has_logits)

    @property
    def words(self) -> str:
        """Layout, unit of boxes and form of scores, for people."""
        unit = "boxes in shares of the input, " if self.is_relative else ""
        return f"{self.layout}: {unit}scores are {'logits (sigmoid)' if self.has_logits else 'probabilities'}"


def candidates(
    shape: tuple[int, ...], size: tuple[int, int], classes: int | None = None, *, is_joined: bool = False
) -> list[LayoutMatch]:
    """Return the layouts that match an output.

    Args:
        shape: of the output for one image.
        size: (h, w) of the input in pixels.
        classes: number of classes, where it is known.
        is_joined: the output was made of two, boxes and scores.
    """
    if len(shape) != 3 or shape[0] != 1:
        return []
    _, rows, columns = shape
    cells = sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in _STRIDES)
    found: list[LayoutMatch] = []
    if is_joined:
        ways: tuple[Layout, ...] = ("rtdetr", "corners", "yolo_transposed")
        found = [LayoutMatch(way, columns - 4) for way in ways]
        return [each for each in found if classes in (None, each.classes)]
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
    return [each for each in found if classes is None or each.classes in (None, classes)]


def usual(found: Sequence[LayoutMatch]) -> list[LayoutMatch]:
    """Return the layouts of one class or the eighty of COCO, else all: the choice where no names are known."""
    return [each for each in found if each.classes in (None, 1, _COCO_CLASSES)] or list(found)


def by_values(found: Sequence[LayoutMatch], output: Floats, size: tuple[int, int]) -> list[LayoutMatch]:
    """Return the layouts that the numbers of an output allow, with the unit of the boxes and the form of the scores.

    Args:
        found: layouts that match the shape.
        output: (rows, columns) for any image.
        size: (h, w) of the input in pixels.
    """
    refined = [made for each in found if (made := _by_values(each, output)) is not None]
    if {"corners", "rtdetr"} <= {each.layout for each in refined}:
        refined = [each for each in refined if each.layout != "yolo_transposed"]
    if len(refined) > 1 and any(each.layout == "corners" for each in refined):
        refined = [each for each in refined if _is_inside(each, output, size)]
    return refined


def _by_values(found: LayoutMatch, output: Floats) -> LayoutMatch | None:
    """Return a layout with what the numbers show; None where they contradict it."""
    rows = output.T if found.layout == "yolo" else output
    numbers = rows[:, 4:5] if found.layout == "yolo_end2end" else rows[:, 4:]
    has_logits = bool(numbers.max(initial=0.0) > 1.01 or numbers.min(initial=0.0) < -0.01)
    largest = float(np.abs(rows[:, :4]).max(initial=0.0))
    if found.layout == "yolo_end2end":
        is_index = bool((np.abs(rows[:, 5] - rows[:, 5].round()) < 0.01).all())
        return None if has_logits or not is_index or 0 < largest <= _MOST_SHARE else found
    if found.layout == "yolox":
        return None if has_logits or rows[:, 2:4].max(initial=0.0) > _MOST_LOG_SIDE else found
    if found.layout == "rtdetr" and largest > _MOST_SHARE:
        return None
    return replace(found, is_relative=found.layout == "rtdetr" or 0 < largest <= _MOST_SHARE, has_logits=has_logits)


def _is_inside(found: LayoutMatch, output: Floats, size: tuple[int, int]) -> bool:
    """Whether nearly all boxes of an image lie within it, corners in order."""
    boxes = _decoded(found, output, size, 0)[0]
    boxes = boxes[np.abs(boxes).max(axis=1) > 0]
    slack = _SLACK * np.array([size[1], size[0]], np.float32)
    outside = (boxes[:, :2] < -slack) | (boxes[:, 2:] > np.array(size[::-1]) + slack) | (boxes[:, 2:] < boxes[:, :2])
    return bool(outside.any(axis=1).mean() <= _MOST_OUTSIDE) if len(boxes) else True


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
        f"image of {size[0]} x {size[1]}, got {shape}; export it without post-processing, or give the input size with "
        f"--height and --width, the classes with --classes, or one of {', '.join(LAYOUTS)} as --decoder"
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
    counts = {each: _people(each, output, size, person) for each in found}
    most = max(counts.values(), default=0)
    return [each for each in found if most and counts[each] == most]


def _people(layout: LayoutMatch, output: Floats, size: tuple[int, int], person: int) -> int:
    """Count the boxes that may be people: scored like one, within the image, taller than wide."""
    if layout.classes is not None and person >= layout.classes:
        return 0
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


def _decoded(found: LayoutMatch, output: Floats, size: tuple[int, int], person: int) -> tuple[Floats, Floats]:
    """Return corner boxes in pixels, and the scores of persons."""
    layout = found.layout
    rows = output.T if layout == "yolo" else output
    if layout == "yolo_end2end":
        of_class = rows[np.abs(rows[:, 5] - person) < 0.01]
        return of_class[:, :4], of_class[:, 4]
    centres = rows[:, :4].astype(np.float32)
    numbers = rows[:, 4:].astype(np.float32)
    if found.has_logits:
        numbers = (1 / (1 + np.exp(-np.clip(numbers, -60, 60)))).astype(np.float32)
    scores = numbers[:, 0] * numbers[:, 1 + person] if layout in ("yolov5", "yolox") else numbers[:, person]
    if layout == "yolox":
        grid = _grid(size)
        if len(grid) != len(rows):
            return centres[:0], scores[:0]
        centres = np.concatenate(
            [(centres[:, :2] + grid[:, :2]) * grid[:, 2:], np.exp(np.minimum(centres[:, 2:], 20.0)) * grid[:, 2:]], 1
        )
    if found.is_relative:
        centres = centres * np.array([size[1], size[0]] * 2, np.float32)
    if layout == "corners":
        return centres, scores
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
