"""The time base of a site: seconds that pass evenly, whatever is done to the system's clock.

Capture times, tracks, visits and rates run on site time: UTC as it was when the daemon started, continued by a clock
that cannot be set. When the system's clock is set (NTP after a boot, an operator, a restored virtual machine), site
time runs on, so no visit ends and no frame is lost by it; only the shift from site time to UTC changes, which is added
where times leave the daemon. The processes of a daemon share one time base: the steady clock is that of the machine.
"""

import threading
import time
from collections.abc import Callable

STEP_S = 0.1
"""Smallest change of the system's clock against the steady one that counts as a step, seconds."""


def steady_s() -> float:
    """Return seconds of a clock that is never set and, where the system has one, also counts while it is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SiteClock:
    """Site time and its shift to UTC; any thread may ask."""

    def __init__(
        self,
        utc: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady_s,
        base_s: float | None = None,
    ) -> None:
        """Start at the present UTC, or join the time base of another process.

        Args:
            utc: the system's clock, which may be set at any time; seconds.
            steady: a clock that is never set; seconds.
            base_s: `base_s` of the clock to join.
        """
        self._utc, self._steady = utc, steady
        self.base_s = utc() - steady() if base_s is None else base_s
        """Site time less the steady clock."""
        self._looking = threading.Lock()
        self._shift_s = 0.0
        if base_s is not None:
            self.detect_step()

    def now(self) -> float:
        """Return site time, seconds; never goes back."""
        return self._steady() + self.base_s

    def utc(self) -> float:
        """Return UTC, seconds, as the system's clock counts it since the last `detect_step`."""
        return self.to_utc(self.now())

    def shift_s(self) -> float:
        """Return UTC less site time, seconds, as of the last `detect_step`."""
        return self._shift_s

    def detect_step(self) -> float:
        """Compare with the system's clock; return by how much it has been set forward since the last call, else 0."""
        with self._looking:
            by_s = self._utc() - self.now() - self._shift_s
            if abs(by_s) <= STEP_S:
                return 0.0
            self._shift_s += by_s
            return by_s

    def to_utc(self, site_s: float) -> float:
        """Convert site time to UTC as the system's clock counts it now."""
        return site_s + self._shift_s

    def to_site(self, utc_s: float) -> float:
        """Convert UTC, as the system's clock counts it now, to site time."""
        return utc_s - self._shift_s
