"""Distinguish lasting steps of a stream's timestamps from single wrong ones (pure).

A camera that was restarted behind a proxy, or whose clock was set, goes on with other timestamps: a step, after which
all that was learned from the earlier ones is void. A single frame stamped hours off is only wrong. Neither is lateness,
which never turns stream time back.
"""

BACK_S = 1.0
"""Timestamps go back by less where frames are sent in another order than they are shown."""
FORWARD_S = 10.0
"""Timestamps may run ahead of the time that passed by so much: packets that were held up come all at once."""
CONFIRM = 3
"""Packets in a row on the new timestamps that make a step."""


class StreamSteps:
    """Detector of steps for the packets of one connection."""

    def __init__(self) -> None:
        self._last_s: float | None = None
        self._arrived_at = 0.0
        self._candidate_s: float | None = None
        self._confirmed = 0
        self.count = 0
        """Steps so far."""

    def trusted(self, stream_s: float | None, arrived_at: float) -> float | None:
        """Return the timestamp if it can be used, none if it may be wrong.

        Args:
            stream_s: timestamp, seconds; none where the packet has none.
            arrived_at: seconds on a steady clock.
        """
        if stream_s is None:
            return None
        if self._last_s is None or self._follows(stream_s, self._last_s, arrived_at - self._arrived_at):
            self._candidate_s = None
        else:
            is_next = self._candidate_s is not None and self._follows(stream_s, self._candidate_s, 0.0)
            self._candidate_s, self._confirmed = stream_s, self._confirmed + 1 if is_next else 1
            if self._confirmed < CONFIRM:
                return None
            self._candidate_s = None
            self.count += 1
        self._last_s, self._arrived_at = stream_s, arrived_at
        return stream_s

    @staticmethod
    def _follows(stream_s: float, earlier_s: float, passed_s: float) -> bool:
        return -BACK_S <= stream_s - earlier_s <= passed_s + FORWARD_S
