"""The stream of a site: batches added in one transaction with the channel and the live keys, each event once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from reid_stream.events import Event
from reid_stream.publish.cloudevents import UnknownEvent, decode
from reid_stream.publish.live_keys import Command, LiveState, stream_key
from reid_stream.publish.send_queue import Item
from reid_stream.publish.spool import Row
from reid_stream.publish.stream_ids import NOWHERE, Position

if TYPE_CHECKING:
    import redis

_TRIES = 3
"""Of a transaction that a renewal of the lease crossed."""
_log = structlog.get_logger(__name__)


class Fence(Protocol):
    """What must hold at the very moment of a transaction: that the site is ours."""

    key: str
    """Nobody may have changed it between `holds` and the transaction."""

    def holds(self, value: bytes | None) -> None:
        """Look at the key's value.

        Raises:
            Exception: nothing may be sent.
        """
        ...


class EventStream:
    """Commands to Redis; every method raises the library's errors, and none repeats a command."""

    def __init__(
        self,
        client: "redis.Redis",
        site: str,
        *,
        max_events: int,
        keeps_numbers: bool,
        journal: str | None = None,
        fence: Fence | None = None,
    ) -> None:
        """`journal`: key of the stream that entries go to, beside the events."""
        self.key = stream_key(site)
        self.live = LiveState(site, keeps_numbers=keeps_numbers)
        self._client = client
        self._max_events = max_events
        self._keys = (self.key,) if journal is None else (self.key, journal)
        self._fence = fence

    def end(self) -> Position:
        """Give the highest position the stream or the journal ever had, trimmed entries included."""
        import redis

        pipeline = self._client.pipeline(transaction=False)
        for key in self._keys:
            pipeline.xinfo_stream(key)
        ends = [NOWHERE]
        for answer in pipeline.execute(raise_on_error=False):
            if not isinstance(answer, Exception):
                ends.append(Position.parse(answer["last-generated-id"].decode()))
            elif not isinstance(answer, redis.exceptions.ResponseError) or "no such key" not in str(answer):
                raise answer
        return max(ends)

    def stored(self, rows: Sequence[Row]) -> frozenset[Position]:
        """Look which of the rows the stream has, with the same body."""
        if not rows:
            return frozenset()
        stored = set()
        for key in dict.fromkeys(row.journal or self.key for row in rows):
            bodies = {str(row.position).encode(): row for row in rows if (row.journal or self.key) == key}
            found = self._client.execute_command(  # type: ignore[no-untyped-call]
                "XRANGE", key, str(rows[0].position), str(rows[-1].position), "COUNT", len(rows) * 4
            )
            for place, fields in found or ():
                row = bodies.get(place)
                if row is not None and _field(fields, b"event" if row.journal is None else b"entry") == row.body:
                    stored.add(row.position)
        return frozenset(stored)

    def follow(self, batch: Sequence[Item]) -> None:
        """Note a batch that is stored already: its transaction had the channel and the live keys, too."""
        self.live.follow(_events(batch))

    def add(self, batch: Sequence[Item]) -> tuple[list[Item], int]:
        """Send one transaction; return what Redis refused because another writer has passed it.

        The number is of those that were refused because they are stored already.
        """
        import redis

        answers = self._execute(batch)
        faults = [answer for answer in answers[len(batch) :] if isinstance(answer, redis.exceptions.ResponseError)]
        refused = []
        for item, answer in zip(batch, answers, strict=False):
            if isinstance(answer, redis.exceptions.ResponseError) and "equal or smaller" in str(answer):
                refused.append(item)
            elif isinstance(answer, redis.exceptions.ResponseError):
                faults.append(answer)
        if faults:
            raise faults[0]
        self.live.done()
        stored = self.stored([row for row, _ in refused])
        return [item for item in refused if item[0].position not in stored], len(stored)

    def _execute(self, batch: Sequence[Item]) -> list[Any]:
        """Run one transaction, whole or not at all; return Redis' answers, faults of single commands among them."""
        import redis

        tries = _TRIES
        while True:
            pipeline: Any = self._client.pipeline(transaction=True)
            if self._fence is not None:
                pipeline.watch(self._fence.key)
                self._fence.holds(pipeline.get(self._fence.key))
                pipeline.multi()
            for row, _ in batch:
                pipeline.execute_command(*self._addition(row))
            for row, _ in batch:
                if row.journal is None:
                    pipeline.execute_command("PUBLISH", self.key, row.body)
            for command in self.live.commands(_events(batch)):
                pipeline.execute_command(*command)
            try:
                answers: list[Any] = pipeline.execute(raise_on_error=False)
            except redis.exceptions.WatchError:
                # The lease was renewed, or taken by somebody: the next look tells which.
                tries -= 1
                if tries == 0:
                    raise
            else:
                return answers

    def _addition(self, row: Row) -> Command:
        if row.journal is not None:
            return "XADD", row.journal, str(row.position), "entry", row.body
        limit = ("MAXLEN", "~", self._max_events)
        return "XADD", self.key, *limit, str(row.position), "type", row.type, "event", row.body


def _events(batch: Sequence[Item]) -> list[Event]:
    return [event for item in batch if item[0].journal is None and (event := _event(*item)) is not None]


def _event(row: Row, event: Event | None) -> Event | None:
    """Read what the live keys follow; none for a row that another version wrote, or that the disk spoilt."""
    if event is not None:
        return event
    try:
        found = decode(row.body).data
    except ValueError as error:
        _log.error("event_spoilt", position=str(row.position), reason=str(error))
        return None
    return None if isinstance(found, UnknownEvent) else found


def _field(fields: Any, name: bytes) -> bytes | None:
    pairs = fields.items() if isinstance(fields, dict) else zip(fields[::2], fields[1::2], strict=True)
    return next((value for key, value in pairs if key == name), None)
