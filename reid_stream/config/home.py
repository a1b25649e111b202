"""A home folder for processes without one, as containers with `--user 12345` have it."""

import os
from pathlib import Path

NO_HOME = "/nonexistent"
"""What Debian gives to system accounts as their home."""


def ensure_home() -> None:
    """Set HOME if it is unset and the user has no account, or is no absolute path: libraries fail on import otherwise.

    It then names a folder that does not exist and cannot be made: nothing is kept there, as with a read-only home.
    """
    try:
        is_known = Path.home().is_absolute()
    except RuntimeError:
        is_known = False
    if not is_known:
        os.environ["HOME"] = NO_HOME
