"""A Redis without access control for tests and drills, which change its settings, users and role while it runs."""

from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.ports import free_port
from reid_stream.errors import BrokerError
from reid_stream.publish.folder_lock import FolderLock
from reid_stream.publish.redis_server import RedisProcess, newest_binary

_TRIES = 3


class UnguardedRedis:
    """A running redis-server on a TCP port of 127.0.0.1, without a password; every write is on disk when answered."""

    def __init__(self, directory: Path, port: int = 0, *, is_durable: bool = True) -> None:
        """Start it; call this from a thread that lives as long as the server is needed. Port 0 takes a free one.

        `is_durable`: False for one that starts from `dump.rdb` and writes nothing.

        Raises:
            BrokerError: it does not start.
        """
        self.directory = directory
        self._durable = "yes" if is_durable else "no"
        self._lock = FolderLock(directory, wait_s=3.0)
        try:
            self.port, self._process = self._start(port)
        except BaseException:
            self._lock.release()
            raise

    @property
    def url(self) -> str:
        """URL of the server."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def stop(self) -> None:
        """End the server in order; a second call does nothing."""
        self._process.stop()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, port: int) -> tuple[int, RedisProcess]:
        for attempt in range(_TRIES):
            chosen = port or free_port()
            options: list[tuple[object, ...]] = [
                ("bind", "127.0.0.1"),
                ("port", chosen),
                ("dir", self.directory),
                ("appendonly", self._durable),
                ("appendfsync", "always"),
                ("save", ""),
            ]
            try:
                return chosen, RedisProcess(
                    newest_binary(),
                    options,
                    url=f"redis://127.0.0.1:{chosen}/0",
                    log=self.directory / "redis.log",
                    inherited=(self._lock.fileno,),
                )
            except BrokerError as error:
                # A free port may be taken between the choice and the server's start: choose again.
                if port or "Address already in use" not in str(error) or attempt == _TRIES - 1:
                    raise
        raise AssertionError("unreachable")
