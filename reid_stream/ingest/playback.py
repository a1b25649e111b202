"""Pace of frames: live as they arrive; from a file at the file's own rate."""

import threading
import time
from collections.abc import Sequence

from reid_stream.config import settings as config
from reid_stream.ingest.clock import MAX_SKEW_S, SLEW, CaptureTime, FileClock, StreamClock
from reid_stream.ingest.frame_loss import MOST_JITTER_S, FrameGaps
from reid_stream.ingest.rate_limit import Lateness
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.ingest.stream import DEFAULT_FPS, DecodedPacket, VideoSource

LATE_S = 0.5
"""Frames of a file that are this late are left out, so that a slow machine catches up."""


class LivePlayback:
    """Pace of a live stream: frames are due on arrival."""

    def __init__(self, clock: StreamClock, site_clock: SiteClock) -> None:
        self._clock, self._site = clock, site_clock
        self.arrived_at = 0.0
        """Arrival of the newest packet, site time."""
        self._shift_s = site_clock.shift_s()
        self._camera_shift_s = 0.0
        """Camera's wall clock minus the site time it is mapped to, seconds."""
        self._gaps = FrameGaps()
        self._unusable = 0
        self._steps = 0
        self._last: tuple[float, float] | None = None
        """(seconds by `when`, arrival) of the last frame whose timestamp can be used."""
        self._lateness = Lateness()
        clock.restart()

    @property
    def skew_s(self) -> float | None:
        """The camera's wall clock minus the system's, where it is known."""
        skew_s = self._clock.skew_s
        return None if skew_s is None else skew_s + self._camera_shift_s - self._shift_s

    def late_s(self, stream_s: float | None, decode_s: float | None, steps: int) -> float:
        """Return how much later a packet arrives than the earliest ones since the last of so many steps, seconds."""
        if steps != self._steps:
            self._lateness.forget()
        if decode_s is not None:
            return self._lateness.of(decode_s, time.monotonic(), in_order=True)
        return self._lateness.of(stream_s, time.monotonic())

    def note_packet(self, packet: DecodedPacket, steps: int) -> bool:
        """Update the clocks from a packet; return True if the system's clock was set since the last one."""
        self.arrived_at = self._site.now()
        if steps != self._steps:
            self._steps = steps
            self._clock.restart()
            self._gaps.forget()
        self._site.detect_step()
        has_stepped = self._site.shift_s() != self._shift_s
        self._shift_s = self._site.shift_s()
        self._clock.observe(packet.stream_s, self.arrived_at, self._in_site_time(packet.camera_at))
        return has_stepped

    def _in_site_time(self, camera_at: float | None) -> float | None:
        """Convert the camera's wall clock to site time.

        Cameras that agreed with our clock before it was set wrong are kept as they were; cameras that agree since it
        was set right are converted by the shift.
        """
        if camera_at is None:
            return None
        agrees = abs(camera_at - self.arrived_at) <= MAX_SKEW_S
        self._camera_shift_s = 0.0 if agrees else self._shift_s
        return camera_at - self._camera_shift_s

    def missing(self, whole: Sequence[float | None], corrupt: int, *, is_skipped: bool) -> int:
        """Return how many frames never arrived, judged by the timestamps of the whole ones."""
        if is_skipped:
            self._gaps.forget()
        self._unusable += corrupt
        count = 0
        for stream_s in whole:
            if stream_s is None:  # it arrived, with an unusable timestamp
                self._unusable += 1
                continue
            count += self._gaps.missing(stream_s, self._unusable)
            self._unusable = 0
        return count

    def stamp(self, stream_s: float | None) -> CaptureTime:
        """Return a frame's capture time."""
        return self._clock.stamp(stream_s, self.arrived_at)

    def when(self, stream_s: float | None, stamp: CaptureTime) -> float:
        """Return the seconds by which the rate is capped: stream time, continued where a timestamp is missing.

        It runs at half the speed of arrivals where timestamps go back by jitter, as capture times do.
        """
        if self._last is None:
            when = stamp.at if stream_s is None else stream_s
        else:
            last_s, passed_s = self._last[0], self.arrived_at - self._last[1]
            if stream_s is None:
                return last_s + passed_s
            went_back = last_s - MOST_JITTER_S <= stream_s <= last_s
            when = last_s + SLEW * max(passed_s, 0.0) if went_back else stream_s
        self._last = None if stream_s is None else (when, self.arrived_at)
        return when

    def wait(self, _at: float) -> bool:
        """Return True: live frames are due on arrival."""
        return True

    def again(self) -> None:
        """Never called: live streams do not loop."""


class FilePlayback:
    """Pace of a file that is played as if it were live."""

    skew_s = None
    """A file has no wall clock."""
    arrived_at = None
    """Nor does it arrive: it is read as it is due."""

    def __init__(
        self, source: VideoSource, camera: config.Camera, stop: threading.Event, site_clock: SiteClock
    ) -> None:
        self._stop, self._now = stop, site_clock.now
        self._clock = FileClock(self._now() + camera.start_after_s, 1.0 / (source.rate or DEFAULT_FPS))
        self._due_less_stream_s: float | None = None

    def late_s(self, stream_s: float | None, _decode_s: float | None, _steps: int) -> float:
        """Return how late a packet is that is decoded now, seconds."""
        if stream_s is None or self._due_less_stream_s is None:
            return 0.0
        return self._now() - (stream_s + self._due_less_stream_s)

    def note_packet(self, _packet: DecodedPacket, _steps: int) -> bool:
        """Return False: a file has no clock."""
        return False

    def stamp(self, stream_s: float | None) -> CaptureTime:
        """Return a frame's capture time."""
        at = self._clock.stamp(stream_s)
        self._due_less_stream_s = None if stream_s is None else at - stream_s
        return CaptureTime(at, "file")

    def when(self, _stream_s: float | None, stamp: CaptureTime) -> float:
        """Return the seconds by which the rate is capped."""
        return stamp.at

    def wait(self, at: float) -> bool:
        """Wait until a frame is due; return False if it is too late to be used."""
        early_s = at - self._now()
        if early_s > 0:
            self._stop.wait(early_s)
        return early_s > -LATE_S

    def again(self) -> None:
        """Restart the file."""
        self._due_less_stream_s = None
        self._clock.again(self._now())
