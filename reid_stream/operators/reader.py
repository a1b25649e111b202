"""Read instructions from Redis on a thread, for the identification thread to take between two steps.

    reid:<site>:instructions ─▶ InstructionReader's thread ─▶ take() ─▶ Matcher.instruct, on the identification thread

Reading starts after the last instruction that was answered, so that what was submitted while no daemon ran is carried
out by the next one. The matcher ignores those it has applied already, by their stream IDs. So a stream that started
again, since it was deleted or Redis came back without it, is read from its beginning.

A program that may append to the stream can append anything. Entries over `MOST_BYTES` and entries that are no
instructions are logged, counted and not carried out; the large ones are deleted. The stream is trimmed to its newest
`KEPT` entries. An entry with the highest ID there is, behind which Redis accepts no other, is removed (`make_room`).
"""

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import structlog

from reid_stream.config import stopping
from reid_stream.instructions import MOST_BYTES, NONE, Erased, Instruction, decode, order
from reid_stream.operators.instruction_stream import end_of, make_room
from reid_stream.operators.seal import FIELD, Seal
from reid_stream.publish.live_keys import answered_key, instructions_key
from reid_stream.publish.redis_client import cause, get_string, stream_entries
from reid_stream.publish.stream_ids import Position

if TYPE_CHECKING:
    import redis

KEPT = 10_000
"""Instructions that stay on the stream, at least; a hundred more make it worth trimming (XTRIM ~)."""
_LARGE = MOST_BYTES + 1024
"""Bytes of an entry, with its other fields, from which it is deleted."""
_PAGE = 10
"""Entries per read: their size is known only after reading."""
_MOST_WAITING = 1000
"""Instructions read ahead of the matcher."""
_POLL_S = 1.0
"""Longest blocking read; the client's time-out must be longer."""
_RETRY_S = 1.0
_WAIT_S = 0.05
_log = structlog.get_logger(__name__)


class InstructionReader:
    """Instructions that wait to be carried out, in the order in which they were submitted."""

    def __init__(self, client: "redis.Redis", site: str, behind: str = NONE, seal: Seal | None = None) -> None:
        """Start to read.

        Args:
            client: Redis; closed with the reader.
            site: `site` of cams.yaml.
            behind: stream ID of the last instruction that the matcher applied; reading starts after it or after the
                last answer, whichever is later.
            seal: of the daemon's own instructions; None refuses them.
        """
        self._client: Any = client
        self._site, self._behind, self._seal = site, behind, seal
        self._waiting: deque[Instruction] = deque()
        self._closing = threading.Event()
        self.fault: str | None = None
        """Why instructions cannot be read, and what to do; None while they can."""
        self._logged: set[str] = set()
        """Faults logged since instructions were last readable."""
        self.malformed = 0
        """Entries that were not carried out, since they are no instructions, too large or not signed."""
        self._thread = threading.Thread(target=self._read_all, name="instructions", daemon=True)
        self._thread.start()

    def take(self) -> list[Instruction]:
        """Return what has arrived; never waits."""
        found: list[Instruction] = []
        while self._waiting:
            found.append(self._waiting.popleft())
        return found

    def close(self) -> None:
        """Stop reading; what was not taken stays on the stream."""
        self._closing.set()
        self._thread.join(_POLL_S + _RETRY_S)
        self._client.close()

    def _read_all(self) -> None:
        import redis

        is_placed = False
        while not self._closing.is_set():
            if len(self._waiting) >= _MOST_WAITING:
                self._closing.wait(_WAIT_S)
                continue
            try:
                if not is_placed:
                    self._behind = max(self._behind, self._answered(), key=order)
                    is_placed = True
                end = self._look_at_end()
                is_caught_up = not self._read_page()
                if is_caught_up:
                    self._trim()
                    if end.is_last:
                        self._behind = str(make_room(self._client, instructions_key(self._site)))
            except (redis.exceptions.RedisError, OSError, ValueError) as error:
                self._note_fault(error)
                self._client.connection_pool.disconnect()
                self._closing.wait(_RETRY_S)
                continue
            if self.fault is not None:
                _log.info("instructions_readable")
                self._logged.clear()
            self.fault = None

    def _look_at_end(self) -> Position:
        """Return the end of the stream; read from the beginning one that started again."""
        key = instructions_key(self._site)
        end = end_of(self._client, key)
        if end < order(self._behind):
            _log.warning("instruction_stream_restarted", stream=key, was=self._behind, end=str(end))
            self._behind = NONE
        return end

    def _note_fault(self, error: Exception) -> None:
        fault = cause(error)
        if "WRONGTYPE" in fault:
            key = instructions_key(self._site)
            fault = f"a key of ours is of another type ({key} must be a stream; rename or delete it)"
        if fault not in self._logged and not self._closing.is_set():
            log = _log.info if stopping.is_requested() else _log.warning
            log("instructions_unreadable", reason=fault)
        self._logged.add(fault)
        self.fault = fault

    def _answered(self) -> str:
        """Return the stream ID of the last answered instruction; `NONE` where the key is missing or damaged."""
        value = get_string(self._client, answered_key(self._site))
        found = NONE if value is None else value.decode(errors="replace")
        try:
            order(found)
        except ValueError:
            _log.warning("instruction_invalid", place=answered_key(self._site), reason="it is no position on a stream")
            return NONE
        return found

    def _read_page(self) -> bool:
        """Wait for entries and keep their instructions; False if there were none."""
        key = instructions_key(self._site)
        entries = stream_entries(self._client.xread({key: self._behind}, count=_PAGE, block=int(1000 * _POLL_S)))
        large = []
        for place, fields in entries:
            self._behind = place.decode()
            if sum(map(len, fields.values())) > _LARGE:
                large.append(place)
            self._put(self._behind, fields)
        if large:
            self._client.xdel(key, *large)
        return bool(entries)

    def _trim(self) -> None:
        # Only when everything is read: unread entries must not go, however much it is.
        self._client.xtrim(instructions_key(self._site), maxlen=KEPT, approximate=True)

    def _put(self, place: str, fields: dict[bytes, bytes]) -> None:
        try:
            body = fields[b"instruction"]
            instruction = decode(body, place)
            if isinstance(instruction, Erased) and not (
                self._seal is not None and self._seal.is_valid(body, fields.get(FIELD.encode(), b""))
            ):
                raise ValueError("only this daemon may report an erasure")
        except (KeyError, ValueError) as error:
            self.malformed += 1
            reason = "it has no field `instruction`" if isinstance(error, KeyError) else str(error)
            _log.warning("instruction_invalid", place=place, reason=reason[:500])
        else:
            self._waiting.append(instruction)
