"""Where frames wait for the pipeline: the newest of each camera wins, what it replaces is counted.

So memory holds one frame per camera, and a slow pipeline sees fresh frames, whatever the cameras do.
"""

import threading

from reid_stream.records import CameraId, Frame


class Inbox:
    """Filled by many camera threads, emptied by one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frames: dict[CameraId, Frame] = {}
        self._dropped: dict[CameraId, int] = {}
        self._closed = False

    def put(self, frame: Frame) -> None:
        """Offer a frame; never blocks. After `close` it is ignored."""
        with self._changed:
            if self._closed:
                return
            # Taken out first, so that the order stays that of arrival.
            if self._frames.pop(frame.camera, None) is not None:
                self._dropped[frame.camera] = self._dropped.get(frame.camera, 0) + 1
            self._frames[frame.camera] = frame
            self._changed.notify()

    def take(self, timeout_s: float) -> list[Frame]:
        """Wait for at least one frame and take all that are there, one per camera, the earliest captured first.

        Empty after `timeout_s`, or once closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._closed, timeout_s)
            frames = sorted(self._frames.values(), key=lambda frame: (frame.captured_at, frame.camera))
            self._frames.clear()
        return frames

    def close(self) -> None:
        """Take no more frames and wake the taker."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def dropped(self) -> dict[CameraId, int]:
        """Frames replaced by a newer one before they were taken, per camera."""
        with self._changed:
            return dict(self._dropped)

    def __len__(self) -> int:
        with self._changed:
            return len(self._frames)
