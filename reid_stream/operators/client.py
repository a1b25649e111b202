"""Where people's instructions are handed in: `reid:<site>:instructions`, a Redis Stream that is never trimmed.

    ask(): instruction ─▶ stream ─▶ (the daemon, now or when it is next started) ─▶ instruction.answered ─▶ ask()

An instruction is durable once it is on the stream; who asked may wait for the answer, look it up later, or never.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from reid_stream.errors import ReidStreamError
from reid_stream.events import InstructionAnswered
from reid_stream.instructions import Instruction, decode, encode
from reid_stream.publish.cloudevents import decode as read_event
from reid_stream.publish.live_keys import instructions_key, stream_key
from reid_stream.publish.redis_client import stream_entries, translated

if TYPE_CHECKING:
    import redis

_PAGE = 500
_POLL_S = 1.0


class RefusedError(ReidStreamError):
    """The daemon does not do what it was told; the message says why."""


class InstructionEntry(msgspec.Struct, frozen=True):
    """An instruction with what became of it."""

    instruction: Instruction
    answer: InstructionAnswered | None
    """None while it waits for a daemon, or where the events no longer have it."""


class InstructionClient:
    """One site's instructions, as those who give them see it."""

    def __init__(self, client: "redis.Redis", site: str, where: str) -> None:
        """`where`: the address, for messages; the client must not repeat commands by itself."""
        self._client: Any = client
        self._site, self._where = site, where

    def hand_in(self, instruction: Instruction) -> str:
        """Put an instruction on the stream; returns its place, which is its `id`.

        Raises:
            BrokerError: Redis does not take it.
        """
        with translated(self._where):
            place: bytes = self._client.xadd(
                instructions_key(self._site),
                {"do": str(type(instruction).__struct_config__.tag), "instruction": encode(instruction)},
            )
        return place.decode()

    def events_end(self) -> str:
        """Return where the events end now; an answer to what is handed in next comes behind it."""
        with translated(self._where):
            last = self._client.xrevrange(stream_key(self._site), count=1)
        return last[0][0].decode() if last else "0-0"

    def answer(self, place: str, behind: str, wait_s: float) -> InstructionAnswered | None:
        """Wait for the answer to an instruction among the events behind a position; none if it takes longer.

        Raises:
            BrokerError: Redis does not answer.
        """
        import time

        end = time.monotonic() + wait_s
        while True:
            left = end - time.monotonic()
            block = {"block": max(1, int(1000 * min(left, _POLL_S)))} if left > 0 else {}
            with translated(self._where):
                pages = stream_entries(self._client.xread({stream_key(self._site): behind}, count=_PAGE, **block))
            for position, fields in pages:
                behind = position.decode()
                found = _answered(fields)
                if found is not None and found.instruction == place:
                    return found
            if not pages and left <= 0:
                return None

    def entries(self) -> Iterator[InstructionEntry]:
        """Yield every instruction ever handed in, oldest first, with its answer.

        Raises:
            BrokerError: Redis does not answer.
        """
        answers = {answer.instruction: answer for answer in self._answers()}
        for place, fields in self._pages(instructions_key(self._site)):
            try:
                instruction = decode(fields[b"instruction"], place)
            except (KeyError, ValueError):
                continue  # the daemon has logged it
            yield InstructionEntry(instruction, answers.get(place))

    def _answers(self) -> Iterator[InstructionAnswered]:
        for _, fields in self._pages(stream_key(self._site)):
            found = _answered(fields)
            if found is not None:
                yield found

    def _pages(self, key: str) -> Iterator[tuple[str, dict[bytes, bytes]]]:
        begin = "-"
        while True:
            with translated(self._where):
                page = self._client.xrange(key, min=begin, count=_PAGE)
            for place, fields in page:
                yield place.decode(), fields
            if len(page) < _PAGE:
                return
            begin = f"({page[-1][0].decode()}"


def _answered(fields: dict[bytes, bytes]) -> InstructionAnswered | None:
    if fields.get(b"type") != InstructionAnswered.type.encode():
        return None
    try:
        data = read_event(fields[b"event"]).data
    except (KeyError, ValueError):
        return None
    return data if isinstance(data, InstructionAnswered) else None
