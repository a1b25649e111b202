"""How much one address may ask: token buckets by what it costs, and a bound on open streams."""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Cost = Literal["request", "login", "search", "change"]
RATES: dict[Cost, tuple[float, float]] = {
    "request": (60.0, 300.0),
    "login": (0.1, 6.0),
    "search": (0.5, 10.0),
    "change": (2.0, 30.0),
}
"""Per second and at once. A page of people is some 60 thumbnails."""
STREAMS, STREAMS_EACH = 64, 8
"""Open event streams, all together and per address."""
_MOST = 10_000
"""Addresses remembered; those that have not asked for longest are forgotten."""


class TooManyError(Exception):
    """An address asks too much."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many requests, wait {wait_s:.0f} s")
        self.wait_s = wait_s


class Limits:
    """Buckets per address and cost; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: OrderedDict[tuple[str, Cost], tuple[float, float]] = OrderedDict()
        """(address, cost) -> tokens left, at (monotonic seconds)."""
        self._streams: Counter[str] = Counter()

    def spend(self, address: str, cost: Cost) -> None:
        """Take a token.

        Raises:
            TooManyError: there is none.
        """
        rate, most = RATES[cost]
        now = time.monotonic()
        with self._lock:
            left, at = self._buckets.pop((address, cost), (most, now))
            left = min(most, left + rate * (now - at))
            is_fine = left >= 1
            self._buckets[address, cost] = (left - is_fine, now)
            while len(self._buckets) > _MOST:
                self._buckets.popitem(last=False)
        if not is_fine:
            raise TooManyError((1 - left) / rate)

    @contextmanager
    def stream(self, address: str) -> Iterator[None]:
        """Hold one of the streams.

        Raises:
            TooManyError: none is free.
        """
        with self._lock:
            if self._streams.total() >= STREAMS or self._streams[address] >= STREAMS_EACH:
                raise TooManyError(10)
            self._streams[address] += 1
        try:
            yield
        finally:
            with self._lock:
                self._streams[address] -= 1
                if not self._streams[address]:
                    del self._streams[address]
