"""Settings to a Redis client: passwords, TLS, and errors in our own words.

Every client made here raises at the first fault and never repeats a command by itself: whether a repetition is safe is
known to the caller alone. A password from a file is read anew for each connection, so that it can be changed while we
run.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reid_stream.config import Redis as RedisSettings
from reid_stream.errors import BrokerError, ConfigError

if TYPE_CHECKING:
    import redis

TIMEOUT_S = 5.0
"""Longest wait for an answer; a Redis that is slower counts as away."""
_FLOOR = (6, 2)
_SCHEMES = ("redis", "rediss", "unix")


def connect(settings: RedisSettings, *, url: str | None = None, timeout_s: float = TIMEOUT_S) -> "redis.Redis":
    """Make a client for the settings; nothing is sent yet.

    `url` replaces the settings' own where that says `embedded`. TLS is `rediss://`; a private authority is given as
    `rediss://host:6379/0?ssl_ca_certs=/etc/ssl/site.pem`.

    Raises:
        ConfigError: the URL is malformed, or the password file cannot be read.
    """
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    address = url if url is not None else settings.url.get_secret_value()
    if urlsplit(address).scheme not in _SCHEMES:
        raise ConfigError(f"redis.url must begin with redis://, rediss:// or unix://, got {public(address)!r}")
    options: dict[str, object] = {}
    if settings.password_file is not None:
        _read_password(settings.password_file)
        options["credential_provider"] = _FromFile(settings.username, settings.password_file)
    elif settings.password is not None:
        options["password"] = settings.password.get_secret_value()
        options["username"] = settings.username
    elif settings.username is not None:
        options["username"] = settings.username
    try:
        client = redis.Redis.from_url(address)
        # The URL's own user and password come last in redis-py; the settings' are meant to win.
        client.connection_pool.connection_kwargs.update(
            options,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            client_name="reid-stream",
        )
        if "credential_provider" in options:
            client.connection_pool.connection_kwargs.pop("username", None)
            client.connection_pool.connection_kwargs.pop("password", None)
        if address.startswith("unix:"):
            client.connection_pool.connection_kwargs.pop("socket_keepalive", None)
    except (ValueError, TypeError):
        # The library's message may quote a part of the password, so it is not passed on.
        raise ConfigError(
            f"redis.url must be redis://[user:password@]host[:port][/database], got {public(address)!r}; "
            "a password with special characters goes into redis.password"
        ) from None
    return client


def check(client: "redis.Redis", where: str) -> str:
    """Make sure that Redis answers, lets us in and is new enough; return its version.

    Raises:
        BrokerError: it does not.
    """
    import redis

    with translated(where):
        client.ping()
        try:
            version = str(client.info("server")["redis_version"])
        except redis.exceptions.NoPermissionError:
            return "unknown"
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < _FLOOR:
        raise BrokerError(f"Redis must be {'.'.join(map(str, _FLOOR))} or newer, got {version} at {public(where)}")
    return version


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn the library's errors into BrokerError, with the address and without the password."""
    import redis

    try:
        yield
    except (redis.exceptions.RedisError, OSError) as error:
        raise BrokerError(f"Redis must answer at {public(where)}: {cause(error)}") from None


def cause(error: BaseException) -> str:
    """Say in a few words why Redis did not serve; for messages, logs and metrics."""
    import redis

    if isinstance(error, redis.exceptions.AuthenticationError) or "NOAUTH" in str(error):
        return "it refuses the user or the password"
    if isinstance(error, redis.exceptions.NoPermissionError):
        return f"its ACL forbids a command we need ({_first_line(error)})"
    if isinstance(error, redis.exceptions.BusyLoadingError):
        return "it is still loading its data"
    if isinstance(error, redis.exceptions.OutOfMemoryError):
        return "it is out of memory (maxmemory)"
    if isinstance(error, redis.exceptions.ReadOnlyError):
        return "it is a read-only replica"
    if isinstance(error, (redis.exceptions.TimeoutError, TimeoutError)):
        return "it did not answer in time"
    if isinstance(error, (redis.exceptions.ConnectionError, OSError)):
        return f"no connection ({_first_line(error)})"
    return _first_line(error)


def public(address: str) -> str:
    """Show a URL without user, password and query (which may hold keys)."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address if "@" not in address else "***"
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _read_password(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").splitlines()[0].strip()
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise ConfigError(
            f"redis.password_file must hold the password in its first line: {path}: {type(error).__name__}"
        ) from None


class _FromFile:
    """A redis-py credential provider: asked at every new connection."""

    def __init__(self, username: str | None, path: Path) -> None:
        self._username = username
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = _read_password(self._path)
        return (password,) if self._username is None else (self._username, password)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()
