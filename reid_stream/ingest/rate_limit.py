"""Choose the frames to use and the packets to decode (pure)."""

import bisect
import copy
from dataclasses import dataclass, field

TOLERANCE = 0.25
"""Share of an interval a frame may be early. Covers jitter of timestamps; a 10 fps camera keeps all its frames
at `max_fps: 10`."""
KEY_MARGIN = 1.1
"""Key frames may be this much rarer than wanted frames before all packets are decoded again."""
KEYFRAME_FPS = 1.0
"""Frames per second at or below which key frames alone may suffice."""
BEHIND_S = 2.0
"""A decoder this late skips all packets up to a key frame in time."""
_IN_TIME_S = 0.5
_MOST_KEYS = 3
"""Most key frames left out in a row: a stream that stays late is decoded as it is."""
_MOST_WAITING = 64
"""Packets of a `FramePlan`: more than any decoder holds back."""


class RateCap:
    """Picks at most `max_fps` frames per second on average, evenly spaced, whatever the camera's own rate."""

    def __init__(self, max_fps: float | None, phase: float = 0.0) -> None:
        """`phase`: wait for the first frame, in intervals; cameras slowed together should not give theirs together."""
        self._interval_s = 0.0 if max_fps is None else 1.0 / max_fps
        self._phase = phase
        self._due_s: float | None = None
        self._due_by_arrival_s: float | None = None

    @property
    def has_limit(self) -> bool:
        """Whether there is a rate to keep."""
        return self._interval_s > 0

    def change(self, max_fps: float | None) -> None:
        """Change the rate."""
        interval_s = 0.0 if max_fps is None else 1.0 / max_fps
        if self._interval_s:
            longer_s = interval_s - self._interval_s
            self._due_s = None if self._due_s is None else self._due_s + longer_s
            self._due_by_arrival_s = None if self._due_by_arrival_s is None else self._due_by_arrival_s + longer_s
        self._interval_s = interval_s

    def wants(self, stream_s: float, arrived_at: float | None = None) -> bool:
        """Whether to use the frame of this time; called once per frame.

        A frame is due by its timestamp or by its arrival: timestamps that jitter come in time, and frames that a
        network held up have steady timestamps. Each frame that is used counts for both, so neither adds to the rate.

        Args:
            stream_s: the frame's time in seconds.
            arrived_at: seconds on a steady clock; None leaves it to `stream_s` alone.
        """
        if not self._interval_s:
            self._due_s = self._due_by_arrival_s = None
            return True
        if self._due_s is None or stream_s < self._due_s - 2 * self._interval_s:
            # The first frame, or the time has restarted.
            self._due_s = stream_s + self._phase * self._interval_s
        if arrived_at is not None and self._due_by_arrival_s is None:
            self._due_by_arrival_s = arrived_at + self._phase * self._interval_s
        if not self._is_due(stream_s, self._due_s) and not self._is_due(arrived_at, self._due_by_arrival_s):
            return False
        self._due_s = self._next_due_s(stream_s, self._due_s)
        if arrived_at is not None and self._due_by_arrival_s is not None:
            self._due_by_arrival_s = self._next_due_s(arrived_at, self._due_by_arrival_s)
        return True

    def _is_due(self, at: float | None, due_s: float | None) -> bool:
        return at is not None and due_s is not None and at >= due_s - TOLERANCE * self._interval_s

    def _next_due_s(self, at: float, due_s: float) -> float:
        # From the schedule and not from this frame, so that 25 fps becomes 10 by every second and third in turn.
        return max(due_s, at - self._interval_s) + self._interval_s


class KeyframePolicy:
    """Decodes key frames alone where they come often enough for the wanted rate: 10 to 50 times cheaper.

    A decoder that cannot keep up leaves out what lies between it and the next key frame that comes in time.
    """

    def __init__(self, max_fps: float | None) -> None:
        self._longest_s = _longest_s(max_fps)
        self._key_s: float | None = None
        self._steady = 0
        self._left_out = 0
        self._accepted_s = 0.0
        """Lateness at which waiting for a key frame ended; only further lateness counts."""
        self.keys_only = False
        self.is_behind = False

    def change(self, max_fps: float | None) -> None:
        """Change the wanted rate."""
        self._longest_s = _longest_s(max_fps)

    def wants(self, stream_s: float | None, is_key: bool, late_s: float = 0.0) -> bool:
        """Whether to decode the packet of this time, which is so late; called once per packet, in order."""
        if stream_s is None:
            return True
        if is_key:
            gap = None if self._key_s is None else stream_s - self._key_s
            self._key_s = stream_s
            self._steady = self._steady + 1 if gap is not None and 0 < gap <= self._longest_s else 0
            self.keys_only = self._steady >= 2
        if self._waits(is_key, late_s):
            return False
        # Skipped packets cannot be decoded later: after a long wait the next key frame is the first that can be used.
        return is_key or not self.keys_only

    def _waits(self, is_key: bool, late_s: float) -> bool:
        self._accepted_s = min(self._accepted_s, max(late_s, 0.0))  # the first packet after a gap in a file is early
        late_s -= self._accepted_s
        if late_s > BEHIND_S and not self.is_behind:
            self.is_behind, self._left_out = True, 0
        if self.is_behind and is_key:
            if self._left_out >= _MOST_KEYS:
                self._accepted_s += late_s
                late_s = 0.0
            self.is_behind = late_s > _IN_TIME_S
            self._left_out += 1
        return self.is_behind


def _longest_s(max_fps: float | None) -> float:
    return 0.0 if max_fps is None or max_fps > KEYFRAME_FPS else KEY_MARGIN / max_fps


class Lateness:
    """Lateness of a live stream's packets, relative to the earliest ones."""

    _RELAX = 1e-3
    """Seconds per second: clocks drift, and a network path may become permanently longer."""
    _MOST_S = 30.0
    """Lateness beyond which the stream's time has jumped, seconds."""
    _BACK_S = 1.0
    """Most that presentation times go back where frames are sent in another order than they are shown, seconds."""

    def __init__(self) -> None:
        self._least: float | None = None
        self._last_s: float | None = None
        self._late_s = 0.0
        self._at = 0.0

    def of(self, stream_s: float | None, now: float, *, in_order: bool = False) -> float:
        """Return the lateness in seconds.

        Stream time that stands or goes back is no lateness: its packet counts as late as the one before.

        Args:
            stream_s: time of the packet in seconds; none where it has none.
            now: seconds on any steady clock.
            in_order: `stream_s` is the decoding time, which always rises in a stream that is right.
        """
        if stream_s is None:
            return 0.0
        offset = now - stream_s
        has_risen = self._last_s is None or stream_s > self._last_s - (0.0 if in_order else self._BACK_S)
        self._last_s = stream_s
        if not has_risen:
            self._least = offset - self._late_s
        elif self._least is None or offset - self._least > self._MOST_S:
            self._least = offset
        self._least = min(self._least + self._RELAX * (now - self._at), offset) if self._at else offset
        self._at = now
        self._late_s = offset - self._least
        return self._late_s

    def forget(self) -> None:
        """Take the next packet as in time."""
        self._least, self._at, self._late_s = None, 0.0, 0.0


@dataclass(order=True, slots=True)
class _Waiting:
    stream_s: float
    is_needed: bool = field(compare=False)


class FramePlan:
    """Predicts which images the rate cap will not use, before they are decoded.

    Packets come in the order of decoding, the cap chooses among images in the order they are shown. So the cap is run
    ahead over the times of the packets whose images have not come yet. A decoder may leave out an image that will not
    be used if no other image refers to it; only the decoder knows that.
    """

    def __init__(self, *caps: RateCap) -> None:
        """`caps`: an image is used if all of them want it, asked in this order."""
        self._caps = caps
        self._waiting: list[_Waiting] = []
        self._lead_s: float | None = None
        """Time by which the caps run less stream time."""

    def needs(self, stream_s: float) -> bool:
        """Whether the image of this time may be used; called once per packet, in the order of decoding."""
        if not any(cap.has_limit for cap in self._caps):
            self._waiting.clear()
            return True
        if self._lead_s is None:
            return self._wait(stream_s, is_needed=True)
        caps = [copy.copy(cap) for cap in self._caps]
        is_needed = False
        for at in sorted([*(one.stream_s for one in self._waiting), stream_s]):
            is_used = all(cap.wants(at + self._lead_s) for cap in caps)
            if at == stream_s:
                is_needed = is_used
                break
        return self._wait(stream_s, is_needed=is_needed)

    def _wait(self, stream_s: float, *, is_needed: bool) -> bool:
        bisect.insort(self._waiting, _Waiting(stream_s, is_needed))
        del self._waiting[:-_MOST_WAITING]
        return is_needed

    def came(self, stream_s: float) -> list[float]:
        """Return the times of the images that the decoder left out before this one, which has come."""
        before = bisect.bisect_left(self._waiting, stream_s, key=lambda one: one.stream_s)
        left_out = [one.stream_s for one in self._waiting[:before] if not one.is_needed]
        is_known = before < len(self._waiting) and self._waiting[before].stream_s == stream_s
        del self._waiting[: before + is_known]
        return left_out

    def runs_by(self, lead_s: float | None) -> None:
        """Take the time by which the caps run, less stream time, of the newest image; None if it has no timestamp."""
        self._lead_s = self._lead_s if lead_s is None else lead_s

    def forget(self) -> None:
        """Start again: stream time has stepped, or packets were skipped."""
        self._waiting.clear()
        self._lead_s = None
