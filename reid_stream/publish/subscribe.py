"""Typed client: `for event in subscribe(url, site="shop"): ...`.

Reads the stream of a site and yields each event once, in order; reconnects and continues where it was. Keep
`event.position` and start there next time, and nothing is missed between two runs of your program. A stream that was
deleted, or comes back with lower IDs, is read from its new start (`restarts`).
"""

import time
from collections import deque
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import structlog

from reid_stream.config.settings import EMBEDDED
from reid_stream.config.settings import Redis as RedisSettings
from reid_stream.errors import BrokerError, ConfigError
from reid_stream.events import EVENT_TYPES, PREFIX, Event
from reid_stream.publish.cloudevents import Envelope, UnknownEvent, decode
from reid_stream.publish.live_keys import stream_key
from reid_stream.publish.redis_client import TIMEOUT_S, cause, check, connect, stream_entries, translated
from reid_stream.publish.sequence_log import SequenceLog
from reid_stream.publish.stream_ids import NOWHERE, Position, start_of

if TYPE_CHECKING:
    import redis

_PAGE = 500
_POLL_S = 2.0
"""Longest time in one blocking read, so that a dead connection is noticed, and a stream that was deleted."""
_RETRY_S = 0.5
_REMEMBERED = 4096
_log = structlog.get_logger(__name__)


class Received(Envelope, frozen=True, kw_only=True):
    """An event from the stream."""

    position: str
    """Position on the stream; pass it as `start` to continue behind it."""
    body: str
    """The CloudEvents JSON as it came."""


def subscribe(
    url: str = "redis://127.0.0.1:6379/0",
    *,
    site: str = "site",
    start: str | datetime = "$",
    types: Collection[str] = (),
    cameras: Collection[str] = (),
    block_s: float | None = None,
    settings: RedisSettings | None = None,
) -> "Subscription":
    """Follow the events of a site.

    Args:
        url: of the Redis that the daemon writes to, as in cams.yaml; `embedded`: the one in the user's data folder.
        start: `$` from now on, `0` all that is kept, a position to continue behind, or a time (ISO text or datetime).
        types: only these, such as `identity.entered`, `identity` (all of them) or `identity.entered.v1`; empty for all.
        cameras: only events that name one of these; empty for all.
        block_s: seconds without an event after which the iterator ends; 0 reads what is there, None never ends.
        settings: user, password or password file where the URL has none.

    Raises:
        ConfigError: the URL, the start or a type makes no sense.
        BrokerError: Redis cannot be reached now, or the key is no stream; later on either is waited for. No embedded
            Redis runs for the site.
    """
    if url == EMBEDDED:
        from reid_stream.publish.embedded_redis import default_directory, running_url  # with all of the server's part

        url = running_url(default_directory(site))
    return Subscription(
        connect(settings or RedisSettings(), url=url, timeout_s=TIMEOUT_S + _POLL_S),
        where=url,
        site=site,
        start=start.isoformat() if isinstance(start, datetime) else start,
        types=types,
        cameras=cameras,
        block_s=block_s,
    )


class Subscription:
    """An iterator over events; one thread at a time."""

    def __init__(
        self,
        client: "redis.Redis",
        *,
        where: str,
        site: str,
        start: str,
        types: Collection[str],
        cameras: Collection[str],
        block_s: float | None,
    ) -> None:
        self.restarts = 0
        """Times that the stream was deleted, or came back with lower IDs than it had."""
        self.restarted_behind = NOWHERE
        """Position behind which the stream was read on at its last restart; an entry before it is still there."""
        self.malformed = 0
        """Entries that are no events; skipped."""
        self._client = client
        self._key = stream_key(site)
        self._types = tuple(_short(name) for name in types)
        self._cameras = frozenset(cameras)
        self._block_s = block_s
        self._page: Iterator[tuple[bytes, dict[bytes, bytes]]] = iter(())
        self._sequences = SequenceLog()
        self._read_at: deque[tuple[Position, int]] = deque(maxlen=_REMEMBERED)
        """Entries that were read last: position, hash of the body."""
        self._is_away = self._has_read = False
        # A time may be in the future; a position was an entry's.
        self._was_there = start == "$" or _is_position(start)
        check(client, where)
        with translated(where):
            self._position = self._end() if start == "$" else _start(start)

    @property
    def missed(self) -> int:
        """Events that the stream no longer had when they were due, by the gaps in `sequence`."""
        return self._sequences.missed

    @property
    def position(self) -> str:
        """Position behind which the next entry is read."""
        return str(self._position)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Received:
        quiet_since = time.monotonic()
        while True:
            for entry, fields in self._page:
                self._position, self._was_there = Position.parse(entry.decode()), True
                self._read_at.append((self._position, hash(fields.get(b"event"))))
                event = self._read(fields)
                if event is not None:
                    return event
                quiet_since = time.monotonic()
            left = None if self._block_s is None else self._block_s - (time.monotonic() - quiet_since)
            page = self._next_page(left)
            if page:
                self._page = iter(page)
            elif self._has_restarted():
                continue
            elif left is not None and left <= 0:
                raise StopIteration

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next_page(self, left_s: float | None) -> list[tuple[bytes, dict[bytes, bytes]]]:
        import redis

        wait_s = _POLL_S if left_s is None else min(left_s, _POLL_S)
        # BLOCK 0 would wait without end.
        block = {"block": max(int(wait_s * 1000), 1)} if wait_s > 0 else {}
        try:
            answer: Any = self._client.xread({self._key: self.position}, count=_PAGE, **block)
        except (redis.exceptions.RedisError, OSError) as error:
            if "WRONGTYPE" in str(error) and not self._has_read:
                raise BrokerError(self._reason(error)) from None
            if not self._is_away:
                _log.warning("redis_away", reason=self._reason(error))
            self._is_away = True
            self._client.connection_pool.disconnect()
            time.sleep(_RETRY_S if left_s is None else max(min(left_s, _RETRY_S), 0))
            return []
        self._has_read = True
        if self._is_away:
            _log.info("redis_back", waiting=0)
            self._is_away = False
        return stream_entries(answer)

    def _reason(self, error: Exception) -> str:
        if "WRONGTYPE" in str(error):
            return f"{self._key} must be a stream, found another type; rename or delete it"
        return cause(error)

    def _has_restarted(self) -> bool:
        """Check whether the stream ends before the present position; continue from its new start if it does."""
        import redis

        if not self._was_there or self._is_away:
            return False
        try:
            end = self._end()
            if end >= self._position:
                return False
            before, self._position = self._position, self._last_common(end)
        except redis.exceptions.NoPermissionError:
            return False
        except (redis.exceptions.RedisError, OSError):
            return False  # the next read reports it
        self.restarts, self.restarted_behind = self.restarts + 1, self._position
        _log.warning("stream_restarted", stream=self._key, was=str(before), end=str(end), position=self.position)
        return True

    def _last_common(self, end: Position) -> Position:
        """Return the last entry that was read and is there still, as after a fail-over; the first of all for none."""
        for position, body in reversed(self._read_at):
            if position <= end:
                found = stream_entries([[b"", self._client.xrange(self._key, str(position), str(position))]])
                if found and hash(found[0][1].get(b"event")) == body:
                    return position
                break
        return NOWHERE

    def _read(self, fields: dict[bytes, bytes]) -> Received | None:
        try:
            body = fields[b"event"].decode()
            event = decode(body)
        except (KeyError, ValueError) as error:
            self.malformed += 1
            _log.warning("event_invalid", position=self.position, reason=str(error))
            return None
        if not self._sequences.is_new(event.run, event.sequence, fields[b"event"]):
            # Delivered before: Redis lost an end of the stream, and the daemon sent it again.
            return None
        if self._types and not any(_is_of(event.type, wanted) for wanted in self._types):
            return None
        if self._cameras and _camera(event.data) not in self._cameras:
            return None
        attributes = {name: getattr(event, name) for name in Envelope.__struct_fields__}
        return Received(**attributes, position=self.position, body=body)

    def _end(self) -> Position:
        import redis

        try:
            answer = self._client.xinfo_stream(self._key)
        except redis.exceptions.ResponseError as error:
            if "no such key" in str(error):
                return NOWHERE
            raise
        return Position.parse(answer["last-generated-id"].decode())


def _is_position(text: str) -> bool:
    try:
        return Position.parse(text) > NOWHERE
    except ValueError:
        return False


def _start(text: str) -> Position:
    try:
        return start_of(text)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _short(name: str) -> str:
    short = name.removeprefix(PREFIX)
    if not any(_is_of(PREFIX + event.type, short) for event in EVENT_TYPES):
        known = ", ".join(event.type.rpartition(".")[0] for event in EVENT_TYPES)
        raise ConfigError(f"an event type must be one of {known}, got {name!r}")
    return short


def _is_of(kind: str, wanted: str) -> bool:
    short = kind.removeprefix(PREFIX)
    return short == wanted or short.startswith(wanted + ".")


def _camera(data: Event | UnknownEvent) -> str | None:
    found = data.fields.get("camera") if isinstance(data, UnknownEvent) else getattr(data, "camera", None)
    return found if isinstance(found, str) else None
