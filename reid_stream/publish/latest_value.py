"""Keys that are replaced whole, such as the learned topology: the latest value wins, a lost one is soon followed.

`put` never waits: a separate thread writes, and while Redis is away a newer value replaces the older one. What
must not be lost goes through the spool (redis_sink.py) instead.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    import redis

EVERY_S = 5.0
"""Seconds between writes of a value that changes constantly."""
_WAIT_S = 1.0
"""Longest that `close` waits for the last value to be written."""


def topology_key(site: str) -> str:
    """Key of the learned topology: JSON of `match.topology.TopologyState`."""
    return f"reid:{site}:state:topology"


class SideValues:
    """Writes keys of a site that are replaced whole."""

    def __init__(self, client: "redis.Redis") -> None:
        """`client`: not shared, with timeouts; closed by `close`."""
        self._client = client
        self._changed = threading.Condition()
        self._values: dict[str, bytes] = {}
        self._closing = False
        self.written = 0
        self.failed = 0
        """Values that Redis did not accept."""
        self._thread = threading.Thread(target=self._write_all, name="side", daemon=True)
        self._thread.start()

    def put(self, key: str, value: bytes) -> None:
        """Set a key soon."""
        with self._changed:
            self._values[key] = value
            self._changed.notify()

    def close(self) -> None:
        """Write what is left, if Redis serves, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(_WAIT_S)
        self._client.close()

    def _write_all(self) -> None:
        import redis

        # Open the connection at the start, as all others: how many a daemon has does not depend on what it has learned.
        with suppress(redis.RedisError, OSError):
            self._client.ping()
        while True:
            with self._changed:
                while not self._values and not self._closing:
                    self._changed.wait()
                values, self._values = self._values, {}
            if not values:
                return
            for key, value in values.items():
                try:
                    self._client.set(key, value)
                    self.written += 1
                except (redis.RedisError, OSError, ValueError):
                    self.failed += 1


class _Changing(Protocol):
    """A value with a count of its changes."""

    @property
    def version(self) -> int: ...

    def state(self) -> msgspec.Struct: ...


class ChangePublisher:
    """Puts a value whenever it has changed, but not too often; called by the one thread that changes it."""

    def __init__(self, put: Callable[[bytes], None], source: _Changing) -> None:
        """`put`: takes the state of `source` as JSON."""
        self._put, self._source = put, source
        self._put_version = 0
        self._put_at = float("-inf")

    def decided(self, _decisions: Sequence[object], now: float) -> None:
        """Put the value if it is time; a listener to the decisions of identification. `now` in UTC seconds."""
        if self._source.version != self._put_version and not 0 <= now - self._put_at < EVERY_S:
            self.put(now)

    def put_again(self) -> None:
        """Put the value at the next look: Redis has lost it. Any thread may call."""
        self._put_version, self._put_at = -1, float("-inf")

    def put(self, now: float) -> None:
        """Put the value."""
        self._put_version, self._put_at = self._source.version, now
        self._put(msgspec.json.encode(self._source.state()))
