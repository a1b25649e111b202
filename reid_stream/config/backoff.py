"""The retry policy of cameras, child processes, the embedded Redis and the event sender: backoff, and its reset (pure).

Exponential backoff with "equal jitter" (Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015): half
of each wait is fixed, so that a dead camera is not hammered; half is random, so that cameras that failed together, with
their switch, do not come back together.
"""

from collections.abc import Callable

RESET_S = 10.0
"""A child process, an embedded Redis or a sender must have worked at least this long (or `max_s`, if that is less) to
reset its backoff, seconds. Connections of cameras pass 0."""


class RetryPolicy:
    """Waits between attempts of one camera, process or worker.

    The waits double with each failure in a row, up to `max_s`. They reset to `first_s` after a run that worked for more
    than twice the wait before it and more than `reset_s`: whatever fails again right after its start keeps backing off,
    and whatever works most of the time is retried at once.
    """

    def __init__(self, first_s: float, max_s: float, random: Callable[[], float], *, reset_s: float = RESET_S) -> None:
        """Start with no failures.

        Args:
            first_s: full wait after the first failure, seconds.
            max_s: longest full wait, seconds.
            random: uniform in [0, 1); of a generator of its own, since the global one belongs to the program around.
            reset_s: a run must have worked longer to reset the backoff, seconds. Connections of cameras pass 0, so that
                a camera that drops often is retried quickly.
        """
        if not 0 < first_s <= max_s:
            raise ValueError(f"waits must satisfy 0 < first_s <= max_s, got {first_s} and {max_s}")
        self._first_s, self._max_s, self._random = first_s, max_s, random
        self._reset_s = min(reset_s, max_s)
        self._failures = 0
        self._waited_s = 0.0

    def next_wait_s(self, worked_s: float, *, is_slow: bool = False) -> float:
        """Return the seconds to wait after a failure.

        Args:
            worked_s: how long the attempt had worked before it failed; 0 if it never did.
            is_slow: wait for about `max_s` from the first failure on (a refused password: many cameras lock a user out
                after a few attempts).
        """
        if worked_s > max(2 * self._waited_s, self._reset_s):
            self._failures = 0
        self._failures += 1
        # The exponent is capped where any wait has long reached max_s: 2.0**1024 would overflow after days of failures.
        full_s = self._max_s if is_slow else min(self._max_s, self._first_s * 2.0 ** min(self._failures - 1, 60))
        self._waited_s = full_s * (0.5 + 0.5 * self._random())
        return self._waited_s
