"""Prepare the environment before libraries load: a home folder, file names in UTF-8, temporary files, safe imports."""

import os
import sys
import tempfile
from pathlib import Path

NO_HOME = "/nonexistent"
"""Home folder that Debian gives to system accounts."""


def ensure_safe_imports() -> None:
    """Keep modules of the working folder out of all child processes that run Python.

    Python puts that folder first for `-c` and `-m`, so that a `secrets.py` there would run instead of the library's. An
    empty part of PYTHONPATH, as `$PYTHONPATH:/more` leaves it, names that folder as well.
    """
    folders = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    root = str(Path(__file__).parents[2])
    if not sys.flags.safe_path and sys.path and sys.path[0] == root and root not in folders:
        folders.append(root)  # a checkout that is not installed, run by `python -m`
    os.environ["PYTHONSAFEPATH"] = "1"
    if folders:
        os.environ["PYTHONPATH"] = os.pathsep.join(folders)
    else:
        os.environ.pop("PYTHONPATH", None)


def ensure_home() -> None:
    """Set HOME if it is unset or empty and the user has no account, or is no absolute path: libraries fail otherwise.

    It then names a folder that does not exist and cannot be made: nothing is kept there, as with a read-only home.
    """
    if not os.environ.get("HOME", "/").strip():
        del os.environ["HOME"]
    try:
        is_known = Path.home().is_absolute()
    except RuntimeError:
        is_known = False
    if not is_known:
        os.environ["HOME"] = NO_HOME


def temporary_fault() -> str | None:
    """Return what to do where no folder for temporary files can be written; none where one can."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return (
            "a folder for temporary files must be writable, found neither $TMPDIR nor /tmp nor /var/tmp; "
            "mount a tmpfs on /tmp, or set TMPDIR to a folder that can be written"
        )
    return None


def ensure_utf8(module: str) -> None:
    """Start this process again in Python's UTF-8 mode where the locale and the settings of Python rule it out.

    Names of folders in cams.yaml are UTF-8; an interpreter that takes names for ASCII cannot open them.

    Args:
        module: has the function `main` that is to run.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    code = f"from {module} import main; main()"
    command = [sys.executable, "-c", code, *sys.argv[1:]]
    os.execve(sys.executable, command, {**os.environ, "PYTHONUTF8": "1"})  # noqa: S606 (no shell is wanted)
