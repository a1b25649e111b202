"""Repair what a host's Redis user can do to the keys of a link beyond sending: Redis has no rights that fine."""

from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    import redis

_LAST = 2**64 - 1
_ROOM = 2**32
"""Least number of IDs behind the last one of a stream."""
_MOST_EPOCH = 2**61
"""Largest epoch: hosts add 1 at each start, and Redis counts to 2^63."""
_log = structlog.get_logger(__name__)


def replace_full(client: "redis.Redis", key: str) -> bool:
    """Delete an empty stream whose last ID leaves no room for others, so that it starts again; return whether it did.

    One entry with the highest ID there is suffices for that. Nothing is lost: nothing can be added before.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    import redis

    commands: Any
    with client.pipeline(transaction=True) as commands:
        commands.watch(key)
        try:
            found = commands.xinfo_stream(key)
        except redis.exceptions.ResponseError as error:
            if "no such key" in str(error):
                return False
            raise
        milliseconds, _, number = found["last-generated-id"].decode().partition("-")
        if found["length"] or int(milliseconds) < _LAST or int(number) < _LAST - _ROOM:
            return False
        commands.multi()
        commands.delete(key)
        try:
            commands.execute()
        except redis.exceptions.WatchError:  # another client changed it: the next look decides
            return False
    _log.warning("host_stream_mended", stream=key)
    return True


def repair_epochs(client: Any, key: str, taken: dict[str, int]) -> None:
    """Count the epochs of cameras from 0 again where they leave no room for others, and on where Redis has lost some.

    An epoch below one that was taken would be late for ever: a fail-over can lose the latest.

    Args:
        client: Redis.
        key: hash of the epochs given.
        taken: epochs up to which records were taken; changed too.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    given = {name.decode(errors="replace"): int(epoch) for name, epoch in client.hgetall(key).items()}
    for camera in {*given, *taken}:
        if max(given.get(camera, 0), taken.get(camera, 0)) > _MOST_EPOCH:
            client.hset(key, camera, 0)
            taken[camera] = 0
            _log.warning("camera_epoch_mended", camera=camera)
        elif (behind := taken.get(camera, 0) - given.get(camera, 0)) > 0:
            client.hincrby(key, camera, behind)
            _log.warning("camera_epoch_mended", camera=camera)
