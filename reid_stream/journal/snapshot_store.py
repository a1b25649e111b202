"""Two snapshots on Redis, written in turn, and the journal behind the older one of them."""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from reid_stream.journal.entry import StringTable
from reid_stream.journal.snapshot import HEAD, SnapshotError, SnapshotHeader, assemble, digest, pack, unpack
from reid_stream.match.snapshot import MatcherState
from reid_stream.publish.stream_ids import Position

if TYPE_CHECKING:
    import redis

_OF_MODEL = re.compile(r"[^:]+:(journal|snapshot:[ab])")
"""What follows the scope in the keys of one model; those of a replay are longer."""
_AT_ONCE = 500
"""Entries per request, some megabytes."""


class SnapshotStore:
    """Reads and writes them; every method raises the library's errors."""

    def __init__(self, client: "redis.Redis", names: StringTable) -> None:
        # The types of redis-py allow for its other, asynchronous client.
        self._client: Any = client
        self._names = names

    def heads(self) -> tuple[dict[str, SnapshotHeader], dict[str, SnapshotError]]:
        """Read the heads by key, the newest first, and why others cannot be used."""
        sound: dict[str, SnapshotHeader] = {}
        broken: dict[str, SnapshotError] = {}
        for key in self._names.snapshots:
            body = self._client.hget(key, HEAD)
            if body is None:
                continue  # never written, or its writer died
            try:
                sound[key] = unpack(body)
            except SnapshotError as error:
                broken[key] = error
        return dict(sorted(sound.items(), key=lambda item: -item[1].place)), broken

    def read(self, key: str, head: SnapshotHeader) -> MatcherState:
        """Read the matcher's state of a snapshot.

        Raises:
            SnapshotError: it is spoilt.
        """
        return assemble(head, (self._client.hget(key, f"part:{number}") for number in range(len(head.digests))))

    def write(self, key: str, head: SnapshotHeader, parts: Iterable[bytes]) -> int:
        """Write a snapshot in place of another; return its size in bytes."""
        self._client.unlink(key)
        digests, size = [], 0
        for number, part in enumerate(parts):
            self._client.hset(key, f"part:{number}", part)
            digests.append(digest(part))
            size += len(part)
        self._client.hset(key, HEAD, pack(msgspec.structs.replace(head, digests=digests)))
        return size

    def drop(self, key: str) -> None:
        """Delete a snapshot."""
        self._client.unlink(key)

    def trim(self, position: str) -> None:
        """Delete the journal up to a position."""
        place = Position.parse(position)
        self._client.xtrim(self._names.journal, minid=f"{place.ms}-{place.n + 1}", approximate=False)

    def drop_others(self) -> int:
        """Delete what is kept of the same people by other models' vectors; return how many keys that were."""
        scope = self._names.lease.removesuffix("lease")
        own = {key.encode() for key in (self._names.journal, *self._names.snapshots)}
        found = [
            key
            for key in self._client.scan_iter(match=f"{scope}*", count=_AT_ONCE)
            if key not in own and _OF_MODEL.fullmatch(key.decode().removeprefix(scope))
        ]
        return int(self._client.unlink(*found)) if found else 0

    def compact(self) -> None:
        """Write the journal anew: Redis keeps the bytes of deleted entries while others lie in the same node."""
        import redis

        key = self._names.journal
        while True:
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.watch(key)
                if not pipeline.exists(key):
                    return
                last = pipeline.xinfo_stream(key)["last-generated-id"]
                kept = pipeline.xrange(key)
                pipeline.multi()
                pipeline.delete(key)
                for place, fields in kept:
                    pipeline.xadd(key, fields, id=place)
                if not kept or kept[-1][0] != last:  # the next entry must come behind what there ever was
                    pipeline.xadd(key, {"entry": b""}, id=last)
                    pipeline.xdel(key, last)
                try:
                    pipeline.execute()
                except redis.WatchError:
                    continue  # an entry came in between
                return

    def entries(self) -> Iterator[bytes]:
        """Read the journal."""
        after = "-"
        while True:
            page = self._client.xrange(self._names.journal, after, "+", count=_AT_ONCE)
            for _, fields in page:
                yield fields.get(b"entry", b"")
            if len(page) < _AT_ONCE:
                return
            after = f"({page[-1][0].decode()}"

    def expire(self, after_s: int) -> None:
        """Let everything go after a while: of a replay that is over."""
        for key in (self._names.journal, *self._names.snapshots):
            self._client.expire(key, after_s)
