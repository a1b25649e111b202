"""Exclusive lock on a folder; the kernel releases it when its process ends."""

import fcntl
import os
import time
from pathlib import Path

from reid_stream.config.own_folder import open_own, require_own
from reid_stream.errors import ConfigError, InUseError


class FolderLock:
    """flock(2) on `<folder>/lock`; child processes that inherit `fileno` hold it as well."""

    def __init__(self, folder: Path, *, wait_s: float = 0.0) -> None:
        """Create the folder and take the lock, waiting up to `wait_s` seconds for its owner to end.

        Raises:
            InUseError: another process holds it.
            ConfigError: the folder cannot be written, or another user has made it.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            require_own(folder)
            self.fileno = open_own(folder / "lock", os.O_RDWR)
        except OSError as error:
            raise ConfigError(
                f"{folder} must be a folder that the daemon can write: {error.strerror}; "
                "name another in cams.yaml (redis.directory, spool.directory, store.folder), or set HOME"
            ) from error
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(self.fileno, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                owner = os.pread(self.fileno, 20, 0).decode(errors="replace").strip() or "unknown"
                os.close(self.fileno)
                raise InUseError(
                    f"{folder} must be used by one daemon at a time: process {owner} has it; "
                    "stop that one, or give this one another site or folder"
                ) from None
        os.ftruncate(self.fileno, 0)
        os.pwrite(self.fileno, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        if self.fileno >= 0:
            os.close(self.fileno)
            self.fileno = -1
