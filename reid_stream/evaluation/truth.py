"""Read ground-truth files and report all their faults.

MOT text per camera (frame, id, left, top, width, height, flag, class, visibility; ids shared by all cameras) -> Boxes
"""

import codecs
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reid_stream.errors import ConfigError
from reid_stream.evaluation.align import Boxes, Doubles, Ints, align

TWIN_IOU = 0.95
"""Two people whose boxes overlap by more than this in half of the frames with both are one person annotated twice. In a
single frame it is possible: one passes the other, both cut off by the edge of the image."""
_MOST = 2.0**31
"""Largest frame, person and pixel number; a greater one is a typing error (two years of footage at 30 frames/s)."""
_MOST_FAULTS = 8
"""Faults reported per file."""
_PEDESTRIAN = 1.0
_MOST_CLASS = 99
"""Largest class: MOT16 has 1 to 13; greater whole numbers are coordinates."""


@dataclass(frozen=True, slots=True, eq=False)
class MotRows:
    """Rows of a MOT text, in file order."""

    frames: Ints
    """(n,) from 1."""
    people: Ints
    """(n,) ids."""
    boxes: Doubles
    """(n, 4) x1, y1, x2, y2 in pixels."""
    is_ignored: npt.NDArray[np.bool_]
    """(n,) flag 0, or a class other than pedestrian: counts neither as found nor as missed."""


def read_rows(path: Path) -> MotRows:
    """Read MOT text: frame (from 1), id, left, top, width, height, flag (0: ignored), class, visibility.

    The class column counts where every line has a whole number of 0 to 99 in it and at least one line a 1, pedestrian;
    MOT15 has -1 or world coordinates there. Trailing commas and ignored boxes without an area are skipped. Fields may
    also be separated by semicolons (then with decimal commas), tabs or spaces, and quoted; a first line of names and
    lines that begin with # are left out.

    Source of the format: Leal-Taixe et al., "MOTChallenge 2015", section 4; Milan et al., "MOT16", tables 5 and 6.

    Raises:
        ValueError: a line is not of this form.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    try:  # spreadsheets write UTF-16, with a mark that UTF-8 cannot begin with
        is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        lines = content.decode("utf-16" if is_wide else "utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"MOT text must be text, got bytes that are none ({path}, byte {error.start})") from error
    rows = [
        (_numbers(line, f"({path}, line {number})"), line, number)
        for number, line in enumerate(lines, 1)
        if line.strip().strip(",;") and not line.lstrip().startswith("#") and not (number == 1 and _is_header(line))
    ]
    classes = [row[7] if len(row) > 7 else None for row, _, _ in rows]
    has_classes = _PEDESTRIAN in classes and all(
        value is not None and value.is_integer() and 0 <= value <= _MOST_CLASS for value in classes
    )
    kept: list[list[float]] = []
    is_ignored: list[bool] = []
    for row, line, number in rows:
        left, top, width, height = row[2:6]
        ignored = (len(row) > 6 and row[6] == 0) or (has_classes and row[7] != _PEDESTRIAN)
        empty = min(width, height) <= 0
        if not all(abs(edge) <= _MOST for edge in (left, top, width, height)) or (empty and not ignored):
            raise ValueError(
                f"boxes of MOT text have a place, a width and a height, got {line!r} ({path}, line {number})"
            )
        if not empty:
            kept.append([row[0], row[1], left, top, left + width, top + height])
            is_ignored.append(ignored)
    table = np.asarray(kept, dtype=np.float64).reshape(-1, 6)
    return MotRows(
        frames=table[:, 0].astype(np.int64),
        people=table[:, 1].astype(np.int64),
        boxes=table[:, 2:],
        is_ignored=np.asarray(is_ignored, dtype=bool),
    )


def _fields(line: str) -> list[str]:
    """Split a line at its separator: semicolons, commas, or white space; quotes around fields are taken off."""
    text = line.strip()
    if ";" in text:  # where a comma is the decimal sign
        fields = text.rstrip("; \t").replace(",", ".").split(";")
    else:
        fields = text.rstrip(", \t").split(",") if "," in text else text.split()
    return [field.strip().strip("\"'") for field in fields]


def _is_header(line: str) -> bool:
    """Whether a line holds names of columns: at least six, each with a letter first."""
    fields = _fields(line)
    return len(fields) >= 6 and all(field[:1].isalpha() and field.lower() not in ("nan", "inf") for field in fields)


def _numbers(line: str, where: str) -> list[float]:
    """Read the numbers of a line; trailing separators do not matter."""
    try:
        row = [float(field) for field in _fields(line)]
    except ValueError:
        row = []
    if len(row) < 6:
        raise ValueError(f"MOT text needs at least 6 numbers a line, got {line!r} {where}")
    frame, person = row[:2]
    if not (1 <= frame <= _MOST and abs(person) <= _MOST and frame.is_integer() and person.is_integer()):
        raise ValueError(f"MOT text counts frames from 1 and people by whole numbers, got {line!r} {where}")
    return row


def read_mot(path: Path) -> Boxes:
    """Read MOT text into the people that count, with the boxes to ignore; see `read_rows`.

    Raises:
        ValueError: a line is not of the form.
    """
    rows = read_rows(path)
    counted = ~rows.is_ignored
    return Boxes(
        rows.frames[counted],
        tuple(rows.people[counted].tolist()),
        rows.boxes[counted],
        ignored_frames=rows.frames[rows.is_ignored],
        ignored=rows.boxes[rows.is_ignored],
    )


def read_truth(files: Mapping[str, Path], frames: Mapping[str, int] | None = None) -> dict[str, Boxes]:
    """Read and check the truth of all cameras.

    Args:
        files: by camera.
        frames: number of frames of each camera's video, where known.

    Raises:
        ConfigError: a file cannot be read or is not MOT text, no file has a person, an id or a box is twice in a frame,
            or a file continues after its video; the message lists all faults found.
    """
    truth: dict[str, Boxes] = {}
    faults: list[str] = []
    for camera, path in files.items():
        try:
            truth[camera] = read_mot(path)
        except OSError as error:
            faults.append(f"truth must be a file that can be read, {path}: {error.strerror}")
        except ValueError as error:
            faults.append(str(error))
        else:
            faults += _faults(camera, path, truth[camera], (frames or {}).get(camera))
    if truth and not faults and not any(len(boxes) for boxes in truth.values()):
        faults.append(f"truth must hold at least one counted person, got none in {', '.join(map(str, files.values()))}")
    if faults:
        raise ConfigError("\n".join(faults))
    return truth


def check_cameras(named: Sequence[str], known: Sequence[str]) -> None:
    """Check that truth and cameras have the same names.

    Raises:
        ConfigError: a name has no camera, or a camera has no truth.
    """
    unknown, missing = sorted(set(named) - set(known)), sorted(set(known) - set(named))
    faults = [f"truth must be of a camera of {', '.join(sorted(known))}, got {name!r}" for name in unknown]
    if missing:
        faults.append(f"every camera needs its truth, --truth is missing for {', '.join(missing)}")
    if faults:
        raise ConfigError("\n".join(faults))


def _faults(camera: str, path: Path, boxes: Boxes, frames: int | None) -> list[str]:
    found = []
    if frames is not None and len(boxes) and int(boxes.frames.max()) > frames:
        beyond = sorted({int(frame) for frame in boxes.frames if frame > frames})
        found.append(
            f"truth must end with the video, camera {camera} has {frames} frames, got {len(beyond)} frames beyond,"
            f" {beyond[0]} to {beyond[-1]} ({path}); is it of another video or frame rate?"
        )
    rows: dict[tuple[int, Hashable], int] = {}
    for frame, person in zip(boxes.frames.tolist(), boxes.people, strict=True):
        rows[frame, person] = rows.get((frame, person), 0) + 1
    twice = [key for key, count in rows.items() if count > 1]
    found += [
        f"a person must be once in a frame, got id {person} {rows[frame, person]} times in frame {frame} ({path})"
        for frame, person in twice[:_MOST_FAULTS]
    ]
    if not twice:
        found += _twins(path, boxes)
    return found


def _twins(path: Path, boxes: Boxes) -> list[str]:
    aligned = align({"": boxes}, {"": boxes})
    side = aligned.true
    together: dict[tuple[int, int], int] = {}
    """Pair -> number of frames with both."""
    as_one: dict[tuple[int, int], list[tuple[int, float]]] = {}
    """Pair -> frames in which their boxes coincide, with the overlap."""
    for step in range(len(aligned.steps)):
        begin = int(side.starts[step])
        table, here = aligned.table(step), side.people[begin:]
        for a, b in zip(*np.triu_indices(len(table), k=1), strict=True):
            pair = (int(here[a]), int(here[b])) if here[a] < here[b] else (int(here[b]), int(here[a]))
            together[pair] = together.get(pair, 0) + 1
            if table[a, b] > TWIN_IOU:
                as_one.setdefault(pair, []).append((int(side.frames[begin]), float(table[a, b])))
    return [
        f"two people must not be at one place, got ids {side.names[pair[0]]} and {side.names[pair[1]]} in frame"
        f" {frames[0][0]} with an overlap of {frames[0][1]:.2f} ({path})"
        for pair, frames in as_one.items()
        if 2 * len(frames) >= together[pair]
    ][:_MOST_FAULTS]
