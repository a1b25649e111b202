"""Erase stored data of people whom the matcher has forgotten, and report when no byte is left.

    Erasing (a decision) ─▶ store: crops ─▶ journal: one new snapshot, nothing before it ─▶ spool: delivered rows
        ─▶ live keys, names ─▶ BGREWRITEAOF and BGSAVE, to their end ─▶ `Erased` on the instruction stream

Each failed step is retried until it succeeds, also after a restart: the matcher's state lists open erasures. One thread
does the work; the pipeline does not wait for it.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from reid_stream.events import Event, IdentityMerged, IdentityNamed, IdentitySplit
from reid_stream.instructions import NONE, Erased, NamePerson, decode, encode
from reid_stream.operators.seal import FIELD, Seal
from reid_stream.publish.cloudevents import UnknownEvent
from reid_stream.publish.cloudevents import decode as read_event
from reid_stream.publish.live_keys import identity_key, instructions_key, stream_key
from reid_stream.publish.projection import SiteView
from reid_stream.publish.redis_client import cause
from reid_stream.records import Erasing, GlobalId

if TYPE_CHECKING:
    import redis

_LINKS = (IdentityMerged, IdentitySplit)
"""Events that connect the IDs of one person."""
_PAGE = 500
_WAIT_S = 60.0
"""Longest wait for one step: a snapshot, a flush."""
_LOOK_S = 0.05
_RETRY_S = 2.0
_log = structlog.get_logger(__name__)


class CropStore(Protocol):
    """Keeper of crops (`store.writer.StoreWriter`); it receives the decision itself."""

    def erased(self, instruction: str, timeout_s: float) -> int | None:
        """Wait for an erasure; return the number of tracks erased, None if it takes longer than `timeout_s` seconds."""
        ...


class EventSpool(Protocol):
    """Queue of events and journal entries on disk (`publish.spool.Spool`)."""

    def wash(self) -> None:
        """Overwrite delivered rows."""
        ...


class ErasureSink(Protocol):
    """Sender of events and journal entries (`publish.redis_sink.RedisSink`)."""

    @property
    def spool(self) -> EventSpool:
        """Queue of events on disk."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything taken is on Redis; False if it takes longer than `timeout_s` seconds."""
        ...


class _NotYetError(Exception):
    """A step is not done yet; the message names it."""


class Eraser:
    """Erases people one after another."""

    def __init__(
        self,
        client: "redis.Redis",
        site: str,
        sending: ErasureSink,
        *,
        store: CropStore | None,
        purge: Callable[[Callable[[bool], None]], None] | None,
        seal: Seal,
    ) -> None:
        """Start the thread; it waits for erasures.

        Args:
            client: Redis; closed with the eraser.
            site: `site` of cams.yaml.
            sending: sender of events, flushed before its queue on disk is cleaned.
            store: of crops; None where none are kept.
            purge: requests a new snapshot with nothing before it, and calls its argument with whether one was written;
                None where no state is kept.
            seal: signs the reports.
        """
        self._client: Any = client
        self._site, self._sending, self._store, self._purge, self._seal = site, sending, store, purge, seal
        self._queue: queue.Queue[Erasing | None] = queue.Queue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="erase", daemon=True)
        self._thread.start()

    def start(self, erasing: Erasing) -> None:
        """Queue an erasure; the store of crops must receive the decision as well."""
        self._queue.put(erasing)

    def close(self) -> None:
        """Stop; the next daemon starts again what is not done."""
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
                except Exception as error:  # noqa: BLE001 (the erasure must happen whatever fails)
                    _log.warning("erasure_delayed", person=erasing.person, reason=cause(error))
                    self._client.connection_pool.disconnect()
                    self._closing.wait(_RETRY_S)

    def _erase(self, erasing: Erasing) -> None:
        done = [
            self._crops(erasing),
            self._state(),
            self._spool(),
            self._names(erasing.person),
            self._redis_files(),
        ]
        report = Erased(
            at=time.time(),
            who="reid-stream",
            instruction=erasing.instruction,
            person=erasing.person,
            report=f"{erasing.person} is erased: {', '.join(part for part in done if part)}",
        )
        body = encode(report)
        entry = {"do": report.do, "instruction": body, FIELD: self._seal.sign(body)}
        self._client.xadd(instructions_key(self._site), entry)
        _log.info("identity_erased", person=erasing.person)

    def _crops(self, erasing: Erasing) -> str:
        if self._store is None:
            return ""
        count = self._store.erased(erasing.instruction, _WAIT_S)
        if count is None:
            raise _NotYetError("the tracklet store has not answered")
        return f"{count} stored tracks"

    def _state(self) -> str:
        """Replace journal and snapshots by a new snapshot."""
        if self._purge is None:
            return ""
        for _ in range(3):
            answers: queue.Queue[bool] = queue.Queue()
            self._purge(answers.put)
            try:
                if answers.get(timeout=_WAIT_S):
                    return "state rewritten"
            except queue.Empty:
                break
        raise _NotYetError("no new snapshot could be written")

    def _spool(self) -> str:
        if not self._sending.flush(_WAIT_S):
            raise _NotYetError("events still wait for Redis")
        self._sending.spool.wash()
        return "spool cleaned"

    def _names(self, person: GlobalId) -> str:
        """Delete the person's live keys, and every event and instruction that contains a name of theirs."""
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
        start = "-"
        while True:
            page = self._client.xrange(key, min=start, count=_PAGE)
            yield from ((place.decode(), fields) for place, fields in page)
            if len(page) < _PAGE:
                return
            start = f"({page[-1][0].decode()}"

    def _redis_files(self) -> str:
        """Have Redis rewrite its files, which still contain what was deleted, and wait for it."""
        import redis

        rewritten: list[str] = []
        try:
            if self._info().get("aof_enabled"):
                self._wait("aof_rewrite_in_progress")
                self._client.bgrewriteaof()
                self._wait("aof_rewrite_in_progress", "aof_rewrite_scheduled")
                self._require_ok("aof_last_bgrewrite_status")
                rewritten.append("append-only file")
            self._wait("rdb_bgsave_in_progress")
            self._client.bgsave()
            self._wait("rdb_bgsave_in_progress")
            self._require_ok("rdb_last_bgsave_status")
            rewritten.append("dump")
        except redis.exceptions.ResponseError as error:
            if "in progress" in str(error):
                raise _NotYetError("Redis is rewriting its files for another client") from error
            # A managed Redis may not offer these commands.
            return f"Redis' files not rewritten, ask its operator for BGREWRITEAOF and BGSAVE ({cause(error)})"
        return f"Redis' {' and '.join(rewritten)} rewritten"

    def _info(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.info("persistence")
        return found

    def _wait(self, *flags: str) -> None:
        end = time.monotonic() + _WAIT_S * 10
        while any(self._info().get(flag) for flag in flags):
            if self._closing.is_set() or time.monotonic() > end:
                raise _NotYetError("Redis has not rewritten its files")
            time.sleep(_LOOK_S)

    def _require_ok(self, status: str) -> None:
        if self._info().get(status, "ok") != "ok":
            raise _NotYetError(f"Redis could not rewrite its files: {status} is not ok")


def _event(fields: dict[bytes, bytes], kinds: tuple[type[Event], ...]) -> Event | None:
    """Return the event of a stream entry if it is of one of these types."""
    if fields.get(b"type") not in {kind.type.encode() for kind in kinds}:
        return None
    try:
        data = read_event(fields[b"event"]).data
    except (KeyError, ValueError):
        return None
    return None if isinstance(data, UnknownEvent) else data


def _named(fields: dict[bytes, bytes]) -> GlobalId | None:
    """Return the person that an entry of the instruction stream names; None for other entries."""
    try:
        instruction = decode(fields[b"instruction"], NONE)
    except (KeyError, ValueError):
        return None
    return instruction.person if isinstance(instruction, NamePerson) else None
