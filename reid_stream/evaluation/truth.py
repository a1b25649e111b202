"""Read ground-truth files, or report everything that is wrong with them.

MOT text a camera (frame, id, left, top, width, height, 1, class, visibility; ids shared by all cameras) -> Boxes
"""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np

from reid_stream.errors import ConfigError
from reid_stream.evaluation.align import Boxes, align

TWIN_IOU = 0.95
"""Two people whose boxes overlap more than this in half of the frames that hold both are one person drawn twice. In one
frame two people may well do so: where one walks past the other, cut off by the picture's edge."""
_MOST = 2.0**31
"""Frames, people and pixels; more is a slip of the hand (two years of footage at 30 frames a second)."""
_MOST_FAULTS = 8
"""Told of one file; more would only repeat them."""


def read_mot(path: Path) -> Boxes:
    """Read MOT text: frame (from 1), id, left, top, width, height, 1 (0: not counted), class, visibility.

    Raises:
        ValueError: a line is not of this form.
    """
    frames: list[int] = []
    people: list[Hashable] = []
    boxes: list[tuple[float, float, float, float]] = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"MOT text must be text, got bytes that are none ({path}, byte {error.start})") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"({path}, line {number})"
        try:
            frame, person, left, top, width, height, *rest = (float(field) for field in line.split(","))
        except ValueError as error:
            raise ValueError(f"MOT text needs at least 6 numbers a line, got {line!r} {where}") from error
        if not all(abs(edge) <= _MOST for edge in (left, top, width, height)) or min(width, height) <= 0:
            raise ValueError(f"boxes of MOT text have a place, a width and a height, got {line!r} {where}")
        if not (1 <= frame <= _MOST and abs(person) <= _MOST and frame.is_integer() and person.is_integer()):
            raise ValueError(f"MOT text counts frames from 1 and people by whole numbers, got {line!r} {where}")
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


def read_truth(files: Mapping[str, Path], frames: Mapping[str, int] | None = None) -> dict[str, Boxes]:
    """Read the truth of all cameras and make sure that it can be one.

    Args:
        files: by camera.
        frames: how many each camera's video has, where that is known.

    Raises:
        ConfigError: a file cannot be read or is not MOT text, nobody is in any, one id or one box is twice in a frame,
            or a file goes on after its video; the message lists every fault found.
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
    """Make sure that truth and cameras have the same names.

    Raises:
        ConfigError: a name has no camera, or a camera no truth.
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
    """How many frames hold both."""
    as_one: dict[tuple[int, int], list[tuple[int, float]]] = {}
    """In which of them they are at one place, with the overlap."""
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
