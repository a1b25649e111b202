"""Folders and files in places where another user may have made something of their name before us."""

import errno
import os
import stat
from pathlib import Path

from reid_stream.errors import ConfigError


def require_own(folder: Path) -> None:
    """Refuse a folder that another user has made where all users may: in /tmp anyone can take its name beforehand.

    Raises:
        ConfigError: it is below a shared folder (sticky bit), and what lies in that belongs to another user.
        OSError: it cannot be found out.
    """
    path = folder.absolute()
    for part in (path, *path.parents):
        shared = stat.S_ISVTX | stat.S_IWOTH
        if part.parent.stat().st_mode & shared != shared:
            continue
        owner = part.lstat().st_uid
        if owner not in (0, os.geteuid()):
            raise ConfigError(
                f"{folder} must belong to the daemon's user: {part} is in a folder that all users share, and is user "
                f"{owner}'s; name a folder that others cannot make"
            )


def write_own(path: Path, content: bytes, *, is_synced: bool = False) -> None:
    """Replace a file of ours by one of mode 0600, atomically; `is_synced`: it is on disk when this returns.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        if is_synced:
            file.flush()
            os.fsync(file.fileno())
    part.replace(path)


def open_own(path: Path, flags: int) -> int:
    """Open a file of ours, made with mode 0600 if it is new; return its descriptor.

    Raises:
        OSError: it cannot be opened, or is a link, a pipe or a device, to which we would write instead.
    """
    handle = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it must be a regular file", str(path))
    return handle
