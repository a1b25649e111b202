"""A real redis-server and the faults that are injected into it while a daemon writes to it."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream.config.settings import Redis
from reid_stream.publish.redis_client import connect

USER, PASSWORD = "daemon", "a password, for the drill"
_RIGHTS = (
    "-@all +ping +info +xinfo +xadd +xrange +xread +publish +multi +exec +get +set +scan +hgetall +del +sadd +srem "
    "+hset +hsetnx +expire +client|setname"
)
_UNUSED_PORT = 1
"""Port without a listener: the unreachable master of a replica."""


class Server:
    """A redis-server of the drill's own, with a user that has just the rights a daemon needs."""

    def __init__(self, folder: Path, site: str) -> None:
        """Start it; call this from a thread that lives as long as the server is needed."""
        self._folder = folder
        self._site = site
        self._redis = UnguardedRedis(folder)
        self.port = self._redis.port
        self._admin = self._enter()

    @property
    def url(self) -> str:
        """Address of the server, without the user."""
        return self._redis.url

    @property
    def login(self) -> Redis:
        """The daemon's user."""
        return Redis(username=USER, password=SecretStr(PASSWORD))

    @property
    def admin(self) -> Any:
        """A client with all rights, whose connection survives a change of passwords."""
        return self._admin

    def kill(self) -> None:
        """End it as a power cut does."""
        os.kill(self._redis.pid, signal.SIGKILL)
        self._redis.stop()

    def again(self) -> None:
        """Start it on the same data and port."""
        self._redis = UnguardedRedis(self._folder, port=self.port)
        self._admin = self._enter()

    def signal(self, number: int) -> None:
        """Send a signal to it."""
        os.kill(self._redis.pid, number)

    def close(self) -> None:
        """End it in order."""
        self._admin.close()
        self._redis.stop()

    def _enter(self) -> Any:
        admin = connect(Redis(), url=self._redis.url)
        # Users are not kept over a restart without a file for them.
        rules = ["on", f">{PASSWORD}", f"~reid:{self._site}:*", "resetchannels", f"&reid:{self._site}:events"]
        admin.execute_command(  # type: ignore[no-untyped-call]
            "ACL", "SETUSER", USER, *rules, *_RIGHTS.split()
        )
        return admin


Fault = Callable[[Server], AbstractContextManager[None]]


@contextmanager
def nothing(_: Server) -> Iterator[None]:
    """Do nothing."""
    yield


@contextmanager
def killed(server: Server) -> Iterator[None]:
    """Kill it (-9), and start it again."""
    server.kill()
    yield
    server.again()


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Stop its process (SIGSTOP): connections stay, answers do not come."""
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)


@contextmanager
def full(server: Server) -> Iterator[None]:
    """Let it reach `maxmemory`: reads continue, writes are refused."""
    server.admin.config_set("maxmemory", 1)
    yield
    server.admin.config_set("maxmemory", 0)


@contextmanager
def read_only(server: Server) -> Iterator[None]:
    """Make it a replica, as after a fail-over: what it has stays, writes are refused."""
    server.admin.replicaof("127.0.0.1", _UNUSED_PORT)
    yield
    server.admin.replicaof("NO", "ONE")


@contextmanager
def locked(server: Server) -> Iterator[None]:
    """Give the user another password, and cut its connections."""
    server.admin.execute_command("ACL", "SETUSER", USER, "resetpass", ">another password")
    server.admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    yield
    server.admin.execute_command("ACL", "SETUSER", USER, "resetpass", f">{PASSWORD}")


@contextmanager
def forbidden(server: Server) -> Iterator[None]:
    """Take the right to write streams from the user."""
    server.admin.execute_command("ACL", "SETUSER", USER, "-xadd")
    yield
    server.admin.execute_command("ACL", "SETUSER", USER, "+xadd")


@contextmanager
def paused(server: Server) -> Iterator[None]:
    """Let it take writes without answering (CLIENT PAUSE), like one that is far too slow."""
    server.admin.execute_command("CLIENT", "PAUSE", 3_600_000, "WRITE")
    yield
    server.admin.execute_command("CLIENT", "UNPAUSE")
