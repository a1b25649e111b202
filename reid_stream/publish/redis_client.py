"""Settings to a Redis client: passwords, TLS, and errors in our own words.

Every client made here raises at the first fault and never repeats a command by itself: whether a repetition is safe is
known to the caller alone. A password from a file is read anew for each connection, so that it can be changed while we
run.
"""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from reid_stream.config.rules import REDIS_SCHEMES, SENTINEL_SCHEMES
from reid_stream.config.settings import Redis as RedisSettings
from reid_stream.errors import BrokerError, ConfigError

if TYPE_CHECKING:
    import redis

TIMEOUT_S = 5.0
"""Longest wait for an answer; a Redis that is slower counts as away."""
FLOOR = (6, 2)
"""Oldest version of Redis (major, minor) that we work with."""
_SENTINEL_PORT = 26379
_SENTINEL_S = 1.0
"""Longest wait for one sentinel: there are others to ask, and all of them count as one answer of Redis."""


def connect(settings: RedisSettings, *, url: str | None = None, timeout_s: float = TIMEOUT_S) -> "redis.Redis":
    """Make a client for the settings; nothing is sent yet.

    `url` replaces the settings' own where that says `embedded`. With `redis+sentinel://` the client asks the sentinels
    for the master at every new connection, so that it follows a fail-over.

    Raises:
        ConfigError: the URL is malformed, or a file of the settings cannot be read.
    """
    address = url if url is not None else settings.url.get_secret_value()
    scheme = address.partition("://")[0]
    if scheme not in REDIS_SCHEMES:
        raise ConfigError(
            f"redis.url must begin with {', '.join(f'{name}://' for name in REDIS_SCHEMES)}, got {public(address)!r}"
        )
    try:
        if scheme in SENTINEL_SCHEMES:
            return _by_sentinels(settings, address, timeout_s)
        import redis

        client = redis.Redis.from_url(address)
    except (ValueError, TypeError):
        # The library's message may quote a part of the password, so it is not passed on.
        raise ConfigError(
            f"redis.url must be redis://[user:password@]host[:port][/database], got {public(address)!r}; "
            "a password with special characters goes into redis.password"
        ) from None
    # The URL's own user and password come last in redis-py; the settings' are meant to win.
    given = client.connection_pool.connection_kwargs
    given.update(_options(timeout_s), **_credentials(settings), **_tls(settings, is_wanted=scheme == "rediss"))
    if "credential_provider" in given:
        given.pop("username", None)
        given.pop("password", None)
    if scheme == "unix":
        given.pop("socket_keepalive", None)
    return client


def _by_sentinels(settings: RedisSettings, address: str, timeout_s: float) -> "redis.Redis":
    """Read `redis+sentinel://[user:password@]host[:port][,...]/NAME[/database]`.

    Raises:
        ValueError: it is none.
    """
    from redis.sentinel import Sentinel

    scheme, _, rest = address.partition("://")
    login, _, rest = rest.rpartition("@")
    hosts, _, path = rest.partition("?")[0].partition("/")
    name, _, database = path.strip("/").partition("/")
    if not name:
        raise ValueError("no name")
    tls = _tls(settings, is_wanted=scheme.startswith("rediss"))
    secure: dict[str, object] = {"ssl": True, **tls} if scheme.startswith("rediss") else {}
    user, _, password = login.partition(":")
    in_url = {"username": unquote(user) or None, "password": unquote(password)} if password else {}
    ours: dict[str, object] = {**in_url, **_credentials(settings)}
    if "credential_provider" in ours:
        ours = {key: value for key, value in ours.items() if key not in ("username", "password")}
    theirs: dict[str, object] = {}
    if settings.sentinel_password is not None:
        theirs = {"username": settings.sentinel_username, "password": settings.sentinel_password.get_secret_value()}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [_host_and_port(host) for host in hosts.split(",")],
        sentinel_kwargs={**_options(min(timeout_s, _SENTINEL_S)), **secure, **theirs},
    )
    # `master_for` has no types; it gives a plain client.
    client: redis.Redis = sentinel.master_for(  # type: ignore[no-untyped-call]
        name, db=int(database or 0), **{**_options(timeout_s), **secure, **ours}
    )
    return client


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("no host")
    return parts.hostname, parts.port or _SENTINEL_PORT


def _options(timeout_s: float) -> dict[str, object]:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "reid-stream",
    }


def _credentials(settings: RedisSettings) -> dict[str, object]:
    if settings.password_file is not None:
        _read_password(settings.password_file)
        return {"credential_provider": _FromFile(settings.username, settings.password_file)}
    if settings.password is not None:
        return {"password": settings.password.get_secret_value(), "username": settings.username}
    return {"username": settings.username} if settings.username is not None else {}


def _tls(settings: RedisSettings, *, is_wanted: bool) -> dict[str, object]:
    """Give the library's options for the files of the settings, made sure that they can be read."""
    named = {"ssl_ca_certs": "ca_file", "ssl_certfile": "cert_file", "ssl_keyfile": "key_file"}
    found: dict[str, object] = {}
    for option, key in named.items() if is_wanted else ():
        path: Path | None = getattr(settings, key)
        if path is None:
            continue
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigError(f"redis.{key} must be a file that can be read: {path}: {error.strerror}") from None
        found[option] = str(path)
    return found


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
    if numbers < FLOOR:
        raise BrokerError(f"Redis must be {'.'.join(map(str, FLOOR))} or newer, got {version} at {public(where)}")
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
    import redis.sentinel

    if isinstance(error, redis.sentinel.MasterNotFoundError):
        return "no sentinel names a master that answers"
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
    if isinstance(error, ssl.SSLError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"no secure connection ({_first_line(error)})"
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
    # Within a transaction the library quotes the command, with all it holds; the reason comes after it.
    text = str(error).strip().rpartition("of pipeline caused error: ")[2]
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
