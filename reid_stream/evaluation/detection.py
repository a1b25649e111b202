"""Average precision of a detector on a clip with ground truth (COCO's definition, computed by `supervision`).

    python -m reid_stream.evaluation.detection DETECTOR CLIP TRUTH [--every 5] [--precision f32]

DETECTOR is a detector bundle's folder, CLIP a video, TRUTH its MOT text. Truth with flag 0 or of
another class than pedestrian is neither a hit nor a miss, as MOTChallenge prescribes.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reid_stream.config.settings import Detect, Models
from reid_stream.evaluation.align import rows_by_frame
from reid_stream.evaluation.truth import read_rows
from reid_stream.records import CameraId, Detections, Floats, Frame


@dataclass(frozen=True, slots=True, eq=False)
class FrameTruth:
    """True boxes of one frame."""

    boxes: Floats
    """(n, 4) x1, y1, x2, y2 in pixels."""
    is_ignored: npt.NDArray[np.bool_]
    """(n,) boxes that count neither as found nor as missed."""


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """Average precision of one class, in [0, 1]."""

    ap50: float
    """Average precision at an intersection over union of at least 0.5."""
    ap: float
    """Mean over least intersections over union of 0.5, 0.55 … 0.95."""


def read_truth(path: Path) -> dict[int, FrameTruth]:
    """Read MOT text; return the true boxes by frame number, from 1.

    Raises:
        ValueError: a line is not of the form, see `truth.read_rows`.
    """
    rows = read_rows(path)
    return {
        frame: FrameTruth(boxes=rows.boxes[here].astype(np.float32), is_ignored=rows.is_ignored[here])
        for frame, here in rows_by_frame(rows.frames).items()
    }


def average_precision(found: Sequence[Detections], truth: Sequence[FrameTruth]) -> AveragePrecision:
    """Return the average precision over frames; both in the same order."""
    import supervision as sv
    from supervision.config import ISCROWD_DATA_FIELD
    from supervision.metrics import MeanAveragePrecision

    metric = MeanAveragePrecision()
    for people, boxes in zip(truth, found, strict=True):
        none = np.zeros(len(people.boxes), dtype=int)
        ignored: dict[str, Any] = {ISCROWD_DATA_FIELD: people.is_ignored.astype(int)}
        metric.update(
            sv.Detections(xyxy=boxes.boxes, confidence=boxes.scores, class_id=np.zeros(len(boxes), dtype=int)),
            sv.Detections(xyxy=people.boxes, class_id=none, data=ignored),
        )
    result = metric.compute()
    return AveragePrecision(ap50=float(result.map50), ap=float(result.map50_95))


def read_frames(clip: Path, every: int = 1) -> Iterator[tuple[int, Frame]]:
    """Yield every n-th frame of a video with its number, from 1."""
    import av

    with av.open(str(clip)) as container:
        for number, picture in enumerate(container.decode(video=0), start=1):
            if (number - 1) % every == 0:
                image = picture.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
                yield number, Frame(CameraId("clip"), number, float(picture.time or 0), "file", image)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print AP50 and AP of a detector on a clip."""
    from reid_stream.bundles.bundle import MODEL_FILE, load_detector
    from reid_stream.detect.yolo import Detector, spec_of
    from reid_stream.engines.load import load_engine

    parser = argparse.ArgumentParser(description="Average precision of a detector on a clip with truth.")
    parser.add_argument("detector", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--every", type=int, default=5, metavar="N", help="use every N-th frame")
    parser.add_argument("--precision", choices=("auto", "f32", "bf16"), default="auto")
    chosen = parser.parse_args(arguments)
    spec = spec_of(load_detector(chosen.detector))
    engine = load_engine(chosen.detector / MODEL_FILE, Models(precision=chosen.precision), pixels=spec.pixels)
    # COCO's precision-recall curve needs boxes of low score, which the daemon's thresholds would drop.
    detector = Detector(engine, spec, Detect(score=0.01, min_height_px=0))
    truth, found, people = read_truth(chosen.truth), [], []
    empty = FrameTruth(np.empty((0, 4), np.float32), np.empty(0, np.bool_))
    for number, frame in read_frames(chosen.clip, chosen.every):
        found += detector([frame])
        people.append(truth.get(number, empty))
    result = average_precision(found, people)
    sys.stdout.write(f"{engine.name}: AP50 {result.ap50:.3f}, AP {result.ap:.3f} over {len(found)} frames\n")


if __name__ == "__main__":
    main()
