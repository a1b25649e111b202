"""A private temporary folder of this process, for sockets; folders of processes that were killed are deleted."""

import fcntl
import functools
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from multiprocessing import util
from pathlib import Path

PREFIX = "reid-stream-tmp-"
_NEW = "reid-stream-new-"
"""Prefix of a folder whose owner has not locked it yet."""
_NEW_S = 3600.0
"""Age at which a folder that was never locked never will be."""
_MOST_BYTES = 50
"""Longest path above our folder: sockets in it add up to 57 bytes, of 107 allowed (Linux, unix(7))."""
_PRIORITY = -101
"""Deleted after multiprocessing's own temporary folder, whose exit priority is -100."""


@functools.cache
def scratch_folder() -> Path:
    """Return this process's folder (mode 0700), which is deleted when the process exits.

    The first call creates it, and deletes the folders of this user's processes that did not exit in order. A process
    locks its folder for as long as it lives, which a process in another container sees as well.
    """
    base = _base()
    _sweep(base)
    made = Path(tempfile.mkdtemp(prefix=_NEW, dir=base))
    with suppress(OSError):  # a file system without locks; then no other process takes the lock either
        fcntl.flock(os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), fcntl.LOCK_EX)
    folder = made.rename(base / f"{PREFIX}{made.name.removeprefix(_NEW)}")
    util.Finalize(None, shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}, exitpriority=_PRIORITY)
    return folder


def _base() -> Path:
    """Return the system's folder for temporary files; /tmp where $TMPDIR is too long for sockets in our folder."""
    named = Path(tempfile.gettempdir())
    return named if len(os.fsencode(named)) <= _MOST_BYTES or not os.access("/tmp", os.W_OK) else Path("/tmp")  # noqa: S108


def _sweep(base: Path) -> None:
    """Delete the folders whose owners have ended."""
    for folder in [*base.glob(f"{PREFIX}*"), *base.glob(f"{_NEW}*")]:
        with suppress(OSError):
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            if folder.name.startswith(_NEW) and time.time() - found.st_mtime < _NEW_S:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
