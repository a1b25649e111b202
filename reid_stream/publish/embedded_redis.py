"""A Redis of our own beside the daemon, for the daemon's user alone, so that a first try needs no server.

It listens on a Unix socket (mode 0600) in its folder (mode 0700), or, where the settings name a port, on 127.0.0.1 with
a password from a file (mode 0600) in that folder. No client may configure, script or extend it: what it needs is set
when it starts. Every write is on disk before it is answered (`appendfsync always`).

Files of the folder besides Redis' own: `redis.url` (where it serves, while it runs), `redis.password` (with a port
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

from reid_stream.errors import BrokerError, ConfigError
from reid_stream.publish.folder_lock import FolderLock
from reid_stream.publish.redis_client import public
from reid_stream.publish.redis_server import Binary, RedisProcess, newest_binary
from reid_stream.publish.redis_supervisor import HUNG_S, RedisSupervisor

_HANDOVER_S = 3.0
_URL, _PASSWORD, _VERSION, _SOCKET = "redis.url", "redis.password", "redis.version", "redis.sock"
_MULTI_PART = (7, 0)
"""From this version on the append-only file is a folder, which older servers pass over: they would start empty."""
_RIGHTS = (
    *("~*", "&*", "+@all"),
    # All that reads and writes data; nothing that runs code, names files or other servers, or gives rights. The
    # categories hold EVAL, FUNCTION, SHUTDOWN, REPLICAOF, MIGRATE, SAVE, FLUSHALL and their like of every version.
    *("-@admin", "-@dangerous", "-@scripting", "-acl", "-config", "-debug", "-module", "-script"),
    # Erasure has the files written anew (where they are is fixed); the rest only tells.
    *("+bgrewriteaof", "+bgsave", "+info", "+keys", "+client|setname", "+client|getname", "+client|id"),
)

_log = structlog.get_logger(__name__)


def default_directory(site: str) -> Path:
    """Where a site's embedded Redis keeps its data unless the settings say otherwise."""
    import platformdirs

    return platformdirs.user_data_path("reid-stream") / "redis" / site


def running_url(directory: Path) -> str:
    """Return the URL, password included, of the embedded Redis that runs on this folder.

    Raises:
        BrokerError: none runs, or its folder is another user's.
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
            f"the embedded Redis in {directory} serves the user of its daemon alone: {error.strerror}; run as that user"
        ) from None


class EmbeddedRedis:
    """A redis-server that is started again when it ends; use as a context manager, or call `stop`."""

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
        # A server whose daemon was killed a moment ago still needs to write its last data.
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
        """Why the server does not serve now; None while it does."""
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
            _write_private(self.directory / _VERSION, ".".join(map(str, self.binary.version)))
            _write_private(self.directory / _URL, self.url)
        except OSError as error:
            process.stop()
            raise ConfigError(
                f"{self.directory} must be a folder that the daemon can write: {error.strerror}"
            ) from error
        more = {"password_file": str(self.directory / _PASSWORD)} if self.port else {}
        _log.info("embedded_redis_started", url=public(self.url), server=str(self.binary), **more)
        return process


def _by_socket(directory: Path) -> tuple[str, list[tuple[object, ...]]]:
    """Give URL and options for a Unix socket in the folder, or, where it cannot be there, in a runtime folder.

    Raises:
        ConfigError: it can be in neither.
    """
    faults = []
    for folder in _socket_folders(directory):
        path = folder / _SOCKET
        try:
            if folder != directory:
                folder.mkdir(mode=0o700, exist_ok=True)
                # Its name can be guessed: another user may have been there before us.
                found = folder.lstat()
                if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                    raise ConfigError(f"must be a folder of our own, found one of user {found.st_uid}")
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
        # `quote`: redis-py takes an @, ? or # of the path for a part of the URL.
        return f"unix://{quote(os.fsencode(path))}", [("port", 0), ("unixsocket", path), ("unixsocketperm", 600), rules]
    raise ConfigError(
        "the embedded Redis needs a place for its Unix socket, found none; give redis.directory a shorter path or "
        "another file system, or set XDG_RUNTIME_DIR or redis.port\n  " + "\n  ".join(faults)
    )


def _socket_folders(directory: Path) -> Iterator[Path]:
    yield directory
    # The same at every start, so that the URL stays; `redis.url` tells it to those who have another XDG_RUNTIME_DIR.
    name = f"reid-stream-{os.geteuid()}-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]}"
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / name
    yield Path(tempfile.gettempdir()) / name


def _by_port(directory: Path, port: int) -> tuple[str, list[tuple[object, ...]]]:
    """Give URL and options for a TCP port of 127.0.0.1 with the folder's password, generated at the first start."""
    path = directory / _PASSWORD
    try:
        if path.exists():
            path.chmod(0o600)
        else:
            _write_private(path, secrets.token_urlsafe(32))
        password = (path.read_text(encoding="utf-8").splitlines() or [""])[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} must hold the embedded Redis' password: {error}") from None
    if not password:
        raise ConfigError(
            f"{path} must hold the embedded Redis' password, found an empty line; delete it for a new one"
        )
    rules = ("user", "default", "on", f"#{hashlib.sha256(password.encode()).hexdigest()}", *_RIGHTS)
    return f"redis://:{quote(password, safe='')}@127.0.0.1:{port}/0", [("bind", "127.0.0.1"), ("port", port), rules]


def _binary_for(directory: Path) -> Binary:
    """Choose the server: the newest, which must not be older than the one that wrote the folder.

    Raises:
        BrokerError: it is; it could not read the data, and would start without.
    """
    binary = newest_binary()
    try:
        stamp = re.match(r"(\d+)\.(\d+)", (directory / _VERSION).read_text(errors="replace"))
    except FileNotFoundError:
        stamp = None
    written = tuple(map(int, stamp.groups())) if stamp is not None else (0, 0)
    if (directory / "appendonlydir").is_dir():
        written = max(written, _MULTI_PART)
    if binary.version[:2] < written:
        raise BrokerError(
            f"the embedded Redis must be {'.'.join(map(str, written))} or newer to read its data in {directory}, found "
            f"{binary}; install redis-server again, or give redis.directory a new folder (IDs then begin anew)"
        )
    return binary


def _make_private(folder: Path) -> None:
    """Take a folder from all users but ours.

    Raises:
        ConfigError: it is another user's, or shared as /tmp is.
    """
    found = folder.stat()
    if found.st_mode & stat.S_ISVTX:
        raise ConfigError(f"{folder} must be a folder of the daemon's own, found one that users share (sticky bit)")
    if not found.st_mode & 0o077:
        return
    try:
        folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            f"{folder} must be for the daemon's user alone (mode 0700), found {stat.filemode(found.st_mode)}, "
            f"and cannot be changed: {error.strerror}"
        ) from None
    _log.warning("folder_made_private", folder=str(folder), was=stat.filemode(found.st_mode))


def _write_private(path: Path, text: str) -> None:
    """Write a line into a file of mode 0600, at once."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(f"{text}\n")
    part.replace(path)
