"""Whether Redis serves, logged once per change of state and cause, and when to try again."""

import math
import random
import time
from collections import Counter

import structlog

from reid_stream.config import stopping
from reid_stream.config.backoff import RetryPolicy
from reid_stream.publish.redis_client import cause

RETRY_FIRST_S, RETRY_MAX_S = 0.1, 2.0
"""Full waits between attempts to send."""
_log = structlog.get_logger(__name__)


class Outage:
    """The present outage of Redis, if there is one."""

    def __init__(self, faults: Counter[str]) -> None:
        """`faults`: counts attempts that failed, by cause."""
        self.reason: str | None = None
        """Why Redis does not serve; none while it does."""
        self._faults = faults
        self._logged: set[str] = set()
        self._retry = RetryPolicy(RETRY_FIRST_S, RETRY_MAX_S, random.random, reset_s=0.0)
        self._serves_since = math.inf

    def add_fault(self, error: BaseException, *, waiting: int) -> None:
        """Note an attempt that failed while `waiting` events waited."""
        self.reason = cause(error)
        # Details in brackets are too many for a label.
        short = self.reason.partition(" (")[0]
        self._faults[short] += 1
        if short not in self._logged:
            # While the daemon is stopping, an embedded Redis may have been signalled with it.
            log = _log.info if stopping.is_requested() else _log.warning
            log("redis_away", reason=self.reason, waiting=waiting)
        self._logged.add(short)

    def next_wait_s(self) -> float:
        """Return the seconds to wait after an attempt that failed."""
        worked_s = max(0.0, time.monotonic() - self._serves_since)
        self._serves_since = math.inf
        return self._retry.next_wait_s(worked_s)

    def end(self, *, waiting: int) -> None:
        """Note that Redis serves."""
        if self.reason is not None:
            _log.info("redis_back", waiting=waiting)
        self.reason = None
        self._serves_since = min(self._serves_since, time.monotonic())
        self._logged.clear()
