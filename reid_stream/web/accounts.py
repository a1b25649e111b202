"""User accounts: names, roles and argon2id hashes in a JSON file of mode 0600, reloaded when it changes."""

import os
import re
import threading
from pathlib import Path

import argon2
import msgspec

from reid_stream.config.own_folder import write_own
from reid_stream.errors import DECODE_ERRORS, ConfigError
from reid_stream.web.limits import TooManyError
from reid_stream.web.schemas import Role

LEAST_PASSWORD = 10
"""Characters."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,62}")
_HASHING = threading.BoundedSemaphore(2)
"""Most password hashes computed at once; each takes 64 MiB and 50 ms."""
_IN_LINE = threading.BoundedSemaphore(16)
"""Log-ins under way, those that wait for a hash included: more would take the threads of all other requests."""
_OTHERS_WRITE = 0o022


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One account."""

    name: str
    role: Role
    password: str
    """argon2id hash with its parameters and salt."""


class Accounts:
    """The users of a file; thread-safe."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ConfigError: it cannot be read, is no such file, or holds no user.
        """
        self._path = path
        self._lock = threading.Lock()
        self._hasher = argon2.PasswordHasher()
        # Hash to check unknown names against, so that they take as long as a wrong password.
        self._unknown_user_hash = self._hasher.hash(os.urandom(16).hex())
        self._changed, self._users = -1, dict[str, User]()
        self._refresh()
        if not self._users:
            raise ConfigError(f"web.users_file must hold a user, {path} is empty; add one with `reid-stream web user`")

    def find(self, name: str) -> User | None:
        """Return a user as the file has it now; None if there is none."""
        self._refresh()
        return self._users.get(name)

    def check(self, name: str, password: str) -> User | None:
        """Return the user if the password is right; None otherwise, after the same time.

        Raises:
            TooManyError: too many sign in at once.
        """
        user = self.find(name)
        if not _IN_LINE.acquire(blocking=False):
            raise TooManyError(2)
        try:
            with _HASHING:
                self._hasher.verify(user.password if user is not None else self._unknown_user_hash, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return None
        finally:
            _IN_LINE.release()
        return user

    def _refresh(self) -> None:
        with self._lock:
            try:
                found = self._path.stat()
                if found.st_mode & _OTHERS_WRITE:
                    raise PermissionError(0, "others may write it, and so sign in; `chmod go-w` it")
                changed = found.st_mtime_ns
                if changed != self._changed:
                    self._users = {user.name: user for user in read_users(self._path)}
                    self._changed = changed
            except OSError as error:
                if self._changed < 0:
                    raise ConfigError(
                        f"web.users_file must be a readable file, {self._path}: {error.strerror}; "
                        "make it with `reid-stream web user`"
                    ) from None
                # Removed since, or writable by others: no one may sign in until that is fixed.
                self._users, self._changed = {}, 0


def read_users(path: Path) -> list[User]:
    """Read a users file.

    Raises:
        ConfigError: it is not a users file.
        OSError: it cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[User])
    except DECODE_ERRORS as error:
        raise ConfigError(f"{path} must be a list of users as `reid-stream web user` writes it: {error}") from None


def put_user(path: Path, name: str, role: Role, password: str) -> None:
    """Add a user, or give one another password and role.

    Raises:
        ConfigError: the name, the password or the file cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"a user's name must be letters, digits and _.@-, at most 63, got {name!r:.80}")
    if len(password) < LEAST_PASSWORD:
        raise ConfigError(f"a password must have at least {LEAST_PASSWORD} characters, got {len(password)}")
    user = User(name, role, argon2.PasswordHasher().hash(password))
    _write(path, [*(known for known in _known(path) if known.name != name), user])


def remove_user(path: Path, name: str) -> None:
    """Remove a user; sessions of that name end.

    Raises:
        ConfigError: there is no such user, or the file cannot be written.
    """
    known = _known(path)
    if all(user.name != name for user in known):
        raise ConfigError(f"{path} must hold the user to remove, found no {name!r:.80}")
    _write(path, [user for user in known if user.name != name])


def _known(path: Path) -> list[User]:
    try:
        return read_users(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"web.users_file must be readable, {path}: {error.strerror}") from None


def _write(path: Path, users: list[User]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_own(path, msgspec.json.format(msgspec.json.encode(users), indent=2) + b"\n")
    except OSError as error:
        raise ConfigError(f"web.users_file must be a file that can be written, {path}: {error.strerror}") from None
