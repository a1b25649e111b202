"""Delete what the shell keeps of people whom the matcher forgot, until no byte of it is left; then say so.

    Erasing (a decision) ─▶ store: crops ─▶ journal: one fresh snapshot, nothing before it ─▶ spool: washed
        ─▶ live keys, names ─▶ BGREWRITEAOF, BGSAVE, both waited for ─▶ `Erased` on the stream of instructions

What fails is tried again until it is done, after a restart, too: the matcher knows who is being erased. A thread of its
own does it all; the pipeline never waits.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from reid_stream.events import Event, IdentityMerged, IdentityNamed, IdentitySplit
from reid_stream.instructions import Erased, NamePerson, decode, encode
from reid_stream.publish.cloudevents import UnknownEvent
from reid_stream.publish.cloudevents import decode as read_event
from reid_stream.publish.live_keys import identity_key, instructions_key, stream_key
from reid_stream.publish.projection import SiteView
from reid_stream.publish.redis_client import cause
from reid_stream.records import Erasing, GlobalId

if TYPE_CHECKING:
    import redis

_LINKS = (IdentityMerged, IdentitySplit)
"""What tells which IDs were one person's."""
_PAGE = 500
_WAIT_S = 60.0
"""Longest wait for one part: a snapshot, a flush, a rewrite."""
_LOOK_S = 0.05
_RETRY_S = 2.0
_log = structlog.get_logger(__name__)


class CropStore(Protocol):
    """What keeps crops; it hears of the erasing by its own way (`store.writer.StoreWriter.decided`)."""

    def erased(self, instruction: str, timeout_s: float) -> int | None:
        """Wait until a person is erased; how many tracks that were, none if it takes longer."""
        ...


class EventSpool(Protocol):
    """Where events and entries wait for Redis; `publish.spool.Spool`."""

    def wash(self) -> None:
        """Delete what is delivered, every trace of it."""
        ...


class ErasureSink(Protocol):
    """What sends events and entries; `publish.redis_sink.RedisSink`."""

    @property
    def spool(self) -> EventSpool:
        """Where they wait."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was taken is on Redis."""
        ...


class _NotYetError(Exception):
    """A part is not done; the message says which."""


class Eraser:
    """Erases one person after another."""

    def __init__(
        self,
        client: "redis.Redis",
        site: str,
        sending: ErasureSink,
        *,
        store: CropStore | None,
        purge: Callable[[Callable[[bool], None]], None] | None,
    ) -> None:
        """Begin; nothing is to be erased yet.

        Args:
            client: of its own; it is closed with this.
            site: whose people.
            sending: the way to Redis.
            store: of crops; none where none are kept.
            purge: asks for a fresh snapshot with nothing before it, and for a call when that is done; none where
                nothing is remembered.
        """
        self._client: Any = client
        self._site, self._sending, self._store, self._purge = site, sending, store, purge
        self._queue: queue.Queue[Erasing | None] = queue.Queue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="erase", daemon=True)
        self._thread.start()

    def begin(self, erasing: Erasing) -> None:
        """Erase somebody, soon; the store is told apart from this."""
        self._queue.put(erasing)

    def close(self) -> None:
        """Stop; what is not done is begun anew by the next daemon."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join(_RETRY_S)
        self._client.close()

    def _work(self) -> None:
        while (erasing := self._queue.get()) is not None:
            while not self._closing.is_set():
                try:
                    self._erase(erasing)
                    break
                except Exception as error:  # noqa: BLE001 (whatever it is, a person's right does not lapse by it)
                    _log.warning("erasure_delayed", person=erasing.person, reason=cause(error))
                    self._client.connection_pool.disconnect()
                    self._closing.wait(_RETRY_S)

    def _erase(self, erasing: Erasing) -> None:
        done = [
            self._crops(erasing),
            self._remembered(),
            self._washed(),
            self._names(erasing.person),
            self._rewritten(),
        ]
        told = Erased(
            at=time.time(),
            who="reid-stream",
            instruction=erasing.instruction,
            person=erasing.person,
            report=f"{erasing.person} is erased: {', '.join(part for part in done if part)}",
        )
        self._client.xadd(instructions_key(self._site), {"do": "erased", "instruction": encode(told)})
        _log.info("identity_erased", person=erasing.person)

    def _crops(self, erasing: Erasing) -> str:
        if self._store is None:
            return ""
        count = self._store.erased(erasing.instruction, _WAIT_S)
        if count is None:
            raise _NotYetError("the tracklet store has not answered")
        return f"{count} stored tracks"

    def _remembered(self) -> str:
        """Have the journal and the snapshots begin anew."""
        if self._purge is None:
            return ""
        for _ in range(3):
            answers: queue.Queue[bool] = queue.Queue()
            self._purge(answers.put)
            try:
                if answers.get(timeout=_WAIT_S):
                    return "state written anew"
            except queue.Empty:
                break
        raise _NotYetError("no fresh snapshot could be written")

    def _washed(self) -> str:
        if not self._sending.flush(_WAIT_S):
            raise _NotYetError("events still wait for Redis")
        self._sending.spool.wash()
        return "spool washed"

    def _names(self, person: GlobalId) -> str:
        """Take back what people called them: the live keys, and every event and instruction that says it."""
        links = SiteView(
            event for _, fields in self._pages(stream_key(self._site)) if (event := _event(fields, _LINKS))
        )
        names = {person} | {gone for gone in links.gone if links.successor(gone) == person}
        for name in names:
            self._client.delete(identity_key(self._site, name))
        count = 0
        for place, fields in self._pages(stream_key(self._site)):
            event = _event(fields, (IdentityNamed,))
            if isinstance(event, IdentityNamed) and event.person in names:
                count += self._client.xdel(stream_key(self._site), place)
        for place, fields in self._pages(instructions_key(self._site)):
            if _named(fields) in names:
                count += self._client.xdel(instructions_key(self._site), place)
        return f"{count} mentions of a name" if count else ""

    def _pages(self, key: str) -> Iterator[tuple[str, dict[bytes, bytes]]]:
        begin = "-"
        while True:
            page = self._client.xrange(key, min=begin, count=_PAGE)
            yield from ((place.decode(), fields) for place, fields in page)
            if len(page) < _PAGE:
                return
            begin = f"({page[-1][0].decode()}"

    def _rewritten(self) -> str:
        """Let Redis write its files anew, and wait for it; old ones hold what was deleted."""
        import redis

        begun: list[str] = []
        try:
            if self._info()["aof_enabled"]:
                self._wait("aof_rewrite_in_progress")
                self._client.bgrewriteaof()
                self._wait("aof_rewrite_in_progress", "aof_rewrite_scheduled")
                self._sure("aof_last_bgrewrite_status")
                begun.append("append-only file")
            self._wait("rdb_bgsave_in_progress")
            self._client.bgsave()
            self._wait("rdb_bgsave_in_progress")
            self._sure("rdb_last_bgsave_status")
            begun.append("dump")
        except redis.exceptions.ResponseError as error:
            if "in progress" in str(error):
                raise _NotYetError("Redis is writing its files for somebody else") from error
            # A managed Redis writes its files by itself and lets nobody ask for it.
            return f"Redis' files not rewritten, ask its keeper for BGREWRITEAOF and BGSAVE ({cause(error)})"
        return f"Redis' {' and '.join(begun)} rewritten"

    def _info(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.info("persistence")
        return found

    def _wait(self, *flags: str) -> None:
        end = time.monotonic() + _WAIT_S * 10
        while any(self._info().get(flag) for flag in flags):
            if self._closing.is_set() or time.monotonic() > end:
                raise _NotYetError("Redis has not rewritten its files")
            time.sleep(_LOOK_S)

    def _sure(self, status: str) -> None:
        if self._info().get(status, "ok") != "ok":
            raise _NotYetError(f"Redis could not rewrite its files: {status} is not ok")


def _event(fields: dict[bytes, bytes], kinds: tuple[type[Event], ...]) -> Event | None:
    """Read an entry of the events, if it is of one of these kinds."""
    if fields.get(b"type") not in {kind.type.encode() for kind in kinds}:
        return None
    try:
        data = read_event(fields[b"event"]).data
    except (KeyError, ValueError):
        return None
    return None if isinstance(data, UnknownEvent) else data


def _named(fields: dict[bytes, bytes]) -> GlobalId | None:
    """Return whom an entry of the instructions gives a name."""
    try:
        said = decode(fields[b"instruction"], "0-0")
    except (KeyError, ValueError):
        return None
    return said.person if isinstance(said, NamePerson) else None
