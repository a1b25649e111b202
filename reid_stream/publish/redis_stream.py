"""The stream of a site: batches added in one transaction with the channel and the live keys, each event once."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import structlog

from reid_stream.errors import BrokerError
from reid_stream.events import Event
from reid_stream.publish.cloudevents import UnknownEvent, decode
from reid_stream.publish.live_keys import LiveState, identity_key, present_key, sent_key, stream_key
from reid_stream.publish.live_mirror import Command
from reid_stream.publish.redis_client import get_string
from reid_stream.publish.send_queue import Item
from reid_stream.publish.spool_row import Epoch, Row
from reid_stream.publish.stream_ids import NOWHERE, Position
from reid_stream.records import CameraId, GlobalId

if TYPE_CHECKING:
    import redis

_TRIES = 3
"""Attempts for a transaction that a renewal of the lease interrupted."""
_AT_ONCE = 1000
"""Keys or commands per request when live keys are read or written again."""
_log = structlog.get_logger(__name__)


class Fence(Protocol):
    """Condition of every transaction: this daemon holds the site."""

    key: str
    """A transaction fails if another client changes this key between `holds` and the transaction."""

    @property
    def epoch(self) -> Epoch:
        """The holding of the lease that rows are decided under."""
        ...

    def begin(self) -> None:
        """Note that the spool knows the epoch; nothing is sent before."""
        ...

    def holds(self, value: bytes | None) -> None:
        """Check the key's value.

        Raises:
            Exception: nothing may be sent.
        """
        ...


class StreamEndError(BrokerError):
    """The stream ends at an ID that nothing can follow."""


class Look(NamedTuple):
    """State of the streams on Redis compared with what was sent."""

    ends: Mapping[str, Position]
    """Highest ID that each stream ever had, trimmed and deleted entries included."""
    sent: Position | None
    """Position of the last transaction; none where Redis does not know it."""
    has_marked: bool = False
    """The stream has that transaction all the same: only the key of its position was changed or lost."""

    @property
    def end(self) -> Position:
        """The highest of all."""
        return max(self.ends.values())


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
        self.marked = NOWHERE
        """Redis must know a transaction at or behind this position."""
        self.is_restoration_due = False
        """Another writer has changed one of our keys: they must be written again."""
        self._last: dict[str, Position] = {}
        """Position of the last row that each stream was given here."""
        self._suspect: Position | None = None
        """Redis has lost what came behind this."""
        self._client = client
        self._site = site
        self._sent_key = sent_key(site)
        self._max_events = max_events
        self._keys = (self.key,) if journal is None else (self.key, journal)
        self._fence = fence

    def read_progress(self) -> Look:
        """Read how far Redis has what was sent.

        Raises:
            StreamEndError: another writer has added an entry that nothing can follow.
        """
        import redis

        pipeline = self._client.pipeline(transaction=False)
        for key in self._keys:
            pipeline.xinfo_stream(key)
        pipeline.get(self._sent_key)
        *streams, sent = pipeline.execute(raise_on_error=False)
        ends = {}
        for key, answer in zip(self._keys, streams, strict=True):
            if not isinstance(answer, Exception):
                ends[key] = Position.parse(answer["last-generated-id"].decode())
            elif isinstance(answer, redis.exceptions.ResponseError) and "no such key" in str(answer):
                ends[key] = NOWHERE
            elif isinstance(answer, redis.exceptions.ResponseError) and "WRONGTYPE" in str(answer):
                raise BrokerError(f"a key of ours is of another type ({key} must be a stream; rename or delete it)")
            else:
                raise answer
            if ends[key].is_last:
                raise StreamEndError(
                    f"the last ID of a stream leaves no room for more ({key} ends at {ends[key]}, which another writer "
                    f"added; mend it with `redis-cli RENAME {key} {key}:old`; events wait on disk until then)"
                )
        if isinstance(sent, redis.exceptions.ResponseError) and "WRONGTYPE" in str(sent):
            sent = b"another type"
        if isinstance(sent, Exception):
            raise sent
        position = _position(sent, self._sent_key)
        if not self._is_behind(position):
            return Look(ends, position)
        has_marked = self._has(self.marked)
        self.is_restoration_due |= has_marked
        return Look(ends, position, has_marked)

    def _is_behind(self, sent: Position | None) -> bool:
        return self.marked > NOWHERE and (sent is None or sent < self.marked)

    def _has(self, position: Position) -> bool:
        """Return whether a stream has an entry at a position: Redis then has all transactions up to it."""
        pipeline: Any = self._client.pipeline(transaction=False)
        for key in self._keys:
            pipeline.execute_command("XRANGE", key, str(position), str(position))
        return any(isinstance(found, list | dict) and found for found in pipeline.execute(raise_on_error=False))

    def lost_behind(self, look: Look, sent: Position) -> Position | None:
        """Return the position behind which Redis has lost what was sent, up to `sent`; none where it has all."""
        known: list[Position] = []
        if self._is_behind(look.sent) and not look.has_marked:
            known = [look.sent or NOWHERE]
        elif self._last:
            # One of the streams was deleted.
            known = [end for key, end in look.ends.items() if end < self._last.get(key, NOWHERE)]
        elif look.end < sent:
            known = [look.end]
        if self._suspect is not None:
            known.append(self._suspect)
        return min(known) if known else None

    def begin_again(self, look: Look) -> None:
        """Note that what Redis has lost is known, and sent again from here on."""
        self.marked, self._suspect = NOWHERE, None
        self._last = {key: min(end, look.ends[key]) for key, end in self._last.items()}

    def key_of(self, row: Row) -> str:
        """Return the stream that a row goes to."""
        return row.journal or self.key

    def stored(self, rows: Sequence[Row]) -> frozenset[Position]:
        """Return which of the rows the stream has, with the same body."""
        if not rows:
            return frozenset()
        pipeline: Any = self._client.pipeline(transaction=False)
        for row in rows:
            pipeline.execute_command("XRANGE", self.key_of(row), str(row.position), str(row.position))
        stored = set()
        for row, found in zip(rows, pipeline.execute(), strict=True):
            name = b"event" if row.journal is None else b"entry"
            if any(_field(fields, name) == row.body for _, fields in found or ()):
                stored.add(row.position)
        return frozenset(stored)

    def follow(self, batch: Sequence[Item]) -> None:
        """Note a batch that is stored already: its transaction had the channel and the live keys, too."""
        self.live.follow(_events(batch))
        self._note([row for row, _ in batch])

    def add(self, batch: Sequence[Item]) -> tuple[list[Item], int]:
        """Send one transaction; return what Redis refused because another writer has passed it.

        The number is of those that were refused because they are stored already.
        """
        import redis

        commands, answers = self._execute(batch)
        faults = self._mendable(commands[len(batch) :], answers[len(batch) :])
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
        left = [item for item in refused if item[0].position not in stored]
        gone = {item[0].position for item in left}
        self._note([row for row, _ in batch if row.position not in gone])
        before = None if isinstance(answers[-1], Exception) else _position(answers[-1], self._sent_key)
        if self._is_behind(before):
            # Redis lost data between the look and the transaction, or another writer changed the key.
            if self._has(self.marked):
                self.is_restoration_due = True
            else:
                self._suspect = before or NOWHERE
        self.marked = batch[-1][0].position
        return left, len(stored)

    def load_live(self) -> None:
        """Read the hashes of people that an earlier daemon wrote, to be able to write them again."""
        import redis

        found: dict[str, dict[str | float | bytes, str | float | bytes]] = {}
        try:
            for keys in _parts(self._scan(identity_key(self._site, GlobalId("*")))):
                pipeline = self._client.pipeline(transaction=False)
                for key in keys:
                    pipeline.hgetall(key)
                answers = zip(keys, pipeline.execute(raise_on_error=False), strict=True)
                found |= {key: fields for key, fields in answers if isinstance(fields, dict)}
        except redis.exceptions.NoPermissionError as error:
            _log.info("live_keys_unreadable", reason=str(error))
        self.live.mirror.load(found)

    def restore_live(self, sent: Position) -> int:
        """Write the live keys again and delete those of people who are no more; return how many keys there are.

        `sent`: position of the last transaction.
        """
        import redis

        known = self.live.mirror.keys()
        try:
            there = [
                key
                for pattern in (identity_key(self._site, GlobalId("*")), present_key(self._site, CameraId("*")))
                for key in self._scan(pattern)
            ]
        except redis.exceptions.NoPermissionError:
            there = []
        commands: list[Command] = [("DEL", key) for key in there if key not in known]
        for some in _parts([*commands, *self.live.mirror.commands(), ("SET", self._sent_key, str(sent))]):
            self._transact(some)
        return len(known)

    def _scan(self, pattern: str) -> list[str]:
        """Return the keys of a pattern; one that is not UTF-8 is of another program, and is left alone."""
        found: list[str] = []
        for key in self._client.scan_iter(match=pattern, count=_AT_ONCE):
            try:
                found.append(key.decode())
            except UnicodeDecodeError:
                _log.warning("live_key_invalid", key=key.decode(errors="backslashreplace"), reason="not UTF-8")
        return found

    def _note(self, rows: Sequence[Row]) -> None:
        for row in rows:
            key = self.key_of(row)
            self._last[key] = max(row.position, self._last.get(key, NOWHERE))

    def _execute(self, batch: Sequence[Item]) -> tuple[list[Command], list[Any]]:
        commands: list[Command] = [self._addition(row) for row, _ in batch]
        commands += [("PUBLISH", self.key, row.body) for row, _ in batch if row.journal is None]
        commands += self.live.commands(_events(batch))
        commands.append(("SET", self._sent_key, str(batch[-1][0].position), "GET"))
        return commands, self._transact(commands)

    def _mendable(self, commands: Sequence[Command], answers: Sequence[Any]) -> list[Exception]:
        """Return the faults among the answers, except for keys of another type, which a restoration replaces."""
        import redis

        faults: list[Exception] = []
        for command, answer in zip(commands, answers, strict=True):
            if not isinstance(answer, redis.exceptions.ResponseError):
                continue
            if "WRONGTYPE" not in str(answer):
                faults.append(answer)
                continue
            if command[1] != self._sent_key:  # SET replaces any type, and fails only for its GET
                _log.warning("live_key_invalid", key=command[1], reason="another type")
            self.is_restoration_due = True
        return faults

    def _transact(self, commands: Sequence[Command]) -> list[Any]:
        """Run one transaction, whole or not at all; return Redis' answers, faults of single commands among them."""
        import redis

        for attempt in range(_TRIES):
            pipeline: Any
            with self._client.pipeline(transaction=True) as pipeline:
                if self._fence is not None:
                    pipeline.watch(self._fence.key)
                    self._fence.holds(get_string(pipeline, self._fence.key))
                    pipeline.multi()
                for command in commands:
                    # The library needs to know that the answer is a value.
                    named = {"get": True} if command[0] == "SET" and command[-1] == "GET" else {}
                    pipeline.execute_command(*command, **named)
                try:
                    answers: list[Any] = pipeline.execute(raise_on_error=False)
                except redis.exceptions.WatchError:
                    # The lease was renewed, or taken by another daemon: the next attempt finds out.
                    if attempt == _TRIES - 1:
                        raise
                else:
                    return answers
        raise AssertionError("unreachable")

    def _addition(self, row: Row) -> Command:
        if row.journal is not None:
            return "XADD", row.journal, str(row.position), "entry", row.body
        limit = ("MAXLEN", "~", self._max_events)
        return "XADD", self.key, *limit, str(row.position), "type", row.type, "event", row.body


_T = TypeVar("_T")


def _parts(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for begin in range(0, len(items), _AT_ONCE):
        yield items[begin : begin + _AT_ONCE]


def _events(batch: Sequence[Item]) -> list[Event]:
    return [event for item in batch if item[0].journal is None and (event := _event(*item)) is not None]


def _event(row: Row, event: Event | None) -> Event | None:
    """Read what the live keys follow; none for a row that another version wrote."""
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


def _position(value: bytes | str | None, key: str) -> Position | None:
    """Read a position from a key of ours; one that makes no sense counts as none."""
    if value is None:
        return None
    try:
        return Position.parse(value.decode() if isinstance(value, bytes) else value)
    except (ValueError, UnicodeDecodeError, AttributeError) as error:
        _log.error("state_key_invalid", key=key, reason=str(error))
        return None
