"""The end of the instruction stream: whether the stream started again, and whether it has room for another entry."""

from typing import TYPE_CHECKING, Any

import structlog

from reid_stream.publish.stream_ids import NOWHERE, Position

if TYPE_CHECKING:
    import redis

_MOST_BYTES = 16 * 1024 * 1024
"""Bytes of entries that a stream without room is written again with; older entries are dropped."""
_PAGE = 100
_log = structlog.get_logger(__name__)


def end_of(client: Any, key: str) -> Position:
    """Return the last ID given on a stream; `NOWHERE` where there is no stream.

    Raises:
        redis.RedisError: Redis does not answer, or the key is of another type.
    """
    import redis

    try:
        return Position.parse(client.xinfo_stream(key)["last-generated-id"].decode())
    except redis.exceptions.ResponseError as error:
        if "no such key" in str(error):
            return NOWHERE
        raise


def make_room(client: "redis.Redis", key: str) -> Position:
    """Replace a stream whose last ID nothing can follow by one of its other entries; return its new end.

    Redis lowers the last ID of a stream by no other way (XSETID refuses an ID below a deleted one). All entries must
    have been read. Nothing is lost in between, since nothing can be added to the old stream.

    Raises:
        redis.RedisError: Redis does not answer, or another client changed the stream meanwhile.
    """
    import redis

    commands: Any
    with client.pipeline(transaction=True) as commands:
        commands.watch(key)
        if not end_of(commands, key).is_last:
            raise redis.exceptions.WatchError("another client has changed the stream")
        kept, dropped = _newest(commands, key)
        commands.multi()
        commands.delete(key)
        for place, fields in kept:
            commands.xadd(key, fields, id=place)
        commands.execute()
    end = Position.parse(kept[-1][0].decode()) if kept else NOWHERE
    _log.warning("instruction_stream_mended", stream=key, end=str(end), kept=len(kept), dropped=dropped)
    return end


def _newest(client: Any, key: str) -> tuple[list[tuple[bytes, dict[bytes, bytes]]], int]:
    """Return the newest entries that leave room behind them, oldest first, and the number of the others."""
    kept: list[tuple[bytes, dict[bytes, bytes]]] = []
    left, upper, dropped = _MOST_BYTES, "+", 0
    while page := client.xrevrange(key, max=upper, count=_PAGE):
        for place, fields in page:
            left -= sum(len(name) + len(value) for name, value in fields.items())
            if left >= 0 and not Position.parse(place.decode()).is_last:
                kept.append((place, fields))
            else:
                dropped += 1
        upper = f"({page[-1][0].decode()}"
    return kept[::-1], dropped
