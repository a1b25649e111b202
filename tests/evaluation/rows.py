"""Small truths and predictions, one line per person: camera, person, first frame, last frame, place."""

from collections.abc import Hashable, Iterable

import numpy as np

from reid_stream.evaluation.align import Boxes
from reid_stream.evaluation.stream import Timeline

Row = tuple[str, Hashable, int, int, float]
WIDTH, HEIGHT = 40.0, 80.0


def box(place: float) -> tuple[float, float, float, float]:
    return (place, 10.0, place + WIDTH, 10.0 + HEIGHT)


def boxes(rows: Iterable[Row], cameras: Iterable[str] = ("door", "till")) -> dict[str, Boxes]:
    """Stand people still at a place, from a first to a last frame."""
    published: dict[str, list[tuple[int, Hashable, float]]] = {camera: [] for camera in cameras}
    for camera, who, first, last, place in rows:
        published[camera] += [(frame, who, place) for frame in range(first, last + 1)]
    return {
        camera: Boxes(
            np.asarray([frame for frame, _, _ in here], dtype=np.int64),
            tuple(who for _, who, _ in here),
            np.asarray([box(place) for _, _, place in here], dtype=np.float64).reshape(-1, 4),
        )
        for camera, here in published.items()
    }


TIMELINES = {"door": Timeline(100.0, 10.0), "till": Timeline(100.0, 10.0)}
FPS = {camera: line.fps for camera, line in TIMELINES.items()}
