"""Frames of a made-up camera, with what moves in them, for tests of the gate."""

from collections.abc import Sequence

import numpy as np

from reid_stream.detect.followed import NO_TRACKS, Followed
from reid_stream.records import CameraId, Detections, Floats, Frame, Tracks

SIZE = 640, 360
DOOR = CameraId("door")
_IMAGE = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)


def boxes(*rows: Sequence[float]) -> Floats:
    return np.array(rows, np.float32).reshape(-1, 4)


def frame(at: float, *moving: Sequence[float], camera: str = DOOR, is_known: bool = True) -> Frame:
    return Frame(CameraId(camera), 0, at, "file", _IMAGE, boxes(*moving) if is_known else None)


def walking(
    at: float, *, people: int = 1, speed: float = 20.0, looks: int = 5, step_s: float = 0.1, jitter: float = 0.0
) -> Followed:
    """What is known after the detection at `at` of people who walk to the right, 150 px apart from one another."""
    followed = NO_TRACKS
    random = np.random.default_rng(1)
    for look in range(looks):
        seen_at = at - (looks - 1 - look) * step_s
        left = 100 + 150 * np.arange(people) - speed * (at - seen_at) + random.normal(0, 1, people) * jitter
        where = np.stack([left, np.full(people, 100), left + 40, np.full(people, 200)], axis=1).astype(np.float32)
        scores = np.full(people, 0.9, np.float32)
        tracks = Tracks(DOOR, seen_at, where, scores, np.arange(people), 0, ())
        followed = followed.after(tracks, Detections(where, scores))
    return followed
