"""Fair scheduling: an address has few requests in progress, its others wait, so a burst delays only its sender."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

EACH = 6
"""Most requests of one address in progress: as many as a browser makes."""


class Turns:
    """Requests in progress and waiting, by address; for one event loop."""

    def __init__(self, each: int = EACH) -> None:
        self._each = each
        self._active: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """Wait until fewer requests of this address are under way, in the order of arrival."""
        await self._enter(address)
        try:
            yield
        finally:
            self._leave(address)

    async def _enter(self, address: str) -> None:
        if self._active[address] < self._each:
            self._active[address] += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(address, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(address)
            raise

    def _leave(self, address: str) -> None:
        waiting = self._waiting.get(address, deque())
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # takes over the place that is left
                return
        self._waiting.pop(address, None)
        self._active[address] -= 1
        if not self._active[address]:
            del self._active[address]
