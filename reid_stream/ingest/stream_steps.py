"""Distinguish lasting steps of a stream's timestamps from single wrong ones (pure).

A camera that was restarted behind a proxy, or whose clock was set, continues with other timestamps: a step, after which
all that was learned from the earlier ones is void. A single frame stamped hours off is only wrong. Neither is lateness,
which never turns stream time back.
"""

from dataclasses import dataclass

BACK_S = 1.0
"""Most that presentation times go back where frames are sent in another order than they are shown, seconds."""
DECODE_BACK_S = 0.1
"""Decoding times never go back in a stream that is right; by less they do in clocks that jitter."""
AHEAD_S = 1.0
"""Most by which timestamps may run ahead of elapsed time, seconds; for a slow camera, `_STEPS_AHEAD` frames."""
_STEPS_AHEAD = 4
FORWARD_S = 10.0
"""Lasting jump ahead, seconds, beyond which it is a step; below, frames may be lost. Also the tolerance before the
interval between frames is known."""
_RELAX = 1e-3
"""Seconds per second by which the least delay known so far rises: clocks drift, and network paths become longer."""
CONFIRM = 3
"""Packets in a row on the new timestamps that make a step."""


@dataclass(frozen=True, slots=True)
class _Packet:
    stream_s: float
    """Presentation time."""
    decode_s: float | None
    arrived_at: float


class StreamSteps:
    """Detector of steps for the packets of one connection."""

    def __init__(self) -> None:
        self._last: _Packet | None = None
        self._interval_s: float | None = None
        """Time between the last two consecutive packets, seconds."""
        self._candidate: _Packet | None = None
        self._confirmed = 0
        self._least_s = float("inf")
        """Least arrival less timestamp since the last step, seconds: of packets that nothing delayed."""
        self.count = 0
        """Steps so far."""

    def trusted(self, stream_s: float | None, arrived_at: float, decode_s: float | None = None) -> float | None:
        """Return the timestamp if it can be used, none if it may be wrong.

        Args:
            stream_s: presentation time in seconds; none where the packet has none.
            arrived_at: seconds on a steady clock.
            decode_s: decoding time in seconds, which sees smaller steps; none where it is unknown.
        """
        if stream_s is None:
            return None
        packet = _Packet(stream_s, decode_s, arrived_at)
        last, candidate = self._last, self._candidate
        if last is None or self._follows(packet, last):
            self._candidate = None
            if last is not None:
                self._interval_s = abs(_passed_s(packet, last)[0])
        else:
            is_next = candidate is not None and self._follows(packet, candidate)
            self._candidate, self._confirmed = packet, self._confirmed + 1 if is_next else 1
            if self._confirmed < CONFIRM:
                return None
            self._candidate = None
            if self._is_step(packet, last):
                self.count, self._least_s = self.count + 1, float("inf")
        passed_s = 0.0 if last is None else max(0.0, arrived_at - last.arrived_at)
        self._least_s = min(self._least_s + _RELAX * passed_s, arrived_at - stream_s)
        self._last = packet
        return stream_s

    def _is_step(self, packet: _Packet, last: _Packet) -> bool:
        """Whether timestamps that jumped are those of another clock, and not of frames that others before are lost."""
        step_s = packet.stream_s - last.stream_s - (packet.arrived_at - last.arrived_at)
        # What comes earlier than anything before it has not overtaken lost frames.
        is_early = packet.arrived_at - packet.stream_s < self._least_s - AHEAD_S
        return is_early or not 0 <= step_s <= FORWARD_S

    def _follows(self, packet: _Packet, earlier: _Packet) -> bool:
        passed_s, back_s = _passed_s(packet, earlier)
        ahead_s = FORWARD_S if self._interval_s is None else max(AHEAD_S, _STEPS_AHEAD * self._interval_s)
        # Two frames never have the same time; a camera whose clock stands is stamped on arrival.
        return passed_s != 0 and -back_s <= passed_s <= packet.arrived_at - earlier.arrived_at + min(ahead_s, FORWARD_S)


def _passed_s(packet: _Packet, earlier: _Packet) -> tuple[float, float]:
    """Return the stream time between two packets, and by how much it may be negative."""
    if packet.decode_s is None or earlier.decode_s is None:
        return packet.stream_s - earlier.stream_s, BACK_S
    return packet.decode_s - earlier.decode_s, DECODE_BACK_S


class FileSteps:
    """Correction of a file's timestamps where they step, as where recordings were joined: it plays on without a wait.

    Gaps up to `FORWARD_S` stay: a camera that records motion alone leaves them.
    """

    def __init__(self) -> None:
        self._last: _Packet | None = None
        self._interval_s = 0.0
        self.shift_s = 0.0
        """Seconds to add to the timestamps of the newest packet."""

    def add(self, stream_s: float | None, decode_s: float | None) -> None:
        """Take the next packet's timestamps, presentation and decoding, in seconds; None where it has none."""
        if stream_s is None:
            return
        packet, last = _Packet(stream_s, decode_s, 0.0), self._last
        self._last = packet
        if last is None:
            return
        passed_s, back_s = _passed_s(packet, last)
        if -back_s <= passed_s <= FORWARD_S:
            self._interval_s = passed_s if passed_s > 0 else self._interval_s
        else:
            self.shift_s += self._interval_s - passed_s
