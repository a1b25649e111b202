"""The daemon's end of the instructions: read by a thread, taken by the identify loop between two steps.

    reid:<site>:instructions ─▶ Inbox's thread ─▶ take() ─▶ Matcher.instruct     the identify loop's thread

Reading begins behind the last instruction that was answered, so that what was handed in while no daemon ran is done by
the next one; the matcher knows which it has taken before.
"""

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import structlog

from reid_stream.instructions import NONE, Instruction, decode, order
from reid_stream.publish.live_keys import answered_key, instructions_key
from reid_stream.publish.redis_client import cause, stream_entries

if TYPE_CHECKING:
    import redis

_PAGE = 100
_POLL_S = 1.0
"""Longest time in one blocking read: the client's time-out must be longer."""
_RETRY_S = 1.0
_log = structlog.get_logger(__name__)


class InstructionReader:
    """Instructions that wait to be carried out, in the order in which they were handed in."""

    def __init__(self, client: "redis.Redis", site: str, behind: str = NONE) -> None:
        """Begin to read, behind `behind` (what the matcher took last) or the last answer, whichever is later.

        `client`: of its own; it is closed with this.
        """
        self._client: Any = client
        self._site = site
        self._behind = behind
        self._waiting: deque[Instruction] = deque()
        self._closing = threading.Event()
        self.malformed = 0
        """Entries that are no instructions; skipped and logged."""
        self._thread = threading.Thread(target=self._read_all, name="instructions", daemon=True)
        self._thread.start()

    def take(self) -> list[Instruction]:
        """Return what has come; never waits."""
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

        is_placed, is_away = False, False
        while not self._closing.is_set():
            try:
                if not is_placed:
                    answered = (self._client.get(answered_key(self._site)) or NONE.encode()).decode()
                    self._behind = max(self._behind, answered, key=order)
                    is_placed = True
                entries = stream_entries(
                    self._client.xread(
                        {instructions_key(self._site): self._behind}, count=_PAGE, block=int(1000 * _POLL_S)
                    )
                )
            except (redis.exceptions.RedisError, OSError) as error:
                if not is_away and not self._closing.is_set():
                    _log.warning("instructions_unreadable", reason=cause(error))
                is_away = True
                self._client.connection_pool.disconnect()
                self._closing.wait(_RETRY_S)
                continue
            is_away = False
            for place, fields in entries:
                self._behind = place.decode()
                self._put(self._behind, fields)

    def _put(self, place: str, fields: dict[bytes, bytes]) -> None:
        try:
            self._waiting.append(decode(fields[b"instruction"], place))
        except (KeyError, ValueError) as error:
            self.malformed += 1
            _log.warning("instruction_invalid", place=place, reason=str(error))
