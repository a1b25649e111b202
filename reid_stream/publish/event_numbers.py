"""Find the numbers used by an earlier daemon: of a run's events, and of global IDs."""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from reid_stream.errors import DECODE_ERRORS
from reid_stream.publish.live_keys import MOST_NUMBER, identity_key, number_of, numbers_key, stream_key
from reid_stream.publish.redis_client import eviction_policy, translated
from reid_stream.publish.spool import Spool
from reid_stream.publish.stream_ids import NOWHERE, Position
from reid_stream.records import GlobalId

if TYPE_CHECKING:
    import redis

_AT_ONCE = 5000
"""Entries per request, a few megabytes."""
_MOST_EVENTS = 10**12
"""More events than a run can have; `sequence` has twelve digits."""
_JUMP = 1_000_000
_log = structlog.get_logger(__name__)


class _Numbered(msgspec.Struct):
    runid: str = ""
    sequence: str = ""


_decoder = msgspec.json.Decoder(_Numbered)


def next_sequence(
    client: "redis.Redis", spool: Spool, *, where: str, site: str, run: str, since: Position = NOWHERE
) -> int:
    """Return the number after the last one that `run` gave an event, on disk or on the stream; 0 where it gave none.

    Reads the stream backwards up to the run's last event, or down to `since` where there is none.

    Raises:
        BrokerError: Redis does not answer or refuses us.
    """
    last = _last(_numbers(_spooled(spool), run))
    last = -1 if last is None else last
    until: Any = "+"
    while until is not None:
        with translated(where):
            entries: Any = client.xrevrange(stream_key(site), max=until, min=str(since), count=_AT_ONCE)
        # The stream holds the events of a run in the order of their numbers.
        found = _last(_numbers((fields.get(b"event", b"") for _, fields in entries), run))
        if found is not None:
            return max(last, found) + 1
        until = f"({entries[-1][0].decode()}" if len(entries) == _AT_ONCE else None
    return last + 1


def _last(numbers: Iterable[int]) -> int | None:
    """Return the highest number, without outliers far beyond all others, which another writer may have forged."""
    last: int | None = None
    for number in sorted(number for number in numbers if number < _MOST_EVENTS):
        if last is not None and number - last > _JUMP:
            break
        last = number
    return last


def _spooled(spool: Spool) -> Iterator[bytes]:
    position = NOWHERE
    while rows := spool.after(position, _AT_ONCE):
        yield from (row.body for row in rows if row.journal is None)
        position = rows[-1].position


def _numbers(bodies: Iterable[bytes], run: str) -> Iterable[int]:
    for body in bodies:
        try:
            read = _decoder.decode(body)
        except DECODE_ERRORS:
            continue
        if read.runid == run and read.sequence.isdecimal():
            yield int(read.sequence)


def highest_given(client: "redis.Redis", site: str) -> int:
    """Return the highest number that Redis knows a global ID of the site was made of; 0 where it knows none.

    Where the key is damaged, or missing on a server that evicts keys, the people's keys and the latest events are read.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    key = numbers_key(site)
    found = _number(client, key)
    if found or (found == 0 and eviction_policy(client) is None):
        return found
    people: Any = client.scan_iter(match=identity_key(site, GlobalId("*")), count=_AT_ONCE)
    numbers = [number_of(name.decode(errors="replace")) for name in people]
    pattern = re.compile(rb'"' + re.escape(site.encode()) + rb'-([0-9]{1,18})"')
    events: Any = client.xrevrange(stream_key(site), count=_AT_ONCE)
    for _, fields in events:
        numbers += [int(number) for number in pattern.findall(fields.get(b"event", b""))]
    taken = max((number for number in numbers if number < MOST_NUMBER), default=0)
    if found is None or taken:
        reason = "no number" if found is None else "missing"
        _log.error("state_key_invalid", key=key, reason=reason, taken=taken)
    return taken


def _number(client: "redis.Redis", key: str) -> int | None:
    """Read a number of ours; 0 where there is none, None where it makes no sense."""
    import redis

    try:
        found: Any = client.get(key)
    except redis.exceptions.ResponseError as error:
        if "WRONGTYPE" in str(error):
            return None
        raise
    if found is None:
        return 0
    number = int(found) if re.fullmatch(rb"[0-9]{1,18}", found) else MOST_NUMBER
    return number if number < MOST_NUMBER else None
