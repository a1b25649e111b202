"""Submit instructions and look up their answers.

    submit(): instruction ─▶ reid:<site>:instructions ─▶ daemon, now or at its next start ─▶ instruction.answered

An instruction is durable once it is on the stream. Waiting for its answer is optional; it can be looked up later. The
daemon keeps the newest `reader.KEPT` entries of the stream.
"""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from reid_stream.errors import BrokerError, ConfigError, ReidStreamError
from reid_stream.events import InstructionAnswered
from reid_stream.instructions import Instruction, decode, encode
from reid_stream.publish.cloudevents import decode as decode_event
from reid_stream.publish.live_keys import instructions_key, stream_key
from reid_stream.publish.redis_client import stream_entries, translated

if TYPE_CHECKING:
    import redis

_PAGE = 500
_POLL_S = 1.0


class RefusedError(ReidStreamError):
    """The daemon refuses an instruction; the message is its reason."""


class InstructionEntry(msgspec.Struct, frozen=True):
    """An instruction and its answer."""

    instruction: Instruction
    answer: InstructionAnswered | None
    """The answer; None while it waits for a daemon, or where the event stream no longer has it."""


class InstructionClient:
    """The operators' end of one site's instructions."""

    def __init__(self, client: "redis.Redis", site: str, where: str) -> None:
        """`client` must not retry by itself; `where` is its address, for messages."""
        self._client: Any = client
        self._site, self._where = site, where

    def submit(self, instruction: Instruction) -> str:
        """Append an instruction to the stream and return its stream ID.

        Raises:
            ConfigError: it is too large.
            BrokerError: Redis does not accept it.
        """
        import redis

        try:
            body = encode(instruction)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        with translated(self._where):
            try:
                place: bytes = self._client.xadd(
                    instructions_key(self._site), {"do": instruction.do, "instruction": body}
                )
            except redis.exceptions.ResponseError as error:
                if "exhausted" not in str(error):
                    raise
                raise BrokerError(
                    f"{instructions_key(self._site)} must have room for another entry, but its last ID is the highest "
                    "there is, which another writer added; a running daemon makes room in a few seconds, so try again"
                ) from None
        return place.decode()

    def events_end(self) -> str:
        """Return the stream ID of the latest event; the answer to an instruction submitted next comes after it."""
        with translated(self._where):
            last = self._client.xrevrange(stream_key(self._site), count=1)
        return last[0][0].decode() if last else "0-0"

    def answer(self, place: str, behind: str, wait_s: float) -> InstructionAnswered | None:
        """Wait for an answer.

        Args:
            place: stream ID of the instruction.
            behind: stream ID of an event before the answer.
            wait_s: longest wait, seconds; 0 only reads what is there.

        Returns:
            The answer, or None if there is none in time.

        Raises:
            BrokerError: Redis does not answer.
        """
        end = time.monotonic() + wait_s
        while True:
            left = end - time.monotonic()
            block = {"block": max(1, int(1000 * min(left, _POLL_S)))} if left > 0 else {}
            with translated(self._where):
                entries = stream_entries(self._client.xread({stream_key(self._site): behind}, count=_PAGE, **block))
            for position, fields in entries:
                behind = position.decode()
                found = _answered(fields)
                if found is not None and found.instruction == place:
                    return found
            if not entries and left <= 0:
                return None

    def entries(self) -> Iterator[InstructionEntry]:
        """Yield the kept instructions, oldest first, with their answers.

        Raises:
            BrokerError: Redis does not answer.
        """
        answers = {answer.instruction: answer for answer in self._answers()}
        for place, fields in self._pages(instructions_key(self._site)):
            try:
                instruction = decode(fields[b"instruction"], place)
            except (KeyError, ValueError):
                continue  # the daemon logs it
            yield InstructionEntry(instruction, answers.get(place))

    def _answers(self) -> Iterator[InstructionAnswered]:
        for _, fields in self._pages(stream_key(self._site)):
            found = _answered(fields)
            if found is not None:
                yield found

    def _pages(self, key: str) -> Iterator[tuple[str, dict[bytes, bytes]]]:
        start = "-"
        while True:
            with translated(self._where):
                page = self._client.xrange(key, min=start, count=_PAGE)
            for place, fields in page:
                yield place.decode(), fields
            if len(page) < _PAGE:
                return
            start = f"({page[-1][0].decode()}"


def _answered(fields: dict[bytes, bytes]) -> InstructionAnswered | None:
    if fields.get(b"type") != InstructionAnswered.type.encode():
        return None
    try:
        data = decode_event(fields[b"event"]).data
    except (KeyError, ValueError):
        return None
    return data if isinstance(data, InstructionAnswered) else None
