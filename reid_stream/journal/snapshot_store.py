"""The two latest snapshots on Redis, and the journal since the older one."""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from reid_stream.journal.entry import StateKeys
from reid_stream.journal.snapshot import HEAD, SnapshotError, SnapshotHeader, assemble, digest, pack, unpack
from reid_stream.match.snapshot import MatcherState
from reid_stream.publish.stream_ids import Position

if TYPE_CHECKING:
    import redis

_OF_MODEL = re.compile(r"[^:]+:(journal|snapshot:[ab])")
"""Rest of a key after the scope, for keys of one model; keys of a replay are longer."""
_AT_ONCE = 500
"""Entries per request: some megabytes."""


class SnapshotStore:
    """Reads and writes snapshots and the journal; every method raises the errors of redis-py."""

    def __init__(self, client: "redis.Redis", keys: StateKeys) -> None:
        # The types of redis-py allow for its other, asynchronous client.
        self._client: Any = client
        self._keys = keys

    def heads(self) -> tuple[dict[str, SnapshotHeader], dict[str, SnapshotError]]:
        """Return the valid headers by key, newest first, and the errors of the others."""
        import redis

        sound: dict[str, SnapshotHeader] = {}
        broken: dict[str, SnapshotError] = {}
        for key in self._keys.snapshots:
            try:
                body = self._client.hget(key, HEAD)
            except redis.exceptions.ResponseError as error:
                if "WRONGTYPE" not in str(error):
                    raise
                broken[key] = SnapshotError("it is of another type")
                continue
            if body is None:
                continue  # never written, or its writer died
            try:
                sound[key] = unpack(body)
            except SnapshotError as error:
                broken[key] = error
        return dict(sorted(sound.items(), key=lambda item: -item[1].place)), broken

    def read(self, key: str, head: SnapshotHeader) -> MatcherState:
        """Read the matcher's state.

        Raises:
            SnapshotError: the snapshot is damaged.
        """
        return assemble(head, (self._client.hget(key, f"part:{number}") for number in range(len(head.digests))))

    def read_core(self, key: str, head: SnapshotHeader) -> MatcherState:
        """Read the matcher's state without the views of identities, which are most of it.

        Raises:
            SnapshotError: the snapshot is damaged.
        """
        core = msgspec.structs.replace(head, digests=head.digests[:1])
        return assemble(core, [self._client.hget(key, "part:0")])

    def write(self, key: str, head: SnapshotHeader, parts: Iterable[bytes]) -> int:
        """Replace the snapshot at `key`; return its size in bytes."""
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
        self._client.xtrim(self._keys.journal, minid=str(Position.parse(position).after()), approximate=False)

    def drop_others(self) -> int:
        """Delete the states of all other models; return the number of deleted keys."""
        scope = self._keys.lease.removesuffix("lease")
        own = {key.encode() for key in (self._keys.journal, *self._keys.snapshots)}
        found = [
            key
            for key in self._client.scan_iter(match=f"{scope}*", count=_AT_ONCE)
            if key not in own and _OF_MODEL.fullmatch(key.decode(errors="replace").removeprefix(scope))
        ]
        return int(self._client.unlink(*found)) if found else 0

    def compact(self) -> None:
        """Rewrite the journal: Redis keeps the bytes of deleted entries while others share their node."""
        import redis

        key = self._keys.journal
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
                if not kept or kept[-1][0] != last:  # the next ID must be above every earlier one
                    pipeline.xadd(key, {"entry": b""}, id=last)
                    pipeline.xdel(key, last)
                try:
                    pipeline.execute()
                except redis.WatchError:
                    continue  # an entry was added meanwhile
                return

    def entries(self) -> Iterator[bytes]:
        """Yield the journal's encoded entries in order."""
        after = "-"
        while True:
            page = self._client.xrange(self._keys.journal, after, "+", count=_AT_ONCE)
            for _, fields in page:
                yield fields.get(b"entry", b"")
            if len(page) < _AT_ONCE:
                return
            after = f"({page[-1][0].decode()}"

    def expire(self, after_s: int) -> None:
        """Set all keys to expire, after a replay has ended."""
        for key in (self._keys.journal, *self._keys.snapshots):
            self._client.expire(key, after_s)
