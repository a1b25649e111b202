"""Queue of frames for the pipeline: only the newest of each camera is kept, replaced ones are counted.

So memory holds one frame per camera, and a slow pipeline sees fresh frames, whatever the cameras do. Where more wait
than can be taken, cameras take turns by start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996): over any span,
cameras that always have a frame are served in proportion to their weights. A frame that has waited too long for its
camera's turn is dropped there, for a camera that is slowed has no newer one to replace it.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from reid_stream.images import Unread
from reid_stream.records import CameraId, Frame

STALE_S = 1.0
"""Age at which a frame is dropped while others wait as well, seconds."""


class Inbox:
    """Filled by many camera threads, emptied by one."""

    def __init__(
        self, weights: Mapping[CameraId, float] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`weights`: how often a camera is served beside others; 1 for those that are not named."""
        self._clock = clock
        self._changed = threading.Condition()
        self._weights = dict(weights or {})
        self._frames: dict[CameraId, Frame] = {}
        self._came: dict[CameraId, float] = {}
        self._dropped: dict[CameraId, int] = {}
        self._turn: dict[CameraId, float] = {}
        """Virtual time at which a camera's last frame was finished."""
        self._virtual = 0.0
        """Virtual time at which the last frame taken started."""
        self._closed = False

    def put(self, frame: Frame) -> None:
        """Offer a frame; never blocks. After `close` it is ignored."""
        with self._changed:
            if self._closed:
                return
            # Removed first, so that the order stays that of arrival.
            before = self._frames.pop(frame.camera, None)
            if before is not None:
                self._dropped[frame.camera] = self._dropped.get(frame.camera, 0) + 1
                if frame.detail is None and not isinstance(frame.image, Unread):
                    # It comes once in many frames, and carries its own time.
                    frame = replace(frame, detail=before.detail)
            self._frames[frame.camera] = frame
            self._came[frame.camera] = self._clock()
            self._changed.notify()

    def take_frames(self, timeout_s: float, most: int | None = None) -> list[Frame]:
        """Wait for at least one frame and take what is there, one per camera, the earliest captured first.

        At most `most`: of those whose turn it is. Empty after `timeout_s`, or once closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._closed, timeout_s)
            if most is not None and len(self._frames) > most:
                self._drop_stale(most)
            # Sorting keeps the order of arrival among equals.
            waiting = sorted(self._frames, key=lambda camera: max(self._turn.get(camera, 0.0), self._virtual))
            chosen = waiting if most is None else waiting[:most]
            for camera in chosen:
                begin = max(self._turn.get(camera, 0.0), self._virtual)
                self._turn[camera] = begin + 1.0 / self._weights.get(camera, 1.0)
                self._virtual = begin
            frames = [self._frames.pop(camera) for camera in chosen]
        return sorted(frames, key=lambda frame: (frame.captured_at, frame.camera))

    def set_weight(self, camera: CameraId, weight: float) -> None:
        """Serve a camera `weight` times as often as one of weight 1."""
        with self._changed:
            self._weights[camera] = weight

    def forget(self, camera: CameraId) -> None:
        """Drop the waiting frame and the state of a camera that is gone."""
        with self._changed:
            for state in (self._frames, self._came, self._dropped, self._turn, self._weights):
                state.pop(camera, None)

    def _drop_stale(self, most: int) -> None:
        """Drop the oldest of more frames than can be taken, as far as they are too old."""
        latest = self._clock() - STALE_S
        for camera in sorted(self._frames, key=lambda camera: self._came[camera])[: len(self._frames) - most]:
            if self._came[camera] >= latest:
                return
            del self._frames[camera]
            self._dropped[camera] = self._dropped.get(camera, 0) + 1

    def close(self) -> None:
        """Take no more frames and wake the taker."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def dropped(self) -> dict[CameraId, int]:
        """Frames replaced by a newer one before they were taken, or too old by then, per camera."""
        with self._changed:
            return dict(self._dropped)

    def __len__(self) -> int:
        with self._changed:
            return len(self._frames)
