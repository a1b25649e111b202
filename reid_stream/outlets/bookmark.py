"""Position of an outlet on the event stream, kept on disk so that a restart continues there."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from reid_stream.config.own_folder import open_own, write_own
from reid_stream.errors import ConfigError, InUseError
from reid_stream.publish.stream_ids import Position


class Bookmark:
    """A file with the position of the last event that was passed on; held by one process at a time."""

    def __init__(self, path: Path) -> None:
        """Open and lock the file.

        Raises:
            InUseError: another outlet uses it.
            ConfigError: it cannot be written, or holds no position.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.fdopen(open_own(path.with_suffix(".lock"), os.O_WRONLY), "w")
        except OSError as error:
            raise ConfigError(f"--state must be a file that can be written, {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise InUseError(f"--state must be used by one outlet only, another one uses {path}") from error
        try:
            self._position = self._read()
        except ConfigError:
            self._lock.close()
            raise

    @property
    def position(self) -> str | None:
        """Stream position of the last event that was passed on; None for a new outlet."""
        return self._position

    def put(self, position: str) -> None:
        """Store a position; it is on disk when this returns."""
        if position == self._position:
            return
        write_own(self._path, f"{position}\n".encode("ascii"), is_synced=True)
        self._position = position

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._lock.close()

    def _read(self) -> str | None:
        if self._path.is_fifo():
            raise ConfigError(f"--state must be a file that can be read, {self._path} is a pipe")
        try:
            text = self._path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--state must be a file that can be read, {self._path}: {error}") from error
        try:
            return str(Position.parse(text))
        except ValueError as error:
            raise ConfigError(f"{self._path}: {error}; remove the file to begin with new events") from error


def default_path(site: str, name: str) -> Path:
    """Return the path of an outlet's bookmark where no option sets it."""
    import platformdirs

    return platformdirs.user_state_path("reid-stream") / "outlets" / f"{site}-{name}.position"
