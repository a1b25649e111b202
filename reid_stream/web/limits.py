"""Rate limits per address: token buckets by cost of a request, and a bound on open streams.

An IPv6 address counts as its /64 network, all of which one client may have.
"""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Literal

Cost = Literal["request", "login", "search", "change"]
RATES: dict[Cost, tuple[float, float]] = {
    "request": (60.0, 300.0),
    "login": (0.1, 6.0),
    "search": (0.5, 10.0),
    "change": (2.0, 30.0),
}
"""Tokens per second, and bucket size. A page of people has some 60 thumbnails."""
Stream = Literal["events", "wall"]
STREAMS: dict[Stream, tuple[int, int]] = {"events": (64, 8), "wall": (64, 12)}
"""Open event streams and walls, all together and per address."""
_MOST = 10_000
"""Most addresses remembered; the one without a request for longest is dropped."""


class TooManyError(Exception):
    """An address sent too many requests."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many requests, wait {wait_s:.0f} s")
        self.wait_s = wait_s


def group_of(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ip_network((found, 64), strict=False))


@dataclass(eq=False, slots=True)
class _Stream:
    address: str
    end: Callable[[], None]


class Limits:
    """Buckets per address and cost; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: OrderedDict[tuple[str, Cost], tuple[float, float]] = OrderedDict()
        """(address, cost) -> tokens left, at (monotonic seconds)."""
        self._streams: dict[Stream, list[_Stream]] = {kind: [] for kind in STREAMS}
        """The oldest first."""

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
    def stream(self, address: str, end: Callable[[], None], kind: Stream = "events") -> Iterator[None]:
        """Hold one of the streams of a kind.

        Where all are taken, one of the address with most of them gives way, unless this one would have as many.

        Args:
            address: who asks.
            end: ends this stream, called by any thread when it has to give way.
            kind: what is streamed.

        Raises:
            TooManyError: none is free.
        """
        stream, streams = _Stream(address, end), self._streams[kind]
        with self._lock:
            ended = _make_room(address, streams, *STREAMS[kind])
            if ended is not None:
                streams.remove(ended)
            streams.append(stream)
        if ended is not None:
            ended.end()
        try:
            yield
        finally:
            with self._lock:
                if stream in streams:
                    streams.remove(stream)

    def count(self, kind: Stream) -> int:
        """Return the number of open streams of a kind."""
        return len(self._streams[kind])


def _make_room(address: str, streams: list[_Stream], most: int, each: int) -> _Stream | None:
    """Return the stream that has to give way to one more of an address; None where there is room."""
    counts = Counter(stream.address for stream in streams)
    if counts[address] >= each:
        raise TooManyError(10)
    if len(streams) < most:
        return None
    largest = max(counts, key=lambda one: counts[one])
    if counts[largest] <= counts[address] + 1:
        raise TooManyError(10)
    return next(stream for stream in streams if stream.address == largest)
