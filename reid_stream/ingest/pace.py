"""Which frames to use, and which packets to decode at all (pure)."""

TOLERANCE = 0.25
"""Of the wanted interval: how early a frame may be. Covers jitter of timestamps; a 10 fps camera keeps all its frames
at `max_fps: 10`."""
KEY_MARGIN = 1.1
"""Key frames may be this much rarer than wanted frames before all packets are decoded again."""
KEYFRAME_FPS = 1.0
"""At or below this rate key frames alone may do."""


class RateCap:
    """Picks at most `max_fps` frames per second on average, evenly spaced, whatever the camera's own rate."""

    def __init__(self, max_fps: float | None) -> None:
        self._interval_s = 0.0 if max_fps is None else 1.0 / max_fps
        self._due_s: float | None = None

    def wants(self, stream_s: float) -> bool:
        """Whether to use the frame of this time; called once per frame."""
        if not self._interval_s:
            return True
        if self._due_s is None or stream_s < self._due_s - 2 * self._interval_s:
            self._due_s = stream_s  # the first frame, or the time has begun anew
        if stream_s < self._due_s - TOLERANCE * self._interval_s:
            return False
        # From the schedule and not from this frame, so that 25 fps becomes 10 by every second and third in turn.
        self._due_s = max(self._due_s, stream_s - self._interval_s) + self._interval_s
        return True


class KeyframePolicy:
    """Decodes key frames alone where they come often enough for the wanted rate: 10 to 50 times cheaper."""

    def __init__(self, max_fps: float | None) -> None:
        self._longest_s = 0.0 if max_fps is None or max_fps > KEYFRAME_FPS else KEY_MARGIN / max_fps
        self._key_s: float | None = None
        self._steady = 0
        self.keys_only = False

    def wants(self, stream_s: float | None, is_key: bool) -> bool:
        """Whether to decode the packet of this time; called once per packet, in order."""
        if not self._longest_s or stream_s is None:
            return True
        if is_key:
            gap = None if self._key_s is None else stream_s - self._key_s
            self._key_s = stream_s
            self._steady = self._steady + 1 if gap is not None and 0 < gap <= self._longest_s else 0
            self.keys_only = self._steady >= 2
            return True
        # Skipped packets cannot be decoded later: after a long wait the next key frame is the first that can be used.
        return not self.keys_only
