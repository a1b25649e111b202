"""A Redis primary with a replica and a sentinel, whose processes can be killed and started again."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.ports import free_port
from reid_stream.config.settings import Redis
from reid_stream.publish.redis_client import connect
from reid_stream.publish.redis_server import newest_binary

_NAME = "site"
_STARTS_S = 90.0
_DOWN_MS = 500
"""Silence after which the sentinel takes the primary for dead, milliseconds."""


class ReplicatedRedis:
    """Three processes on one address; used by one thread."""

    def __init__(self, folder: Path, address: str) -> None:
        """Start nothing yet. `address`: of this machine, under which all clients reach it."""
        self._folder, self._address = folder, address
        self._sentinel_port = free_port()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        """Servers by port."""
        self._sentinel: subprocess.Popen[bytes] | None = None
        self.url = f"redis+sentinel://{address}:{self._sentinel_port}/{_NAME}/0"
        """URL with which clients follow a fail-over."""

    def start(self) -> None:
        """Start them."""
        folder, address, first, second = self._folder, self._address, free_port(), free_port()
        self._start(first)
        self._start(second, "--replicaof", address, str(first), "--repl-diskless-sync-delay", "0")
        rules = folder / "sentinel.conf"
        rules.write_text(
            f"port {self._sentinel_port}\nprotected-mode no\nsentinel monitor {_NAME} {address} {first} 1\n"
            f"sentinel down-after-milliseconds {_NAME} {_DOWN_MS}\nsentinel failover-timeout {_NAME} 3000\n"
        )
        self._sentinel = self._run_sentinel()
        self.primary, self.replica_port = self._processes[first], second
        """As they were at the start."""

    def kill_primary(self) -> None:
        """Kill (-9) the primary, wait until the replica has its place, and start it again as the other's replica."""
        before = self._primary_port()
        process = self._processes[before]
        process.kill()
        process.wait()
        _wait(lambda: self._primary_port() != before)
        self._start(before)

    def kill_sentinel(self) -> None:
        """Kill (-9) the sentinel and start it again."""
        assert self._sentinel is not None, "started by `start`"
        self._sentinel.kill()
        self._sentinel.wait()
        self._sentinel = self._run_sentinel()

    def wait_for_replica(self) -> None:
        """Wait until a replica has all that the primary has."""
        with connect(Redis(), url=f"redis://{self._address}:{self._sentinel_port}/0") as sentinel:
            asked: Any = sentinel

            def is_whole() -> bool:
                with connect(Redis(), url=f"redis://{self._address}:{self._primary_port()}/0") as primary:
                    found = primary.info("replication")
                if found["role"] != "master" or not found["connected_slaves"]:
                    return False
                replicas = asked.execute_command("SENTINEL", "REPLICAS", _NAME)
                flags = [dict(zip(one[::2], one[1::2], strict=True))[b"flags"] for one in replicas]
                return found["slave0"]["state"] == "online" and flags == [b"slave"]

            _wait(is_whole)

    def close(self) -> None:
        """Kill all of them."""
        for process in (self._sentinel, *self._processes.values()):
            if process is not None:
                process.kill()
                process.wait()

    def _primary_port(self) -> int:
        with connect(Redis(), url=f"redis://{self._address}:{self._sentinel_port}/0") as sentinel:
            commands: Any = sentinel
            return int(commands.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _NAME)[1])

    def _start(self, port: int, *more: str) -> None:
        folder = self._folder / str(port)
        folder.mkdir(exist_ok=True)
        config = folder / "redis.conf"
        if not config.exists():
            config.write_text("")  # the sentinel has it rewritten
        options = (
            "--port",
            str(port),
            "--dir",
            str(folder),
            "--save",
            "",
            "--appendonly",
            "yes",
            "--protected-mode",
            "no",
        )
        self._processes[port] = self._run(folder, str(config), *options, *more)
        _wait(lambda: _answers(self._address, port))

    def _run_sentinel(self) -> "subprocess.Popen[bytes]":
        process = self._run(self._folder, str(self._folder / "sentinel.conf"), "--sentinel")
        _wait(lambda: _answers(self._address, self._sentinel_port))
        return process

    def _run(self, folder: Path, *words: str) -> "subprocess.Popen[bytes]":
        with (folder / "log").open("ab") as log:
            return subprocess.Popen([str(newest_binary().path), *words], stdout=log, stderr=log)


@contextmanager
def replicated_redis(folder: Path, address: str) -> Iterator[ReplicatedRedis]:
    """Run one while the block does."""
    folder.mkdir(parents=True, exist_ok=True)
    servers = ReplicatedRedis(folder, address)
    try:
        servers.start()
        yield servers
    finally:
        servers.close()


def _answers(address: str, port: int) -> bool:
    import redis

    try:
        with connect(Redis(), url=f"redis://{address}:{port}/0") as client:
            return bool(client.ping())
    except (redis.exceptions.RedisError, OSError):
        return False


def _wait(holds: Callable[[], bool]) -> None:
    import redis

    until = time.monotonic() + _STARTS_S
    while True:
        try:
            if holds():
                return
        except (redis.exceptions.RedisError, OSError, KeyError):
            pass
        if time.monotonic() > until:
            raise RuntimeError(f"Redis and its sentinel must settle within {_STARTS_S:.0f} s")
        time.sleep(0.05)
