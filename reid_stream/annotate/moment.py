"""One frame of one camera with its people, as `sv.Detections` of the supervision package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from reid_stream.events import Event
from reid_stream.images import UInt8
from reid_stream.records import Box, CameraId, Frame, GlobalId, Observation, Sighting

if TYPE_CHECKING:
    import supervision as sv

BoxLabel = tuple[Box, GlobalId, str]
"""A box, its person, and that person's name, empty if there is none."""


@dataclass(frozen=True, eq=False)
class Moment:
    """One frame of one camera and who is in it."""

    source: Frame
    """The frame as the detector saw it, RGB."""
    sightings: Sequence[Sighting]
    """Boxes of the people who are identified."""
    waiting: Sequence[Observation]
    """Boxes of the people who are tracked but not identified yet; identification takes a few vectors of a track."""
    events: Sequence[Event]
    """Identity events of the whole site since the previous moment."""

    @property
    def camera(self) -> CameraId:
        """ID of the camera."""
        return self.source.camera

    @property
    def at(self) -> float:
        """Capture time, UTC seconds; files start at 2024-01-01T00:00:00Z."""
        return self.source.captured_at

    @cached_property
    def frame(self) -> UInt8:
        """(h, w, 3) BGR, as OpenCV and supervision expect; a copy that may be drawn on."""
        return np.asarray(cv2.cvtColor(self.source.pixels, cv2.COLOR_RGB2BGR), dtype=np.uint8)

    @cached_property
    def people(self) -> "sv.Detections":
        """People with a global ID.

        `tracker_id` is the number of the global ID, the same on all cameras; `data` holds `global_id`, `state`,
        `probability` (NaN for a new identity) and `track`, the track's number in its camera.
        """
        seen = [one.observation for one in self.sightings]
        found = detections([one.box for one in seen], [one.person for one in self.sightings], [o.score for o in seen])
        found.data["state"] = np.array([one.state for one in self.sightings], dtype=str)
        found.data["probability"] = np.array(
            [np.nan if one.probability is None else one.probability for one in self.sightings], dtype=np.float64
        )
        found.data["track"] = np.array([one.track for one in seen], dtype=np.int64)
        return found

    @cached_property
    def unidentified(self) -> "sv.Detections":
        """People without a global ID yet; `tracker_id` is the track's number in its camera."""
        boxes = [one.box for one in self.waiting]
        return _detections(boxes, [one.score for one in self.waiting], [int(one.track) for one in self.waiting], {})


def detections(boxes: Sequence[Box], people: Sequence[GlobalId], scores: Sequence[float]) -> "sv.Detections":
    """Return boxes of identified people, with `tracker_id` and `data["global_id"]`."""
    numbers = [number_of(person) for person in people]
    return _detections(boxes, scores, numbers, {"global_id": np.array(people, dtype=str)})


def number_of(person: GlobalId) -> int:
    """Return the number of a global ID: 7 of `shop-7`."""
    return int(person.rpartition("-")[2])


def _detections(
    boxes: Sequence[Box], scores: Sequence[float], numbers: Sequence[int], data: Mapping[str, Any]
) -> "sv.Detections":
    import supervision as sv  # heavy

    return sv.Detections(
        xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        confidence=np.array(scores, dtype=np.float32),
        class_id=np.zeros(len(boxes), dtype=np.int64),
        tracker_id=np.array(numbers, dtype=np.int64),
        data=dict(data),
    )
