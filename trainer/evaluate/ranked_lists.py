"""Draw queries with their best matches as one PNG: right ones framed green, wrong ones red (pure but for writing)."""

from pathlib import Path

import cv2
import numpy as np

from reid_stream.embed.preprocess import UInt8, resize
from trainer.errors import TrainerError
from trainer.evaluate.retrieval import JUNK, Floats, RetrievalLabels

GREEN, RED, BLUE = (0, 160, 0), (200, 0, 0), (0, 0, 200)
_HEIGHT, _WIDTH, _FRAME, _GAP = 192, 96, 5, 4


def ranking(distances: Floats, labels: RetrievalLabels, row: int, top: int = 10) -> tuple[list[int], list[bool]]:
    """Return the places in the gallery of the best answers to a query, and which of them are right.

    `distances` (g,) are of query `row`; images of the same person and camera, and junk, are left out.
    """
    same = labels.gallery_persons == labels.query_persons[row]
    removed = (same & (labels.gallery_cameras == labels.query_cameras[row])) | (labels.gallery_persons == JUNK)
    order = [int(place) for place in np.argsort(distances, kind="stable") if not removed[place]][:top]
    return order, [bool(same[place]) for place in order]


def sheet(rows: list[tuple[UInt8, list[UInt8], list[bool]]]) -> UInt8:
    """Lay out (query, answers, right) rows of RGB images (h, w, 3) as one RGB picture; the query has a blue frame."""
    lines = []
    for query, answers, right in rows:
        framed = [_framed(query, BLUE), np.full((_HEIGHT + 2 * _FRAME, 3 * _GAP, 3), 255, np.uint8)]
        framed += [_framed(image, GREEN if is_right else RED) for image, is_right in zip(answers, right, strict=True)]
        lines.append(np.concatenate(framed, axis=1))
    widest = max(line.shape[1] for line in lines)
    padded = [np.pad(line, ((0, _GAP), (0, widest - line.shape[1]), (0, 0)), constant_values=255) for line in lines]
    return np.concatenate(padded)


def write(picture: UInt8, path: Path) -> None:
    """Write an RGB picture as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), np.ascontiguousarray(picture[..., ::-1])):
        raise TrainerError(f"a picture must be writable, {path} is not; name another file ending in .png")


def _framed(image: UInt8, colour: tuple[int, int, int]) -> UInt8:
    framed = np.empty((_HEIGHT + 2 * _FRAME, _WIDTH + 2 * _FRAME, 3), dtype=np.uint8)
    framed[:] = colour
    framed[_FRAME:-_FRAME, _FRAME:-_FRAME] = resize(image, _HEIGHT, _WIDTH)
    return framed
