"""One daemon a site: a key on Redis that its owner renews, and that outlives it by a few seconds only.

Another daemon waits until the key is gone, but for one case: an owner of this very machine whose process is no more.
What is sent is fenced: a transaction goes through only if the key still was the sender's at that moment (`holds`), so
that a daemon that was frozen and wakes up writes nothing once another has taken over.
"""

import os
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from reid_stream.errors import BrokerError, InUseError
from reid_stream.publish.redis_client import cause, translated

if TYPE_CHECKING:
    import redis

_RENEWALS = 4
"""Within the time that a lease lasts."""
_LOOK_S = 0.1
_log = structlog.get_logger(__name__)


class Owner(msgspec.Struct, frozen=True):
    """Who has a lease."""

    token: str
    """Unlike any other."""
    host: str
    """The machine's name, for people."""
    boot: str
    """The machine since it was switched on, and the name space of its process numbers."""
    pid: int
    born: str
    """When the process began, in the kernel's words: its number may be given again."""

    def is_gone(self) -> bool:
        """Surely of this machine, and no process any more."""
        return self.boot == _boot() != "" and _born(self.pid) != self.born


class LeaseLostError(BrokerError):
    """Another daemon has taken over the site."""


class Lease:
    """The right to write a site's state; a `publish.stream.Fence`."""

    def __init__(self, client: "redis.Redis", key: str, *, lasts_s: float, where: str) -> None:
        """Nothing is asked yet; `client` of its own is closed with the lease."""
        self.key = key
        self.lost: str | None = None
        """Who has taken over; none while it is ours."""
        self._client: Any = client
        self._where = where
        self._lasts_ms = max(int(lasts_s * 1000), 1)
        owner = Owner(uuid.uuid4().hex, os.uname().nodename, _boot(), os.getpid(), _born(os.getpid()))
        self._value = msgspec.json.encode(owner)
        self._ending = threading.Event()
        self._renewing = threading.Thread(target=self._renew_all, name="lease", daemon=True)

    def take(self) -> None:
        """Make the site ours, and keep it so; waits for a lease of a daemon that may be dead.

        Raises:
            InUseError: another daemon has it and lives.
            BrokerError: Redis does not serve.
        """
        with translated(self._where):
            deadline = time.monotonic() + 2 * self._lasts_ms / 1000
            before: int | None = None
            while not self._client.set(self.key, self._value, nx=True, px=self._lasts_ms):
                found = self._client.get(self.key)
                owner = _read(found)
                if owner is not None and owner.is_gone():
                    self._take_from(found)
                    continue
                left_ms = self._client.pttl(self.key)
                if (before is not None and left_ms > before) or time.monotonic() > deadline:
                    raise InUseError(
                        f"{self.key} must belong to one daemon at a time: "
                        f"{'process ' + str(owner.pid) + ' on ' + owner.host if owner else 'somebody'} has it; "
                        "stop that one, or give this one another site"
                    )
                if before is None:
                    _log.info("lease_wait", owner=owner and owner.host)
                before = left_ms
                time.sleep(_LOOK_S)
        self._renewing.start()

    def holds(self, value: bytes | None) -> None:
        """Look at the key's value.

        Raises:
            LeaseLostError: it is another daemon's.
            BrokerError: it is nobody's at the moment; it is taken again soon if nobody else does.
        """
        if value == self._value:
            return
        if value is None:
            raise BrokerError("the lease has run out, and is taken again")
        self._lose(value)
        raise LeaseLostError(self.told())

    def check(self) -> None:
        """Make sure that nobody has taken over, as far as is known.

        Raises:
            LeaseLostError: somebody has.
        """
        if self.lost is not None:
            raise LeaseLostError(self.told())

    def told(self) -> str:
        """Say who has it."""
        return f"{self.key} must be ours, {self.lost} has taken over; this daemon ends, its people are the other's now"

    def give_back(self) -> None:
        """Let the next daemon begin at once; a second call does nothing."""
        self._ending.set()
        if self._renewing.is_alive():
            self._renewing.join(1.0)
        try:
            if self.lost is None and self._client.get(self.key) == self._value:
                self._client.delete(self.key)
        except Exception as error:  # noqa: BLE001 (it ends by itself)
            _log.debug("lease_not_released", reason=cause(error))
        self._client.close()

    def _take_from(self, found: bytes) -> None:
        """Take the key of a process that is no more, unless somebody else was quicker."""
        import redis

        try:
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.watch(self.key)
                if pipeline.get(self.key) == found:
                    pipeline.multi()
                    pipeline.delete(self.key)
                    pipeline.execute()
        except redis.exceptions.WatchError:
            pass

    def _renew_all(self) -> None:
        while not self._ending.wait(self._lasts_ms / 1000 / _RENEWALS):
            try:
                found = self._client.get(self.key)
                if found is None:
                    self._client.set(self.key, self._value, nx=True, px=self._lasts_ms)
                elif found == self._value:
                    self._client.pexpire(self.key, self._lasts_ms)
                else:
                    self._lose(found)
                    return
            except Exception as error:  # noqa: BLE001 (Redis is away; nobody else can take the key meanwhile either)
                _log.debug("lease_not_renewed", reason=cause(error))

    def _lose(self, value: bytes) -> None:
        owner = _read(value)
        if self.lost is None:
            self.lost = f"process {owner.pid} on {owner.host}" if owner is not None else "somebody"
            _log.error("lease_lost", owner=self.lost)


def _read(value: bytes | None) -> Owner | None:
    try:
        return msgspec.json.decode(value or b"", type=Owner)
    except msgspec.DecodeError:
        return None


def _boot() -> str:
    """Name the machine, since its last start, and the name space of process numbers; empty where it does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() + str(
            Path("/proc/self/ns/pid").readlink()
        )
    except OSError:
        return ""


def _born(pid: int) -> str:
    """Say when a process began; empty where there is none, or only what its parent has not looked after yet."""
    try:
        # After the name in brackets, which may hold anything, the state is field 3 and the start time field 22.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return "" if fields[0] in {"Z", "X"} else fields[19]
    except (OSError, IndexError):
        return ""
