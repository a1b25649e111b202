"""Count frames of a live camera that never arrived (pure).

Neither RTP nor FFmpeg reports it: a lost packet takes its image along, or leaves one that the decoder drops. What
shows it is the gap that it leaves between the timestamps of its neighbours, in units of the camera's usual step.
"""

from collections import deque
from statistics import mean, median

STEPS = 31
"""Steps whose median is the usual one: robust to every second image of a burst missing, quick to follow a camera that
changes its rate."""
LEAST_STEPS = 8
"""Least steps before the usual one is known."""
MOST_JITTER_S = 0.3
"""A larger step back is one of the camera's clock."""
MOST_S = 10.0
"""A longer gap is an outage, reported as such."""


class FrameGaps:
    """Timestamp steps of one connection."""

    def __init__(self) -> None:
        self._steps: deque[float] = deque(maxlen=STEPS)
        self._last_s: float | None = None

    def missing(self, stream_s: float | None, unusable: int) -> int:
        """Images that never came before the one of this timestamp (seconds).

        Args:
            stream_s: of a whole image; none where the stream has no timestamps.
            unusable: images since the last whole one that came damaged and are counted as such.
        """
        if stream_s is None:
            return 0
        last_s, self._last_s = self._last_s, stream_s
        step = 0.0 if last_s is None else stream_s - last_s
        if not -MOST_JITTER_S <= step <= MOST_S or step == 0:
            return 0
        usual = median(self._steps) if len(self._steps) >= LEAST_STEPS else None
        gap = 0
        if usual is not None and usual > 0:
            # Jitter makes steps shorter by as much as it makes others longer; what is lost makes them longer only.
            shortest = min(self._steps)
            if shortest < usual / 2:
                usual = max(usual, mean(self._steps))  # of few steps that vary as much, the median is no measure
            jitter_s = max(0.0, usual - shortest)
            gap = max(0, round((step - jitter_s) / usual) - 1)
        # Not divided by what is missing: a camera that halves its rate would count as one that loses half.
        self._steps.append(step / (unusable + 1))
        return max(0, gap - unusable)

    def forget(self) -> None:
        """Skip the next step, since frames were left out on purpose."""
        self._last_s = None
