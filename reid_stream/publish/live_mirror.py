"""Notice that Redis lost live keys, and keep them in memory, as the sent commands leave them, to write them again."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    import redis

Command = tuple[str | float | bytes, ...]
"""A Redis command and its arguments."""
_Value = str | float | bytes
_SWEEP = 1000
_LOOK_S = 1.0
_RESTORE_S = 60.0
"""Shortest interval between restorations, seconds: keys written again displace others."""
_log = structlog.get_logger(__name__)


class LiveMirror:
    """Strings, sets and hashes by key."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, for keys that expire."""
        self._clock = clock
        self._strings: dict[str, _Value] = {}
        self._sets: dict[str, set[_Value]] = {}
        self._hashes: dict[str, dict[_Value, _Value]] = {}
        self._expiring: dict[str, float] = {}
        self._applied = 0

    def load(self, hashes: Mapping[str, Mapping[_Value, _Value]]) -> None:
        """Take hashes that Redis has already; those known here are newer."""
        for key, fields in hashes.items():
            self._hashes.setdefault(key, dict(fields))

    def apply(self, commands: Iterable[Command]) -> None:  # noqa: C901 (one case per command)
        """Note what commands of `LiveState` did."""
        for name, named, *rest in commands:
            key = str(named)
            match name:
                case "SET":
                    self._strings[key] = rest[0]
                case "DEL":
                    self._drop(key)
                case "SADD":
                    self._sets.setdefault(key, set()).update(rest)
                case "SREM":
                    self._sets.get(key, set()).difference_update(rest)
                case "HSET":
                    self._hashes.setdefault(key, {}).update(zip(rest[::2], rest[1::2], strict=True))
                case "HSETNX":
                    self._hashes.setdefault(key, {}).setdefault(rest[0], rest[1])
                case "HDEL":
                    for field in rest:
                        self._hashes.get(key, {}).pop(field, None)
                case "PERSIST":
                    self._expiring.pop(key, None)
                case "EXPIRE":
                    self._expiring[key] = self._clock() + float(rest[0])
                case _:
                    raise ValueError(f"a command of the live keys must be known to the mirror, got {name!r}")
            self._applied += 1
        if self._applied >= _SWEEP:
            self._applied = 0
            self._sweep()

    def keys(self) -> set[str]:
        """Return all keys that are there."""
        self._sweep()
        sets = {key for key, members in self._sets.items() if members}
        hashes = {key for key, fields in self._hashes.items() if fields}
        return sets | hashes | set(self._strings)

    def commands(self) -> list[Command]:
        """Give the commands that write all keys from nothing."""
        self._sweep()
        now = self._clock()
        found: list[Command] = [("DEL", key) for key in sorted(self.keys() - set(self._strings))]
        found += [("SADD", key, *sorted(members, key=str)) for key, members in self._sets.items() if members]
        for key, fields in self._hashes.items():
            if fields:
                found.append(("HSET", key, *[part for pair in fields.items() for part in pair]))
        found += [("EXPIRE", key, max(int(end - now), 1)) for key, end in self._expiring.items()]
        return [*found, *(("SET", key, value) for key, value in self._strings.items())]

    def _drop(self, key: str) -> None:
        for kept in (self._sets, self._hashes, self._strings, self._expiring):
            kept.pop(key, None)

    def _sweep(self) -> None:
        now = self._clock()
        for key in [key for key, end in self._expiring.items() if end <= now]:
            self._drop(key)


class EvictionWatch:
    """Notices evicted keys (`maxmemory-policy` other than noeviction) by the server's count of all keys."""

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
