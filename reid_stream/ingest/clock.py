"""Map stream timestamps to site time (pure).

A frame's own timestamp (`stream_s`, seconds from an origin only the camera knows) is precise but not UTC; its arrival
is UTC but late by whatever the network and the decoder's queue held it up. `StreamClock` learns the one number between:

    captured_at = stream_s + offset

- from RTCP, once the camera's sender report has tied its timestamps to its wall clock (quality `rtcp`);
- before that, or without it, from arrivals: the least (arrival - stream_s) of the last seconds belongs to the packet
  that waited least, and a sliding window follows the drift between the two clocks (quality `arrival`).

Times never go back: where a better offset is lower, the camera's time runs at half speed until the two agree again, so
that trackers see short but positive steps.
"""

from collections import deque
from dataclasses import dataclass

from reid_stream.records import ClockQuality

WINDOW_S = 30
"""Arrivals remembered. Crystals differ by up to 100 ppm: 3 ms over the window, far under a frame."""
MAX_LAG_S = 10.0
"""A packet this much later than the best one means that the camera's timestamps restarted, not that it was delayed."""
MAX_SKEW_S = 5.0
"""A camera whose wall clock is farther than this from ours is not synchronised: its time is shown, not used."""
AGREE_S = 0.02
"""Two packets in a row give the same offset of the camera's clock when they differ by less."""
SLEW = 0.5
"""Speed of a camera's time while it waits for a corrected offset."""
SETTLE_S = 10.0
"""Time after which a stream's earliest arrival is trusted, seconds: the first packets of some are a second late."""
STEP_S = 1e-3
"""Least distance of two frames of a camera."""


@dataclass(frozen=True, slots=True)
class CaptureTime:
    """A capture time and its source."""

    at: float
    """UTC seconds."""
    clock: ClockQuality


class StreamClock:
    """Mapping of one live camera, kept over reconnects so that its times continue to rise."""

    def __init__(self, after: float = float("-inf")) -> None:
        """`after`: UTC seconds of the last frame of this camera, if there was one."""
        self._least: deque[tuple[int, float]] = deque()
        """(second of arrival, least arrival - stream_s within it)."""
        self._reported_offset: float | None = None
        self._camera_offset: float | None = None
        self._stream_s: float | None = None
        self._stamped_at: float | None = None
        """Arrival of the newest frame that was stamped."""
        self._at = after
        self.since = float("inf")
        """Arrival of the first packet since the last restart."""
        self.ahead_s = 0.0
        """Seconds that the newest frame was stamped later than by the offset, so that times do not go back."""

    def restart(self) -> None:
        """Forget the mapping: timestamps of a new connection have another origin."""
        self._least.clear()
        self._reported_offset = self._camera_offset = None
        self._stream_s = self._stamped_at = None
        self.since = float("inf")

    def observe(self, stream_s: float | None, arrived_at: float, camera_at: float | None) -> None:
        """Learn from a packet: timestamp, arrival in site time, the camera's wall clock if it sent one (RTCP)."""
        self.since = min(self.since, arrived_at)
        if stream_s is None:
            return
        if camera_at is not None:
            self._tell(camera_at - stream_s)
        offset = arrived_at - stream_s
        second = int(arrived_at)
        known = self._arrival_offset()
        if known is not None and offset - known > MAX_LAG_S:
            self._least.clear()
        while self._least and self._least[0][0] <= second - WINDOW_S:
            self._least.popleft()
        if self._least and self._least[-1][0] == second:
            self._least[-1] = (second, min(offset, self._least[-1][1]))
        else:
            self._least.append((second, offset))

    def _tell(self, camera_offset: float) -> None:
        # Around a report FFmpeg may tie a packet to its neighbour's time: two that agree are used.
        if self._reported_offset is not None and abs(camera_offset - self._reported_offset) < AGREE_S:
            self._camera_offset = camera_offset
        self._reported_offset = camera_offset

    @property
    def skew_s(self) -> float | None:
        """The camera's clock less ours, including the shortest transport delay (so a little below the truth)."""
        known = self._arrival_offset()
        return None if known is None or self._camera_offset is None else self._camera_offset - known

    def beside(self, other: "StreamClock", stream_s: float | None, arrived_at: float) -> float | None:
        """Return the time of an image of this stream on the time base of another one of the same camera, UTC seconds.

        By the camera's wall clock where both streams send it, even if it is far off; else by the arrivals of both,
        which are to be trusted after a while: None before.
        """
        skew, known = other.skew_s, self._arrival_offset()
        if stream_s is not None and skew is not None and self._camera_offset is not None:
            return stream_s + self._camera_offset - (skew if abs(skew) > MAX_SKEW_S else 0.0) + other.ahead_s
        if arrived_at - max(self.since, other.since) < SETTLE_S:
            return None
        if stream_s is None or known is None:
            return arrived_at
        # The other stream's times have no delay if they are by its own clock; the delays of both are about the same.
        less_delay_s = skew if skew is not None and abs(skew) <= MAX_SKEW_S else 0.0
        return stream_s + known + less_delay_s + other.ahead_s

    def stamp(self, stream_s: float | None, arrived_at: float) -> CaptureTime:
        """Return a frame's capture time, later than all earlier ones."""
        clock: ClockQuality = "arrival"
        skew, known, offset = self.skew_s, self._arrival_offset(), self._camera_offset
        if skew is not None and offset is not None and abs(skew) <= MAX_SKEW_S:
            # A single frame without a usable timestamp arrived as fast as the fastest ones.
            at, clock = arrived_at + skew if stream_s is None else stream_s + offset, "rtcp"
        elif stream_s is None or known is None:
            at = arrived_at
        else:
            at = stream_s + known
        passed = 0.0 if stream_s is None or self._stream_s is None else stream_s - self._stream_s
        if at <= self._at and self._stamped_at is not None:
            # Timestamps that go back and forth say little of the time between frames; arrivals do.
            passed = max(passed, arrived_at - self._stamped_at)
        soonest = self._at + STEP_S
        # Slowed down, not stopped; but never ahead of now, as after a burst of buffered packets, nor if our own clock
        # was far ahead and has been put right: then in small steps until the time is caught up with.
        slowed = max(soonest, min(self._at + SLEW * min(max(passed, 0.0), 1.0), arrived_at))
        self.ahead_s = max(0.0, slowed - at)
        at = max(at, slowed)
        self._stream_s, self._stamped_at, self._at = stream_s, arrived_at, at
        return CaptureTime(at, clock)

    def _arrival_offset(self) -> float | None:
        return min((least for _, least in self._least), default=None)


class FileClock:
    """Time of a file that is played from `begins_at` on, repeatedly if it loops."""

    def __init__(self, begins_at: float, period_s: float) -> None:
        """`begins_at`: UTC of its first frame; `period_s`: time between frames, where the file does not say."""
        self._base = begins_at
        self._period_s = period_s
        self._first_s: float | None = None
        self._at: float | None = None

    def stamp(self, stream_s: float | None) -> float:
        """Return the time of the next frame, UTC seconds, later than all earlier ones."""
        if stream_s is not None and self._first_s is None:
            self._first_s = stream_s
        if self._at is None:
            self._at = self._base
        elif stream_s is None or self._first_s is None:
            self._at += self._period_s
        else:
            at = self._base + stream_s - self._first_s
            self._at = at if at > self._at else self._at + STEP_S
        return self._at

    def again(self, no_sooner: float = float("-inf")) -> None:
        """Restart the file one period after its last frame, not before `no_sooner` (UTC) if its end was skipped."""
        self._base = max(no_sooner, self._base if self._at is None else self._at + self._period_s)
        self._first_s = None
        self._at = None
