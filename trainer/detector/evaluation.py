"""Measure a detector on labelled videos: AP at an IoU of 0.5, through the detector that serves.

    video + MOT truth -> LabelledSet -> pictures -> reid_stream.detect.Detector -> supervision's AP -> Score

Every model sees the same frames. AP is COCO's (101 recall points, all sizes, the 100 best boxes of a picture), computed
by `supervision`; what is no pedestrian to be found (confidence flag 0, another class) is a region where boxes count
neither way.

Source of the file format: Leal-Taixé et al., "MOTChallenge 2015", section 4; Milan et al., "MOT16", tables 5 and 6.

Letters: n people, m regions to ignore, h and w pixels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reid_stream.config.settings import Detect, Models
from reid_stream.evaluation.align import rows_by_frame
from reid_stream.evaluation.truth import read_rows
from reid_stream.records import CameraId, Detections, Frame
from trainer.errors import DataError

if TYPE_CHECKING:
    from reid_stream.detect.yolo import Detector

Floats = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]

# Low enough for the whole precision-recall curve, as COCO's evaluations of YOLO do it.
_SCORE = 0.001


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """People and regions to ignore in one image."""

    people: Floats
    """(n, 4) corners in pixels."""
    ignored: Floats
    """(m, 4) corners of what counts neither as found nor as wrong."""


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """A video with its MOT truth."""

    name: str
    video: Path
    truth: Path
    every: int = 1
    """Use every n-th frame; neighbouring ones are nearly the same."""


@dataclass(frozen=True, slots=True)
class DetectorScore:
    """AP50 of two models on the same images."""

    name: str
    ours: float
    teacher: float
    pictures: int
    people: int


def parse_set(text: str, data: Path | None) -> LabelledSet:
    """Read NAME=VIDEO,TRUTH[@EVERY]; relative paths are looked for here, then in the data folder.

    Raises:
        DataError: it is not of this form, or a file is missing.
    """
    name, _, rest = text.partition("=")
    files, _, every = rest.partition("@")
    parts = files.split(",")
    if not name or len(parts) != 2 or not (every or "1").isdigit() or int(every or 1) < 1:
        raise DataError(f"a labelled set must be NAME=VIDEO,TRUTH or NAME=VIDEO,TRUTH@EVERY, got {text!r}")
    video, truth = (Path(part) if data is None or Path(part).is_file() else data / part for part in parts)
    for path in (video, truth):
        if not path.is_file():
            raise DataError(f"the files of a labelled set must exist, {path} does not ({text!r}); set REID_STREAM_DATA")
    return LabelledSet(name, video, truth, int(every or 1))


def read_mot(path: Path) -> dict[int, Truth]:
    """Read MOT text: the truth of each frame, counted from 1.

    Raises:
        DataError: the file cannot be read, is empty, or a line is not of the format.
    """
    try:
        rows = read_rows(path)
    except OSError as error:
        raise DataError(f"a truth file must be readable text, {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(str(error)) from error
    if not len(rows.frames):
        raise DataError(f"a truth file must have boxes, {path} has none")
    boxes = rows.boxes.astype(np.float32)
    return {
        frame: Truth(people=boxes[here[~rows.is_ignored[here]]], ignored=boxes[here[rows.is_ignored[here]]])
        for frame, here in rows_by_frame(rows.frames).items()
    }


def pictures(video: Path, every: int) -> Iterator[tuple[int, UInt8]]:
    """Yield every n-th image (h, w, 3) RGB of a video with its number, counted from 1.

    Raises:
        DataError: it is no video.
    """
    import av

    try:
        with av.open(str(video)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index % every == 0:
                    yield index + 1, np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    except (av.FFmpegError, OSError, IndexError) as error:
        raise DataError(f"a video must be readable, {video}: {error}") from error


def labelled_pictures(of: LabelledSet) -> Iterator[tuple[UInt8, Truth]]:
    """Yield the pictures of a set with their truth."""
    truth, nothing = read_mot(of.truth), Truth(_boxes([]), _boxes([]))
    for number, image in pictures(of.video, of.every):
        yield image, truth.get(number, nothing)


def open_detector(folder: Path, threads: int = 0) -> "Detector":
    """Load a bundle as the daemon does, with its probe checked, and keep even the weakest boxes."""
    from reid_stream.bundles.bundle import MODEL_FILE, check_probe, load_detector, probe_input
    from reid_stream.detect.yolo import Detector, spec_of
    from reid_stream.engines.load import load_engine

    bundle = load_detector(folder)
    spec = spec_of(bundle)
    engine = load_engine(folder / MODEL_FILE, Models(threads=threads), pixels=spec.pixels)
    check_probe(bundle, engine(probe_input(bundle)))
    return Detector(engine, spec, Detect(score=_SCORE, iou=bundle.iou_threshold, min_height_px=0, max_batch=1))


def compare(name: str, samples: Iterator[tuple[UInt8, Truth]], ours: "Detector", teacher: "Detector") -> DetectorScore:
    """Return AP50 of two detectors on the same pictures."""
    found: tuple[list[Found], list[Found]] = ([], [])
    truths = []
    for image, truth in samples:
        truths.append(truth)
        for results, detector in zip(found, (ours, teacher), strict=True):
            results.append(find(detector, image))
    return DetectorScore(
        name=name, ours=average_precision(found[0], truths), teacher=average_precision(found[1], truths),
        pictures=len(truths), people=sum(len(truth.people) for truth in truths),
    )  # fmt: skip


Found = tuple[Floats, Floats]
"""Corner boxes (n, 4) in pixels and scores (n,)."""


def find(detector: "Detector", image: UInt8) -> Found:
    """Return boxes and scores of one picture."""
    frame = Frame(camera=CameraId("evaluation"), sequence=0, captured_at=0.0, clock="file", image=image)
    people = detector([frame])[0]
    return people.boxes, people.scores


def average_precision(found: Sequence[Found], truths: Sequence[Truth]) -> float:
    """Return AP50 in [0, 1]; 0 where nothing is to be found.

    An ignored region is COCO's crowd: a box that lies in it by half counts neither way, however many do.
    """
    from reid_stream.evaluation import detection

    people = [
        detection.FrameTruth(
            boxes=np.concatenate([truth.people, truth.ignored]),
            is_ignored=np.repeat([False, True], [len(truth.people), len(truth.ignored)]),
        )
        for truth in truths
    ]
    return max(0.0, detection.average_precision([Detections(*one) for one in found], people).ap50)


def _boxes(rows: Sequence[tuple[float, ...]]) -> Floats:
    return np.asarray(rows, dtype=np.float32).reshape(-1, 4)
