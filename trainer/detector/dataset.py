"""Convert boxes of people from many sources to one folder of images and YOLO labels.

    yolo:PATH  folder or .tar.gz of images/ and labels/ (`class cx cy w h`, shares of the picture)
    mot:PATH   folder with gt.txt or gt/gt.txt and a video or img1/
    clip:PATH  video without truth; labelled by the teacher, confident boxes only

What may or may not be a person (a teacher's doubtful box, a region that the truth ignores) is painted grey, so that it
is learned neither as person nor as background.

Letters: n boxes, h and w pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from reid_stream.images import decode, is_clutter, without_clutter
from trainer.data.files import UNREADABLE_TAR, read_image_file, tar_files
from trainer.detector.evaluation import Floats, Found, LabelledSet, Truth, UInt8, pictures, read_mot
from trainer.errors import DataError

Teacher = Callable[[UInt8], Found]
KINDS = ("yolo", "mot", "clip")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
PERSON = 0
# A teacher's box at this score is right nearly always; below the other one it is rarely a person.
CONFIDENT, DOUBTFUL = 0.5, 0.1
# Pictures are kept no larger than the network takes.
_LONGEST_PX = 640
_GREY = 114
# Coordinates are rounded in label files; a box may end so much outside.
_SLACK = 1e-3


@dataclass(frozen=True, slots=True)
class BoxSource:
    """Source of images; written KIND:PATH or KIND:PATH@EVERY."""

    kind: str
    path: Path
    every: int = 15
    """Use every n-th frame of a video."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.path.name}"


def parse_source(text: str, data: Path | None) -> BoxSource:
    """Read KIND:PATH[@EVERY]; a relative path is looked for here, then in the data folder.

    Raises:
        DataError: the kind is unknown, the number is none, or there is no such file.
    """
    kind, separator, rest = text.partition(":")
    name, at, every = rest.rpartition("@")
    if not at:
        name, every = rest, "15"
    if not separator or kind not in KINDS or not every.isdigit() or int(every) < 1:
        raise DataError(
            f"a source must be KIND:PATH or KIND:PATH@EVERY with a kind of {', '.join(KINDS)}, got {text!r}"
        )
    path = Path(name)
    if not path.exists() and data is not None:
        path = data / name
    if not path.exists():
        raise DataError(f"a source must exist, {text!r} does not; name another, or set REID_STREAM_DATA")
    return BoxSource(kind, path, int(every))


def refuse_truth(sources: Sequence[BoxSource], sets: Sequence[LabelledSet]) -> None:
    """Check that no evaluation video is among the training sources.

    Raises:
        DataError: a source is, or holds, a file of a labelled set.
    """
    for source in sources:
        path = source.path.resolve()
        for labelled in sets:
            for file in (labelled.video.resolve(), labelled.truth.resolve()):
                if path == file or path in file.parents:
                    raise DataError(
                        f"a detector must not learn from what it is measured on, {source} holds {file.name} of "
                        f"{labelled.name}; leave one of them out"
                    )


def prepare(sources: list[BoxSource], out: Path, teacher: Teacher) -> dict[str, int]:
    """Write `out`/images and `out`/labels and return the number of pictures of each source.

    Raises:
        DataError: a source is not what it should be, or there is not one picture.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "labels").mkdir(exist_ok=True)
    for left_over in (*(out / "images").glob("*.jpg"), *(out / "labels").glob("*.txt")):
        left_over.unlink()  # of an earlier run with other sources
    counts: dict[str, int] = {}
    for source in sources:
        for image, truth in read(source, teacher):
            counts[str(source)] = counts.get(str(source), 0) + 1
            stem = f"{len(counts):02d}-{counts[str(source)]:06d}"
            _write(image, truth, out, stem)
        if not counts.get(str(source)):
            raise DataError(f"{source.kind}:{source.path} must have labelled pictures, found none")
    if not counts:
        raise DataError("a detector must learn from at least one source, got none")
    return counts


def sample(out: Path, count: int = 12) -> Floats:
    """Return some of the prepared pictures as network input (b, 3, h, w) in [0, 1], to compare networks on."""
    files = sorted((out / "images").glob("*.jpg"))
    chosen = files[:: max(1, len(files) // count)][:count]
    shown = [cv2.resize(_decode(file.read_bytes(), str(file)), (_LONGEST_PX, _LONGEST_PX)) for file in chosen]
    return np.ascontiguousarray(np.stack(shown).transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)


def read(source: BoxSource, teacher: Teacher) -> Iterator[tuple[UInt8, Truth]]:
    """Yield the pictures (h, w, 3) RGB of a source with what is known of them."""
    if source.kind == "yolo":
        yield from _read_yolo(source.path)
    elif source.kind == "mot":
        yield from _read_mot(source.path, source.every)
    else:
        for _, image in pictures(source.path, source.every):
            yield image, split_by_confidence(teacher(image))


def split_by_confidence(found: Found) -> Truth:
    """Split a teacher's boxes: confident ones are people, doubtful ones regions to ignore."""
    boxes, scores = found
    return Truth(people=boxes[scores >= CONFIDENT], ignored=boxes[(scores >= DOUBTFUL) & (scores < CONFIDENT)])


def parse_labels(text: str, where: str, size: tuple[int, int]) -> Floats:
    """Read one YOLO label file into corners (n, 4) in pixels of a picture of `size` (width, height).

    Raises:
        DataError: a line is not `class cx cy w h`, the class is not 0 (person), or a number is out of range.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            label, *shares = (float(field) for field in line.split())
        except ValueError:
            shares = []
        if len(shares) != 4:
            raise DataError(f"a label must be class cx cy w h, found {line.strip()!r} ({where}, line {number})")
        if label != PERSON:
            raise DataError(
                f"a label's class must be {PERSON} (person), found {label:g} ({where}, line {number}); "
                "leave other classes out of the file"
            )
        cx, cy, width, height = shares
        corners = cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2
        inside = all(-_SLACK <= corner <= 1 + _SLACK for corner in corners)
        if not (inside and width > 0 and height > 0):  # also where a share is not a number
            raise DataError(
                f"a label's box must lie in the picture, in shares from 0 to 1, found {line.strip()!r} "
                f"({where}, line {number})"
            )
        rows.append(corners)
    shares_of_all = np.asarray(rows, dtype=np.float32).reshape(-1, 4)
    return np.clip(shares_of_all, 0, 1) * np.asarray([*size, *size], dtype=np.float32)


def _read_yolo(path: Path) -> Iterator[tuple[UInt8, Truth]]:
    files = _tar_files(path) if path.is_file() else _folder_files(path)
    labels = {
        PurePosixPath(name).stem: (name, content)
        for name, content in files.items()
        if name.endswith(".txt") and "labels" in PurePosixPath(name).parts
    }
    for name, content in sorted(files.items()):
        if not name.lower().endswith(IMAGE_SUFFIXES):
            continue
        where, text = labels.get(PurePosixPath(name).stem, (None, b""))
        if where is None:
            continue  # not labelled; an empty label file means an image without people
        image = _decode(content, f"{path}: {name}")
        people = parse_labels(text.decode(errors="replace"), f"{path}: {where}", (image.shape[1], image.shape[0]))
        yield image, Truth(people=people, ignored=people[:0])


def _tar_files(path: Path) -> dict[str, bytes]:
    try:
        return dict(tar_files(path, lambda name: name.lower().endswith((*IMAGE_SUFFIXES, ".txt"))))
    except UNREADABLE_TAR as error:
        raise DataError(f"a set of boxes must be a folder or a tar archive, {path}: {error}") from error


def _folder_files(path: Path) -> dict[str, bytes]:
    names = (
        found
        for found in path.rglob("*")
        if found.suffix.lower() in (*IMAGE_SUFFIXES, ".txt") and not is_clutter(found.relative_to(path))
    )
    return {found.relative_to(path).as_posix(): read_image_file(found) for found in names}


def _read_mot(path: Path, every: int) -> Iterator[tuple[UInt8, Truth]]:
    truth_file = next((path / name for name in ("gt/gt.txt", "gt.txt") if (path / name).is_file()), None)
    if truth_file is None:
        raise DataError(f"a MOT folder must have gt/gt.txt or gt.txt, {path} has neither")
    truth = read_mot(truth_file)
    videos = sorted(
        found
        for found in without_clutter(path.iterdir(), path)
        if found.suffix.lower() in (".mp4", ".avi", ".mkv", ".webm")
    )
    stills = sorted(without_clutter((path / "img1").glob("*.jpg"), path))
    if not videos and not stills:
        raise DataError(f"a MOT folder must have a video or img1/*.jpg, {path} has neither")
    numbered = (
        pictures(videos[0], every)
        if videos
        else ((int(still.stem), _decode(read_image_file(still), str(still))) for still in stills[::every])
    )
    for number, image in numbered:
        if number in truth:
            yield image, truth[number]


def _decode(content: bytes, where: str) -> UInt8:
    try:
        return decode(content)
    except ValueError as error:
        raise DataError(f"a picture must be an image file, {where} {error}; copy it again or remove it") from error


def _write(image: UInt8, truth: Truth, out: Path, stem: str) -> None:
    height, width = image.shape[:2]
    limit = np.asarray([width, height, width, height], dtype=np.float32)
    people = np.clip(truth.people, 0, limit)
    shown = cv2.cvtColor(_painted(image, truth), cv2.COLOR_RGB2BGR)
    factor = min(1.0, _LONGEST_PX / max(height, width))
    if factor < 1:
        size = max(1, round(width * factor)), max(1, round(height * factor))
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    lines = [
        f"{PERSON} {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f} "
        f"{(x2 - x1) / width:.6f} {(y2 - y1) / height:.6f}\n"
        for x1, y1, x2, y2 in people.tolist()
        if x2 > x1 and y2 > y1
    ]
    if not cv2.imwrite(str(out / "images" / f"{stem}.jpg"), shown, [cv2.IMWRITE_JPEG_QUALITY, 95]):
        raise DataError(f"the folder of the run must be writable, {out / 'images'} is not")
    (out / "labels" / f"{stem}.txt").write_text("".join(lines), encoding="ascii")


def _painted(image: UInt8, truth: Truth) -> UInt8:
    """Paint regions to ignore grey, but no person that stands before them."""
    if not len(truth.ignored):
        return image
    keep = np.zeros(image.shape[:2], dtype=bool)
    for x1, y1, x2, y2 in np.maximum(truth.people, 0).round().astype(int).tolist():
        keep[y1:y2, x1:x2] = True
    grey = np.zeros_like(keep)
    for x1, y1, x2, y2 in np.maximum(truth.ignored, 0).round().astype(int).tolist():
        grey[y1:y2, x1:x2] = True
    return np.where((grey & ~keep)[..., None], np.uint8(_GREY), image)
