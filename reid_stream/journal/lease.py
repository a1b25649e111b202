"""Lease on a site, so that only one daemon writes its state: a Redis key that the owner renews.

The key outlives its owner by a few seconds. Another daemon waits until the key is gone, unless the owner was a process
on this machine that has ended: then it takes the key at once. Writes are fenced: a transaction succeeds only while the
key is the sender's (`holds`), so that a daemon that was frozen and wakes up writes nothing after another took over.

A second key, `<key>:epochs`, lists the latest holdings of the lease by their tokens and does not expire. A holding that
another daemon's holding has followed has ended, even if the lease is free now.
"""

import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from reid_stream.errors import DECODE_ERRORS, BrokerError, InUseError
from reid_stream.journal.server_clock import ServerClock
from reid_stream.publish.redis_client import cause, get_string, translated
from reid_stream.publish.spool_row import Epoch

if TYPE_CHECKING:
    import redis

_RENEWALS = 4
"""Renewals within the duration of a lease."""
_LOOK_S = 0.1
_NO_EXPIRY = -1
"""Answer of PTTL for a key that never expires."""
_BELIEVED_MS = 60_000
"""Longest duration that is taken from another daemon's lease: any writer can write any number."""
_EPOCHS = 100
"""Number of holdings that are listed."""
_log = structlog.get_logger(__name__)


class Owner(msgspec.Struct, frozen=True):
    """Owner of a lease."""

    token: str
    """Unique per lease."""
    host: str
    """Host name, for messages."""
    boot: str
    """ID of this boot of the machine, and of its PID namespace."""
    pid: int
    born: str
    """Start time of the process in clock ticks since boot, since PIDs are reused."""
    lasts_ms: int = 0
    """Duration of the lease, milliseconds; 0 where an earlier release wrote it."""

    @classmethod
    def here(cls, lasts_ms: int = 0) -> "Owner":
        """Return this process, with a token of its own; `lasts_ms`: see the field."""
        return cls(uuid.uuid4().hex, os.uname().nodename, _boot(), os.getpid(), _born(os.getpid()), lasts_ms)

    def is_gone(self) -> bool:
        """Return whether the owner was a process on this machine that has ended."""
        return self.boot == _boot() != "" and _born(self.pid) != self.born


class LeaseLostError(BrokerError):
    """Another daemon has taken over the site."""


class Lease:
    """Right to write a site's state; a `publish.redis_stream.Fence`."""

    def __init__(self, client: "redis.Redis", key: str, *, lasts_s: float, where: str) -> None:
        """Send nothing yet. `client` belongs to the lease, which closes it."""
        self.key = key
        self.lost: str | None = None
        """The daemon that has taken over; None while the lease is ours."""
        self._client: Any = client
        self._where = where
        self._lasts_ms = max(int(lasts_s * 1000), 1)
        owner = Owner.here(self._lasts_ms)
        self._value = msgspec.json.encode(owner)
        self._epochs = f"{key}:epochs"
        self.epoch = Epoch(key, owner.token, ())
        """This holding, and those that were listed at its start."""
        self._is_listed = False
        self._asked = threading.Event()
        """Set to renew the lease now."""
        self._ending = threading.Event()
        self._renewing = threading.Thread(target=self._renew_all, name="lease", daemon=True)

    def take(self) -> None:
        """Acquire the lease and keep renewing it; waits for the lease of a daemon that may be dead.

        A daemon's lease is readable and expires within its duration. A key that is not, or does not, is another
        writer's, or of a daemon that ended before the clock of Redis was put back: it is replaced after the duration
        of a lease, in which a running daemon would have written or renewed its own.

        Raises:
            InUseError: a running daemon has it.
            BrokerError: Redis cannot be reached.
        """
        with translated(self._where):
            started = time.monotonic()
            before: int | None = None
            while not self._acquire(is_first=True):
                found = get_string(self._client, self.key)
                owner = _read(found)
                if owner is not None and owner.is_gone():
                    self._take_from(found)
                    continue
                left_ms = self._client.pttl(self.key)
                waited_s = time.monotonic() - started
                lasts_s = self._duration_ms(owner) / 1000
                if self._is_stale(found, owner, left_ms) and waited_s > lasts_s:
                    _log.warning("lease_forged", key=self.key, owner=owner and owner.host)
                    self._take_from(found)
                    continue
                if (before is not None and left_ms > before) or waited_s > 2 * lasts_s:
                    raise InUseError(
                        f"{self.key} must belong to one daemon at a time: {_name(owner)} has it; "
                        "stop that one, or give this one another site"
                    )
                if before is None:
                    _log.info("lease_wait", owner=owner and owner.host)
                before = left_ms
                time.sleep(_LOOK_S)
        self._renewing.start()

    def stand_by(self, is_over: Callable[[], bool], on_holder: Callable[[str], None]) -> bool:
        """Wait, however long, until no other daemon has the lease, then acquire it; False if `is_over` comes first.

        A lease that ends while Redis serves is that of a daemon that has failed. Where Redis itself was away, or its
        clock was set forward, its owner gets the duration of a lease to acquire it again: it may hold events that Redis
        has not got yet.

        `on_holder` is called with the daemon that has it, first and at each change.
        """
        known, is_away, free_from = "", False, 0.0
        clock = ServerClock(self._client)
        while not is_over():
            try:
                with translated(self._where):
                    found = get_string(self._client, self.key)
                    left_ms = self._client.pttl(self.key)
                    is_set_forward = clock.is_set_forward()
                if is_away or is_set_forward:
                    is_away, free_from = False, time.monotonic() + self._lasts_ms / 1000
                owner = _read(found)
                no_one = "no daemon, for Redis has just come back or its clock was set"
                holder = _name(owner) if found is not None else no_one
                is_free = found is None and time.monotonic() >= free_from
                if is_free or self._is_stale(found, owner, left_ms) or (owner is not None and owner.is_gone()):
                    self.take()
                    return True
            except InUseError:  # another one on standby was faster
                continue
            except BrokerError as error:
                is_away, holder = True, f"an unknown daemon: {error}"
            if holder != known:
                known = holder
                on_holder(holder)
            time.sleep(_LOOK_S)
        return False

    def begin(self) -> None:
        """List this holding: from now on the spool knows it, so that a daemon killed here is followed without loss.

        Raises:
            LeaseLostError: another daemon has the lease.
            BrokerError: the lease has expired, or Redis cannot be reached.
        """
        import redis

        with translated(self._where), self._client.pipeline(transaction=True) as pipeline:
            while not self._is_listed:
                try:
                    pipeline.watch(self.key)
                    self.holds(get_string(pipeline, self.key))
                    pipeline.multi()
                    pipeline.set(self._epochs, self._tokens())
                    pipeline.execute()
                    self._is_listed = True
                except redis.exceptions.WatchError:
                    continue  # the lease was renewed

    def _tokens(self) -> bytes:
        return msgspec.json.encode([*self.epoch.seen, self.epoch.token][-_EPOCHS:])

    def holds(self, value: bytes | None) -> None:
        """Check that the lease is ours, given the key's value.

        Raises:
            LeaseLostError: another daemon has it.
            BrokerError: it has expired; it is acquired again soon unless another daemon does.
        """
        self.check()
        if value == self._value:
            return
        if _read(value) is None:
            self._asked.set()
            what = "has expired" if value is None else f"was overwritten by another writer ({self.key})"
            raise BrokerError(f"the lease {what} and is being acquired again")
        self._lose(value)
        raise LeaseLostError(self.lost_message())

    def check(self) -> None:
        """Check that no other daemon is known to have taken over.

        Raises:
            LeaseLostError: another daemon has.
        """
        if self.lost is not None:
            raise LeaseLostError(self.lost_message())

    def lost_message(self) -> str:
        """Return the message of a `LeaseLostError`."""
        return f"{self.key} must belong to this daemon, but {self.lost} has taken over the site; this daemon ends"

    def give_back(self) -> None:
        """Release the lease, so that the next daemon need not wait; a second call does nothing."""
        self._ending.set()
        self._asked.set()
        if self._renewing.is_alive():
            self._renewing.join(1.0)
        try:
            if self.lost is None and get_string(self._client, self.key) == self._value:
                self._client.delete(self.key)
        except Exception as error:  # noqa: BLE001 (the lease expires by itself)
            _log.debug("lease_not_released", reason=cause(error))
        self._client.close()

    def _is_stale(self, value: bytes | None, owner: Owner | None, left_ms: int) -> bool:
        """Return whether a lease is as no running daemon leaves it: unreadable, or to last longer than its duration."""
        if value is None:
            return False
        if owner is None or left_ms == _NO_EXPIRY:
            return True
        return owner.lasts_ms > 0 and left_ms > self._duration_ms(owner)

    def _duration_ms(self, owner: Owner | None) -> int:
        """Return the duration of a lease within which a running owner has renewed it; at least our own."""
        return max(self._lasts_ms, min(owner.lasts_ms if owner is not None else 0, _BELIEVED_MS))

    def _acquire(self, *, is_first: bool) -> bool:
        """Acquire the lease if it is free; False if another daemon has it.

        Raises:
            LeaseLostError: another daemon has had it since this one.
        """
        import redis

        with self._client.pipeline(transaction=True) as pipeline:
            try:
                pipeline.watch(self.key, self._epochs)
                if get_string(pipeline, self.key) is not None:
                    return False
                listed = _read_epochs(get_string(pipeline, self._epochs), self._epochs)
                if is_first:
                    self.epoch = self.epoch._replace(seen=listed)
                elif listed and listed[-1] not in (*self.epoch.seen, self.epoch.token):
                    self._lose(None)
                    raise LeaseLostError(self.lost_message())
                pipeline.multi()
                pipeline.set(self.key, self._value, px=self._lasts_ms)
                if self._is_listed:
                    pipeline.set(self._epochs, self._tokens())
                pipeline.execute()
            except redis.exceptions.WatchError:
                return False
        return True

    def _take_from(self, found: bytes | None) -> None:
        """Delete the key of a process that has ended, or a forged one, unless another daemon was faster."""
        import redis

        try:
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.watch(self.key)
                if get_string(pipeline, self.key) == found:
                    pipeline.multi()
                    pipeline.delete(self.key)
                    pipeline.execute()
        except redis.exceptions.WatchError:
            pass

    def _renew_all(self) -> None:
        while True:
            self._asked.wait(self._lasts_ms / 1000 / _RENEWALS)
            self._asked.clear()
            if self._ending.is_set():
                return
            try:
                found = get_string(self._client, self.key)
                if found is not None and _read(found) is None:
                    _log.warning("lease_forged", key=self.key, owner=None)
                    self._take_from(found)
                    found = None
                if found is None:
                    self._acquire(is_first=False)
                elif found == self._value:
                    self._client.pexpire(self.key, self._lasts_ms)
                else:
                    self._lose(found)
                    return
            except LeaseLostError:
                return
            except Exception as error:  # noqa: BLE001 (Redis is down, so no other daemon can acquire the lease meanwhile either)
                _log.debug("lease_not_renewed", reason=cause(error))

    def _lose(self, value: bytes | None) -> None:
        owner = _read(value)
        if self.lost is None:
            self.lost = _name(owner)
            _log.error("lease_lost", owner=self.lost)


def _name(owner: Owner | None) -> str:
    return f"process {owner.pid} on {owner.host}" if owner is not None else "an unknown process"


def _read(value: bytes | None) -> Owner | None:
    try:
        return msgspec.json.decode(value or b"", type=Owner)
    except DECODE_ERRORS:
        return None


def _read_epochs(value: bytes | None, key: str) -> tuple[str, ...]:
    try:
        return tuple(msgspec.json.decode(value, type=list[str])) if value is not None else ()
    except DECODE_ERRORS as error:
        _log.error("state_key_invalid", key=key, reason=str(error))
        return ()


def _boot() -> str:
    """Return an ID of this boot of the machine and its PID namespace; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() + str(
            Path("/proc/self/ns/pid").readlink()
        )
    except OSError:
        return ""


def _born(pid: int) -> str:
    """Return the start time of a process; empty if there is none, or only a zombie."""
    try:
        # proc(5): the name in parentheses may contain any character; after it come fields 3 (state) to 22 (starttime).
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return "" if fields[0] in {"Z", "X"} else fields[19]
    except (OSError, IndexError):
        return ""
