"""The stream of a site: batches added in one transaction with the channel and the live keys, each event once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import structlog

from reid_stream.events import Event
from reid_stream.publish.backlog import Item
from reid_stream.publish.envelope import Unknown, decode
from reid_stream.publish.positions import NOWHERE, Position
from reid_stream.publish.spool import Row
from reid_stream.publish.state import LiveState, stream_key

if TYPE_CHECKING:
    import redis

_log = structlog.get_logger(__name__)


class Stream:
    """Commands to Redis; every method raises the library's errors, and none repeats a command."""

    def __init__(self, client: "redis.Redis", site: str, *, max_events: int, keeps_numbers: bool) -> None:
        self.key = stream_key(site)
        self._client = client
        self._max_events = max_events
        self._live = LiveState(site, keeps_numbers=keeps_numbers)

    def end(self) -> Position:
        """Give the highest position the stream ever had, trimmed entries included."""
        import redis

        try:
            answer = self._client.xinfo_stream(self.key)
        except redis.exceptions.ResponseError as error:
            if "no such key" in str(error):
                return NOWHERE
            raise
        return Position.parse(answer["last-generated-id"].decode())

    def stored(self, rows: Sequence[Row]) -> frozenset[Position]:
        """Look which of the rows the stream has, with the same body."""
        if not rows:
            return frozenset()
        bodies = {str(row.position).encode(): row for row in rows}
        found = self._client.execute_command(  # type: ignore[no-untyped-call]
            "XRANGE", self.key, str(rows[0].position), str(rows[-1].position), "COUNT", len(rows) * 4
        )
        stored = set()
        for entry, fields in found or ():
            row = bodies.get(entry)
            if row is not None and _field(fields, b"event") == row.body:
                stored.add(row.position)
        return frozenset(stored)

    def follow(self, batch: Sequence[Item]) -> None:
        """Note a batch that is stored already: its transaction had the channel and the live keys, too."""
        self._live.follow(_events(batch))

    def add(self, batch: Sequence[Item]) -> tuple[list[Item], int]:
        """Send one transaction; return what Redis refused because another writer has passed it.

        The number is of those that were refused because they are stored already.
        """
        import redis

        pipeline = self._client.pipeline(transaction=True)
        for row, _ in batch:
            limit = ("MAXLEN", "~", self._max_events)
            fields = ("type", row.type, "event", row.body)
            pipeline.execute_command("XADD", self.key, *limit, str(row.position), *fields)  # type: ignore[no-untyped-call]
        for row, _ in batch:
            pipeline.execute_command("PUBLISH", self.key, row.body)  # type: ignore[no-untyped-call]
        for command in self._live.commands(_events(batch)):
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        faults = [answer for answer in answers[len(batch) :] if isinstance(answer, redis.exceptions.ResponseError)]
        refused = []
        for item, answer in zip(batch, answers, strict=False):
            if isinstance(answer, redis.exceptions.ResponseError) and "equal or smaller" in str(answer):
                refused.append(item)
            elif isinstance(answer, redis.exceptions.ResponseError):
                faults.append(answer)
        if faults:
            raise faults[0]
        self._live.done()
        stored = self.stored([row for row, _ in refused])
        return [item for item in refused if item[0].position not in stored], len(stored)


def _events(batch: Sequence[Item]) -> list[Event]:
    return [event for item in batch if (event := _event(*item)) is not None]


def _event(row: Row, event: Event | None) -> Event | None:
    """Read what the live keys follow; none for a row that another version wrote, or that the disk spoilt."""
    if event is not None:
        return event
    try:
        found = decode(row.body).data
    except ValueError as error:
        _log.error("a spoilt event goes to the stream as it is", position=str(row.position), reason=str(error))
        return None
    return None if isinstance(found, Unknown) else found


def _field(fields: Any, name: bytes) -> bytes | None:
    pairs = fields.items() if isinstance(fields, dict) else zip(fields[::2], fields[1::2], strict=True)
    return next((value for key, value in pairs if key == name), None)
