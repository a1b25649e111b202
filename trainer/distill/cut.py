"""Cut people out of videos and pictures with a detector: unlabelled crops for a student to learn on.

A teacher answers for any crop, so unlabelled people serve as well as labelled ones, and every new kind of
camera, weather and clothing makes the student's vectors hold for more strangers.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from reid_stream.embed.preprocess import UInt8
from reid_stream.images import without_clutter
from reid_stream.records import CameraId, Frame
from trainer.data.crops import IMAGE_SUFFIXES, decode
from trainer.detector.evaluation import open_detector, pictures
from trainer.errors import DataError

if TYPE_CHECKING:
    from reid_stream.detect.yolo import Detector

_QUALITY = 95
"""JPEG quality of the crops: views are compressed again, by chance, when they are drawn."""


def cut_people(
    sources: list[Path], out: Path, detector: Path, every: int, score: float, min_height: int, threads: int = 1
) -> dict[Path, int]:
    """Write the crops of all sources as `out/NAME/FRAME_NUMBER.jpg`, and return how many each gave.

    Args:
        sources: videos, images, and folders that are searched for images.
        out: folder of the crops; crops there are kept, those of the same name written again.
        detector: folder of a detector's bundle.
        every: of a video, use every n-th image.
        score: lowest score of a detection, in 0..1.
        min_height: lowest height of a detection, pixels.
        threads: CPU threads of the detector.

    Raises:
        DataError: a source is missing, unreadable or a folder without images, or two have the same name.
    """
    names = [source.stem for source in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"sources must differ in name, since each gets a folder; {twice} is there twice")
    opened = open_detector(detector, threads)
    written = {}
    for source, name in zip(sources, names, strict=True):
        folder = out / name
        count = 0
        for label, image in _images(source, every):
            for place, crop in enumerate(_people(opened, image, score, min_height)):
                folder.mkdir(parents=True, exist_ok=True)
                target = folder / f"{label}_{place:02d}.jpg"
                data = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
                target.write_bytes(data[1].tobytes())
                count += 1
        written[source] = count
    return written


def _images(source: Path, every: int) -> Iterator[tuple[str, UInt8]]:
    """Yield (label, image) of a video, an image or a folder of images."""
    if source.is_dir():
        files = sorted(
            file for file in without_clutter(source.rglob("*"), source) if file.suffix.lower() in IMAGE_SUFFIXES
        )
        if not files:
            raise DataError(f"a folder to cut people from must hold images, {source} has none")
        for number, file in enumerate(files):
            yield f"{number:06d}", decode(file.read_bytes(), str(file))
    elif source.suffix.lower() in IMAGE_SUFFIXES:
        try:
            yield "000000", decode(source.read_bytes(), str(source))
        except OSError as error:
            raise DataError(f"an image must be readable, {source}: {error.strerror}") from error
    else:
        for number, image in pictures(source, every):
            yield f"{number:06d}", image


def _people(detector: "Detector", image: UInt8, score: float, min_height: int) -> Iterator[UInt8]:
    found = detector([Frame(CameraId("cut"), 0, 0.0, "file", image)])[0]
    height, width = image.shape[:2]
    for box, certainty in zip(found.boxes.round().astype(int), found.scores, strict=True):
        left, top, right, bottom = (int(edge) for edge in box)
        left, top, right, bottom = max(0, left), max(0, top), min(width, right), min(height, bottom)
        if certainty >= score and bottom - top >= min_height and right - left >= min_height // 8:
            yield image[top:bottom, left:right]
