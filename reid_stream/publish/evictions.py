"""Notice that Redis evicts keys (`maxmemory-policy` other than noeviction), so that lost ones are written again."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    import redis

_LOOK_S = 1.0
_RESTORE_S = 60.0
"""Shortest interval between restorations, seconds: keys written again displace others."""
_log = structlog.get_logger(__name__)


class EvictionWatch:
    """The server's count of evicted keys; it counts those of other programs as well."""

    def __init__(self, client: "redis.Redis", clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds."""
        self._client: Any = client
        self._clock = clock
        self._count: int | None = None
        self._looked_at = self._restored_at = float("-inf")
        self._is_due = False

    def has_evicted(self) -> bool:
        """Whether keys were evicted since the last call that returned True; at most once a minute.

        False where the server does not report it (INFO denied or without `evicted_keys`).

        Raises:
            redis.RedisError: Redis does not answer.
        """
        import redis

        now = self._clock()
        if now - self._looked_at >= _LOOK_S:
            self._looked_at = now
            try:
                count = int(self._client.info("stats").get("evicted_keys", 0))
            except redis.exceptions.ResponseError:
                return False
            # A restarted server counts from 0.
            self._is_due |= self._count is not None and count > self._count
            self._count = count
        if not self._is_due or now - self._restored_at < _RESTORE_S:
            return False
        self._is_due, self._restored_at = False, now
        _log.warning("redis_evicted_keys", count=self._count)
        return True
