"""Notice that the clock of the Redis server was set forward, so that keys expired before their time."""

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import redis

_STEP_S = 1.0
"""Smallest step that counts: more than the time between the two clocks' readings."""


class ServerClock:
    """Redis' clock compared with ours, which cannot be set."""

    def __init__(self, client: "redis.Redis") -> None:
        """Send nothing yet."""
        self._client: Any = client
        self._ahead_s: float | None = None

    def is_set_forward(self) -> bool:
        """Return whether it was set forward since the last call; False where the server does not report its time.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        import redis

        try:
            reported = self._client.info("server").get("server_time_usec")
        except redis.exceptions.ResponseError:
            return False
        if not isinstance(reported, int):
            return False
        before, self._ahead_s = self._ahead_s, reported / 1e6 - time.monotonic()
        return before is not None and self._ahead_s - before > _STEP_S
