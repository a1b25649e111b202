"""Read the boxes of a tracklet store, frame by frame, for scoring against ground truth.

A store has a crop of a track every second or so, truth has boxes in every frame. Between two crops of a track no
farther apart than `BRIDGE_S` the box is interpolated linearly, which keeps walking people well above the overlap of a
match.
"""

from collections.abc import Hashable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from reid_stream import store
from reid_stream.errors import ConfigError
from reid_stream.evaluation.align import Boxes, Doubles, Ints
from reid_stream.evaluation.stream import Timeline

BRIDGE_S = 3.0
"""Longest gap that is interpolated, as `visits.GAP_S`."""


def read_store(folder: Path, cameras: Mapping[str, Timeline]) -> dict[str, Boxes]:
    """Read the boxes of cameras; a track without a global ID counts as an identity of its own.

    Args:
        folder: of the store.
        cameras: cameras to read, with the capture times of their truth's frames.

    Raises:
        ConfigError: there is no store, a camera has no tracks in it, or a track is broken.
    """
    found: dict[str, dict[tuple[int, Hashable], tuple[float, float, float, float]]] = {}
    for place in store.tracks(folder):
        try:
            track, _ = store.read(place)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        here = found.setdefault(str(track.camera), {})
        if track.camera not in cameras:
            continue
        frames, boxes = _between(
            np.asarray(track.times), np.asarray(track.boxes, dtype=np.float64), cameras[track.camera]
        )
        name = track.global_id or f"{track.run}/{track.track}"
        for frame, box in zip(frames.tolist(), boxes.tolist(), strict=True):
            here.setdefault((frame, name), tuple(box))
    if missing := sorted(set(cameras) - set(found)):
        known = f"has {', '.join(sorted(found))}" if found else "has no tracks at all"
        raise ConfigError(f"the store must have tracks of {', '.join(missing)}, {folder} {known}")
    return {
        camera: Boxes(
            np.asarray([frame for frame, _ in found[camera]], dtype=np.int64),
            tuple(name for _, name in found[camera]),
            np.asarray(list(found[camera].values()), dtype=np.float64).reshape(-1, 4),
        )
        for camera in cameras
    }


def parse_timeline(text: str) -> tuple[str, Timeline]:
    """Parse `CAMERA=TIME@FPS`: capture time of frame 1 of the truth, and its frame rate.

    Raises:
        ConfigError: the text is not of this form.
    """
    camera, separator, rest = text.partition("=")
    begin, at, fps = rest.rpartition("@")
    try:
        first_at, rate = _utc(begin), float(fps)
    except ValueError:
        first_at, rate = 0.0, 0.0
    if not (camera and separator and at and rate > 0):
        raise ConfigError(
            f"--begin must be CAMERA=TIME@FPS, the time of the truth's first frame as 2026-11-21T10:00:00Z or UTC epoch"
            f" seconds, got {text!r}"
        )
    return camera, Timeline(first_at, rate)


def _utc(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _between(times: Doubles, corners: Doubles, line: Timeline) -> tuple[Ints, Doubles]:
    """Return frames (f,) and boxes (f, 4) interpolated between crops at times (n,) with boxes (n, 4)."""
    at = np.round((times - line.first_at) * line.fps).astype(np.int64) + 1
    frames = np.arange(at[0], at[-1] + 1)
    next_crop = np.clip(np.searchsorted(at, frames), 1, max(1, len(at) - 1))
    if len(at) == 1:
        return at, corners
    is_near = at[next_crop] - at[next_crop - 1] <= BRIDGE_S * line.fps
    kept = (is_near | np.isin(frames, at)) & (frames >= 1)
    boxes = np.stack([np.interp(frames[kept], at, corners[:, edge]) for edge in range(4)], axis=1)
    return frames[kept], boxes
