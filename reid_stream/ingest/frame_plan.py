"""Predict which images the rate cap will not use, before they are decoded (pure).

Packets come in the order of decoding, the cap chooses among images in the order they are shown. So the cap is run ahead
over the times of the packets whose images have not come yet. A decoder may leave out an image that will not be used if
no other image refers to it; only the decoder knows that.
"""

import bisect
import copy
from dataclasses import dataclass, field

from reid_stream.ingest.rate_limit import RateCap

_MOST_WAITING = 64
"""Packets remembered: more than any decoder holds back."""


@dataclass(order=True, slots=True)
class _Waiting:
    stream_s: float
    is_needed: bool = field(compare=False)


class FramePlan:
    """The packets of one connection whose images have not come out of the decoder."""

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
