"""How well people were followed: HOTA, AssPr, AssRe, IDF1 over all cameras of a set (pure).

All cameras share one identity space and count as extra time steps of one sequence, as in MTMC evaluation (DukeMTMC; AI
City Challenge): a person who changes camera and number is a missed link (AssRe), two people with one number are a wrong
merge (AssPr). The formulas are those of `trackers.eval` (HOTA: Luiten et al., IJCV 2021; IDF1: Ristani et al., 2016).
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """The people of one camera, over time."""

    frames: npt.NDArray[np.int64]
    """(n,) frame numbers."""
    people: tuple[Hashable, ...]
    """(n,) who: numbers or global IDs, one space over all cameras."""
    boxes: Doubles
    """(n, 4) x1, y1, x2, y2 in pixels."""

    def __post_init__(self) -> None:
        if not len(self.frames) == len(self.people) == len(self.boxes) or self.boxes.shape[1:] != (4,):
            raise ValueError(
                f"frames, people, boxes must be (n,), (n,), (n, 4), got {len(self.frames)}, {len(self.people)},"
                f" {self.boxes.shape}"
            )


@dataclass(frozen=True, slots=True)
class Score:
    """All in [0, 1]."""

    hota: float
    det_a: float
    ass_a: float
    ass_pr: float
    """Low: people were taken for one another."""
    ass_re: float
    """Low: one person has many numbers."""
    idf1: float
    idp: float
    idr: float


def score(truth: Mapping[str, Boxes], predicted: Mapping[str, Boxes]) -> Score:
    """Compare what was predicted with the truth, over all cameras at once.

    Frames without truth count too: a box there is a false one. Cameras of the truth without a prediction count as seen
    by nobody.

    Raises:
        ValueError: a predicted camera has no truth, or a person appears twice in one frame of a camera.
    """
    from trackers.eval import compute_hota_metrics, compute_identity_metrics

    unknown = sorted(set(predicted) - set(truth))
    if unknown:
        raise ValueError(f"every camera needs its truth, got {unknown} beside {sorted(truth)}")
    true_number = _numbers(truth.values())
    said_number = _numbers(predicted.values())
    true_ids, said_ids, overlaps = [], [], []
    for camera, people in truth.items():
        said = predicted.get(camera)
        for frame in np.unique(np.concatenate([people.frames, said.frames if said else people.frames[:0]])):
            a_ids, a_boxes = _at(people, frame, true_number, camera)
            b_ids, b_boxes = _at(said, frame, said_number, camera) if said else (a_ids[:0], a_boxes[:0])
            true_ids.append(a_ids)
            said_ids.append(b_ids)
            overlaps.append(_iou(a_boxes, b_boxes))
    hota = compute_hota_metrics(true_ids, said_ids, overlaps)
    identity = compute_identity_metrics(true_ids, said_ids, overlaps)
    return Score(
        hota=float(hota["HOTA"]),
        det_a=float(hota["DetA"]),
        ass_a=float(hota["AssA"]),
        ass_pr=float(hota["AssPr"]),
        ass_re=float(hota["AssRe"]),
        idf1=float(identity["IDF1"]),
        idp=float(identity["IDP"]),
        idr=float(identity["IDR"]),
    )


def read_mot(path: Path) -> Boxes:
    """Read MOT text: frame (from 1), id, left, top, width, height, 1 (0: not counted), class, visibility.

    Raises:
        ValueError: a line is not of this form.
    """
    frames: list[int] = []
    people: list[Hashable] = []
    boxes: list[tuple[float, float, float, float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            frame, person, left, top, width, height, *rest = (float(field) for field in line.split(","))
        except ValueError as error:
            raise ValueError(
                f"MOT text needs at least 6 numbers a line, got {line!r} ({path}, line {number})"
            ) from error
        if rest and rest[0] == 0:
            continue
        frames.append(int(frame))
        people.append(int(person))
        boxes.append((left, top, left + width, top + height))
    return Boxes(
        np.asarray(frames, dtype=np.int64),
        tuple(people),
        np.asarray(boxes, dtype=np.float64).reshape(-1, 4),
    )


def _numbers(cameras: Iterable[Boxes]) -> dict[Hashable, int]:
    """Number all people, over all cameras, from 0 in order of appearance."""
    numbers: dict[Hashable, int] = {}
    for camera in cameras:
        for person in camera.people:
            numbers.setdefault(person, len(numbers))
    return numbers


def _at(
    people: Boxes, frame: np.int64, numbers: Mapping[Hashable, int], camera: str
) -> tuple[npt.NDArray[np.int64], Doubles]:
    rows = np.flatnonzero(people.frames == frame)
    ids = np.asarray([numbers[people.people[row]] for row in rows], dtype=np.int64)
    if len(np.unique(ids)) != len(ids):
        raise ValueError(f"a person must appear once a frame, got one twice (camera {camera}, frame {frame})")
    return ids, people.boxes[rows]


def _iou(a: Doubles, b: Doubles) -> Doubles:
    """Overlap (n, m) of boxes (n, 4) and (m, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inner = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a = np.prod(a[:, 2:] - a[:, :2], axis=1)
    area_b = np.prod(b[:, 2:] - b[:, :2], axis=1)
    union = area_a[:, None] + area_b[None, :] - inner
    return np.asarray(
        np.divide(inner, union, out=np.zeros_like(inner), where=union > 0),
        dtype=np.float64,
    )
