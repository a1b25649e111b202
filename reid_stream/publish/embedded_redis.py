"""Embedded Redis: a redis-server that the daemon starts and supervises, for the daemon's user alone.

It listens on a Unix socket (mode 0600) in its folder (mode 0700) or, where the settings name a port, on 127.0.0.1 with
a password from a file (mode 0600) in that folder. No client may configure, script or extend it. Every write is on disk
before it is answered (`appendfsync always`).

Files of the folder besides those of Redis: `redis.url` (the address, while it runs), `redis.password` (with a port
only), `redis.version` (of the server that wrote the data), `redis.log`, `lock`.
"""

import hashlib
import os
import re
import secrets
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import structlog

from reid_stream.config.own_folder import write_own
from reid_stream.errors import BrokerError, ConfigError
from reid_stream.publish.folder_lock import FolderLock
from reid_stream.publish.redis_client import public
from reid_stream.publish.redis_server import Binary, RedisProcess, newest_binary
from reid_stream.publish.redis_supervisor import HUNG_S, RedisSupervisor

_HANDOVER_S = 3.0
_URL, _PASSWORD, _VERSION, _SOCKET = "redis.url", "redis.password", "redis.version", "redis.sock"
_MULTI_PART = (7, 0)
"""First version whose append-only file is a folder; older servers do not read it and would start empty."""
_RIGHTS = (
    *("~*", "&*", "+@all"),
    # Commands that read and write data, but none that runs code, names files or other servers, or grants rights: the
    # categories contain EVAL, FUNCTION, SHUTDOWN, REPLICAOF, MIGRATE, SAVE, FLUSHALL and the like in every version.
    *("-@admin", "-@dangerous", "-@scripting", "-acl", "-config", "-debug", "-module", "-script"),
    # Erasure needs the files rewritten (their place is fixed); the others only return information.
    *("+bgrewriteaof", "+bgsave", "+info", "+keys", "+client|setname", "+client|getname", "+client|id"),
)

_log = structlog.get_logger(__name__)


def default_directory(site: str) -> Path:
    """Return the default folder of a site's embedded Redis."""
    import platformdirs

    return platformdirs.user_data_path("reid-stream") / "redis" / site


def running_url(directory: Path) -> str:
    """Return the URL, password included, of the embedded Redis that runs on this folder.

    Raises:
        BrokerError: none runs, or the folder belongs to another user.
    """
    try:
        return (directory / _URL).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise BrokerError(
            f"an embedded Redis must run in {directory}, found no {_URL} there; start the daemon, or set "
            "redis.directory to the daemon's"
        ) from None
    except OSError as error:
        raise BrokerError(
            f"the embedded Redis in {directory} serves only the user of its daemon: {error.strerror}; run as that user"
        ) from None


class EmbeddedRedis:
    """A supervised redis-server; use as a context manager, or call `stop`."""

    def __init__(self, directory: Path, port: int = 0, *, hung_s: float = HUNG_S) -> None:
        """Start the server and wait until it serves.

        Args:
            directory: Its folder, made private (mode 0700) if it is not.
            port: TCP port on 127.0.0.1, with a password; 0 for a Unix socket.
            hung_s: seconds without an answer after which a running server is replaced.

        Raises:
            ConfigError: another daemon uses the folder, or it cannot be written or made private.
            BrokerError: there is no redis-server, it does not start, or it is older than the data.
        """
        self.directory = directory = directory.absolute()
        self.port = port
        # The server of a daemon that was just killed may still be writing.
        self._lock = FolderLock(directory, wait_s=_HANDOVER_S)
        try:
            _make_private(directory)
            self.binary = _binary_for(directory)
            self.url, self._options = _by_port(directory, port) if port else _by_socket(directory)
            self._supervisor = RedisSupervisor(self._start, self.url, hung_s=hung_s)
        except BaseException:
            self._lock.release()
            raise

    @property
    def pid(self) -> int:
        """The server's process; another one after a restart."""
        return self._supervisor.pid

    @property
    def fault(self) -> str | None:
        """Reason why the server does not serve now; None while it does."""
        return self._supervisor.fault

    def stop(self) -> None:
        """End the server in order; a second call does nothing."""
        if self._lock.fileno >= 0:
            (self.directory / _URL).unlink(missing_ok=True)
        self._supervisor.stop()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, cancelled: Callable[[], bool]) -> RedisProcess:
        """Start a server: the first one, and each after it, on the same data at the same address."""
        # An upgrade may have replaced it since the last start.
        self.binary = _binary_for(self.directory)
        fixed: list[tuple[object, ...]] = [
            ("dir", self.directory),
            ("appendonly", "yes"),
            ("appendfsync", "always"),
            ("save", ""),
            ("maxmemory-policy", "noeviction"),
            ("daemonize", "no"),
        ]
        if self.binary.version[:2] >= _MULTI_PART:
            # The defaults there, stated because nothing may load code or move files.
            fixed += [(f"enable-{what}", "no") for what in ("protected-configs", "debug-command", "module-command")]
        try:
            process = RedisProcess(
                self.binary,
                [*fixed, *self._options],
                url=self.url,
                log=self.directory / "redis.log",
                inherited=(self._lock.fileno,),
                cancelled=cancelled,
            )
        except BrokerError as error:
            raise BrokerError(
                f"the embedded Redis must start in {self.directory} at {public(self.url)}: {error}"
            ) from None
        try:
            write_own(self.directory / _VERSION, f"{'.'.join(map(str, self.binary.version))}\n".encode())
            write_own(self.directory / _URL, f"{self.url}\n".encode())
        except OSError as error:
            process.stop()
            raise ConfigError(
                f"{self.directory} must be a folder that the daemon can write: {error.strerror}"
            ) from error
        more = {"password_file": str(self.directory / _PASSWORD)} if self.port else {}
        _log.info("embedded_redis_started", url=public(self.url), server=str(self.binary), **more)
        return process


def _by_socket(directory: Path) -> tuple[str, list[tuple[object, ...]]]:
    """Return URL and options for a Unix socket in the folder or, where that is impossible, in a runtime folder.

    Raises:
        ConfigError: it is impossible in all of them.
    """
    faults = []
    for folder in _socket_folders(directory):
        path = folder / _SOCKET
        try:
            if folder != directory:
                folder.mkdir(mode=0o700, exist_ok=True)
                # Its name can be guessed, so another user may have created it.
                found = folder.lstat()
                if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                    raise ConfigError(f"must belong to the daemon's user, found a folder of user {found.st_uid}")
                _make_private(folder)
            path.unlink(missing_ok=True)
            # A path may be too long (107 bytes on Linux), and some file systems have no sockets.
            with socket.socket(socket.AF_UNIX) as probe:
                probe.bind(str(path))
            path.unlink()
        except (OSError, ConfigError) as error:
            faults.append(f"{path}: {error}")
            continue
        rules = ("user", "default", "on", "nopass", *_RIGHTS)
        # In a URL an @, ? or # would end the path.
        return f"unix://{quote(os.fsencode(path))}", [("port", 0), ("unixsocket", path), ("unixsocketperm", 600), rules]
    raise ConfigError(
        "the embedded Redis needs a place for its Unix socket, found none; give redis.directory a shorter path or "
        "another file system, or set XDG_RUNTIME_DIR or redis.port\n  " + "\n  ".join(faults)
    )


def _socket_folders(directory: Path) -> Iterator[Path]:
    yield directory
    # The same at every start, so that the URL stays; clients with another XDG_RUNTIME_DIR find it in `redis.url`.
    name = f"reid-stream-{os.geteuid()}-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]}"
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / name
    yield Path(tempfile.gettempdir()) / name


def _by_port(directory: Path, port: int) -> tuple[str, list[tuple[object, ...]]]:
    """Return URL and options for a TCP port of 127.0.0.1 with the folder's password, generated at the first start."""
    path = directory / _PASSWORD
    try:
        if path.exists():
            path.chmod(0o600)
        else:
            write_own(path, f"{secrets.token_urlsafe(32)}\n".encode())
        password = (path.read_text(encoding="utf-8").splitlines() or [""])[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} must contain the embedded Redis' password: {error}") from None
    if not password:
        raise ConfigError(
            f"{path} must contain the embedded Redis' password, found an empty line; delete it to get a new one"
        )
    rules = ("user", "default", "on", f"#{hashlib.sha256(password.encode()).hexdigest()}", *_RIGHTS)
    return f"redis://:{quote(password, safe='')}@127.0.0.1:{port}/0", [("bind", "127.0.0.1"), ("port", port), rules]


def _binary_for(directory: Path) -> Binary:
    """Return the newest server.

    Raises:
        BrokerError: it is older than the one that wrote the folder, so that it would start without the data.
    """
    binary = newest_binary()
    file = directory / _VERSION
    # A pipe in its place would be waited for.
    stamp = re.match(r"(\d+)\.(\d+)", file.read_text(errors="replace")) if file.is_file() else None
    written = tuple(map(int, stamp.groups())) if stamp is not None else (0, 0)
    if (directory / "appendonlydir").is_dir():
        written = max(written, _MULTI_PART)
    if binary.version[:2] < written:
        raise BrokerError(
            f"the embedded Redis must be {'.'.join(map(str, written))} or newer to read its data in {directory}, found "
            f"{binary}; install redis-server again, or set redis.directory to a new folder (IDs then start at 1)"
        )
    return binary


def _make_private(folder: Path) -> None:
    """Deny all other users access to a folder.

    Raises:
        ConfigError: it belongs to another user, or is shared as /tmp is.
    """
    found = folder.stat()
    if found.st_mode & stat.S_ISVTX:
        raise ConfigError(f"{folder} must belong to the daemon alone, found a folder that users share (sticky bit)")
    if not found.st_mode & 0o077:
        return
    try:
        folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            f"{folder} must be accessible to the daemon's user only (mode 0700), found {stat.filemode(found.st_mode)}, "
            f"and cannot be changed: {error.strerror}"
        ) from None
    _log.warning("folder_made_private", folder=str(folder), was=stat.filemode(found.st_mode))
