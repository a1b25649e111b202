"""Which frames are worth a call of the detector: those of cameras where something moves or a person is followed (pure).

A frame is looked at where its image moves or did so within `HOLD_S`, where its camera has open tracks (who stands still
stays), and every `detect.full_every_s` in any case (a person who was there from the start, a model that was wrong).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from reid_stream.detect.motion import MotionDetector
from reid_stream.records import CameraId, Frame

HOLD_S = 1.0
"""Seconds a camera is still looked at after the last motion: a person who pauses at the edge has no track yet."""


class MotionGate:
    """The gate of all cameras of a perception; their frames come in order of time."""

    def __init__(self, full_every_s: float) -> None:
        """Look at each camera at least every `full_every_s` seconds of its own time."""
        self._full_every_s = full_every_s
        self._motion: defaultdict[CameraId, MotionDetector] = defaultdict(MotionDetector)
        self._moved_at: dict[CameraId, float] = {}
        self._looked_at: dict[CameraId, float] = {}

    def __call__(self, frames: Sequence[Frame], open_tracks: Mapping[CameraId, int]) -> list[bool]:
        """Return of each frame whether to detect people in it."""
        return [self._is_due(frame, open_tracks.get(frame.camera, 0)) for frame in frames]

    def forget(self, camera: CameraId) -> None:
        """Drop the state of a camera."""
        for state in (self._motion, self._moved_at, self._looked_at):
            state.pop(camera, None)

    def _is_due(self, frame: Frame, open_tracks: int) -> bool:
        camera, now = frame.camera, frame.captured_at
        if not isinstance(frame.image, np.ndarray):  # on a GPU, where looking costs less than fetching the image
            return True
        if self._motion[camera].moves(frame.image):
            self._moved_at[camera] = now
        since_motion = now - self._moved_at.get(camera, -np.inf)
        since_look = now - self._looked_at.get(camera, -np.inf)  # negative where the clock was put back
        is_due = open_tracks > 0 or since_motion <= HOLD_S or not 0 <= since_look < self._full_every_s
        if is_due:
            self._looked_at[camera] = now
        return is_due
