"""Redis clients from the settings: URL, login, TLS; and their errors in plain words.

Every client raises at the first fault and repeats no command: only the caller knows whether a repetition is safe. It
speaks RESP2, which Redis and its look-alikes (Valkey, KeyDB, Dragonfly) answer alike. A password file is read at each
connection, so that the password can be changed while the daemon runs.
"""

import importlib.util
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reid_stream.config.redis_url import RedisUrl, RedisUrlError, parse
from reid_stream.config.settings import Redis as RedisSettings
from reid_stream.errors import BrokerError, ConfigError

if TYPE_CHECKING:
    import redis

TIMEOUT_S = 5.0
"""Longest wait for an answer; a Redis that is slower counts as away."""
FLOOR = (6, 2)
"""Oldest supported version of Redis (major, minor)."""
_SENTINEL_S = 1.0
"""Longest wait for one sentinel: all of them together count as one answer of Redis."""


def connect(settings: RedisSettings, *, url: str | None = None, timeout_s: float = TIMEOUT_S) -> "redis.Redis":
    """Make a client for the settings; nothing is sent yet.

    Args:
        settings: with the URL, and a login that wins over that of the URL.
        url: replaces that of the settings, where that is `embedded` or there are none. With `redis+sentinel://` the
            client asks the sentinels for the master at every new connection, so that it follows a fail-over.
        timeout_s: longest wait for an answer, seconds.

    Raises:
        ConfigError: the URL is malformed, or a file of the settings cannot be read.
    """
    import redis

    address = _parse(url if url is not None else settings.url.get_secret_value())
    options = {
        **_options(timeout_s),
        **_login(settings, address),
        "db": address.database or 0,
    }
    if address.name:
        return _by_sentinels(settings, address, options, timeout_s)
    pool: redis.ConnectionPool
    if address.path:
        options.pop("socket_keepalive")
        pool = redis.ConnectionPool(redis.UnixDomainSocketConnection, path=address.path, **options)
    else:
        ((host, port),) = address.hosts
        connection = redis.SSLConnection if address.is_tls else redis.Connection
        pool = redis.ConnectionPool(connection, host=host, port=port, **_tls(settings, address), **options)
    return redis.Redis.from_pool(pool)


def _parse(text: str) -> RedisUrl:
    try:
        return parse(text)
    except RedisUrlError as error:
        raise ConfigError(f"redis.url {error} ({public(text)!r})") from None


def _by_sentinels(
    settings: RedisSettings, address: RedisUrl, options: dict[str, Any], timeout_s: float
) -> "redis.Redis":
    from redis.sentinel import Sentinel

    secure: dict[str, object] = {"ssl": True, **_tls(settings, address)} if address.is_tls else {}
    theirs: dict[str, object] = {}
    if settings.sentinel_password is not None:
        theirs = {"username": settings.sentinel_username, "password": settings.sentinel_password.get_secret_value()}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        list(address.hosts),
        sentinel_kwargs={**_options(min(timeout_s, _SENTINEL_S)), **secure, **theirs},
    )
    # `master_for` has no types; it gives a plain client.
    client: redis.Redis = sentinel.master_for(address.name, **secure, **options)  # type: ignore[no-untyped-call]
    return client


def _options(timeout_s: float) -> dict[str, Any]:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    # Without: CLIENT SETINFO at each connection, which older servers do not know and an ACL may deny.
    names = ("driver_info",) if importlib.util.find_spec("redis.driver_info") else ("lib_name", "lib_version")
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "reid-stream",
        "protocol": 2,
        **dict.fromkeys(names),
    }


def _login(settings: RedisSettings, address: RedisUrl) -> dict[str, object]:
    """Return user and password: those of the settings, else those of the URL."""
    username = settings.username if settings.username is not None else address.username
    if settings.password_file is not None:
        _read_password(settings.password_file)
        return {"credential_provider": _PasswordFile(username, settings.password_file)}
    password = settings.password.get_secret_value() if settings.password is not None else address.password
    return {"username": username, "password": password}


def _tls(settings: RedisSettings, address: RedisUrl) -> dict[str, Any]:
    """Return the library's options for TLS, once the files are known to be readable."""
    if not address.is_tls:
        return {}
    found: dict[str, Any] = {}
    if settings.tls == "unverified":
        found |= {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
    for option, key in {"ssl_ca_certs": "ca_file", "ssl_certfile": "cert_file", "ssl_keyfile": "key_file"}.items():
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
    """Make sure that Redis answers, accepts the login and can be used; return its version.

    Raises:
        BrokerError: it does not, is older than 6.2, a cluster or a sentinel.
    """
    with translated(where):
        client.ping()
        server = _identify(client)
    mode = server.get("mode", "")
    if mode == "cluster":
        raise BrokerError(
            f"Redis must not be a cluster, found one at {public(where)}: events and live keys change in one "
            "transaction, which a cluster refuses; use a Redis without cluster mode (cluster-enabled no)"
        )
    if mode == "sentinel":
        raise BrokerError(
            f"redis.url must lead to a Redis, found a sentinel at {public(where)}; write redis+sentinel://host:port/NAME"
        )
    version = server.get("version", "unknown")
    numbers = tuple(map(int, found.groups())) if (found := re.match(r"(\d+)\.(\d+)", version)) else FLOOR
    if numbers < FLOOR:
        raise BrokerError(f"Redis must be {'.'.join(map(str, FLOOR))} or newer, got {version} at {public(where)}")
    return version


def _identify(client: "redis.Redis") -> dict[str, str]:
    """Return the server's `version` and `mode`, by HELLO, which every user may call; empty where it knows neither."""
    import redis

    try:
        answer: Any = client.execute_command("HELLO")  # type: ignore[no-untyped-call]
    except redis.exceptions.ResponseError:
        answer = []
    found = {name: value for name, value in mapping(answer).items() if isinstance(value, str)}
    if re.match(r"\d+\.\d+", found.get("version", "")):
        return found
    try:
        info: Any = client.info("server")
    except redis.exceptions.ResponseError:
        return found
    return {"version": str(info.get("redis_version", "unknown")), "mode": str(info.get("redis_mode", "standalone"))}


def eviction(client: "redis.Redis", where: str) -> str | None:
    """Return `eviction_policy`.

    Raises:
        BrokerError: Redis does not answer.
    """
    with translated(where):
        return eviction_policy(client)


def eviction_policy(client: "redis.Redis") -> str | None:
    """Return `maxmemory-policy` where it lets Redis delete keys by itself; None where not, or where it is unknown.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    import redis

    try:
        info: Any = client.info("memory")
    except redis.exceptions.ResponseError:
        return None
    # Dragonfly evicts in its cache mode, and has no policies.
    policy = "cache_mode" if info.get("cache_mode") == "cache" else str(info.get("maxmemory_policy", "noeviction"))
    return None if policy == "noeviction" else policy


def mapping(answer: Any) -> dict[str, Any]:
    """Return a reply of names and values as a dict of text, be it a map (RESP3) or a flat list (RESP2)."""
    pairs = answer.items() if isinstance(answer, Mapping) else zip(answer[::2], answer[1::2], strict=False)
    return {_text(name): _text(value) for name, value in pairs}


def get_string(client: Any, key: str) -> bytes | None:
    """Return the value of a key, None where there is none, and empty where it is of another type than a string.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    import redis

    try:
        found: bytes | None = client.get(key)
    except redis.exceptions.ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        return b""
    return found


def stream_entries(answer: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return the entries in a reply to XREAD or XREADGROUP of one stream.

    RESP2 gives `[[key, entries]]`, RESP3 `{key: entries}` or, by redis-py, `{key: [entries]}`.
    """
    if not answer:
        return []
    if not isinstance(answer, Mapping):
        return list(answer[0][1])
    entries = next(iter(answer.values()))
    is_nested = (
        bool(entries) and isinstance(entries[0], list) and (not entries[0] or not isinstance(entries[0][0], bytes))
    )
    return list(entries[0] if is_nested else entries)


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise the library's errors as BrokerError, with the address and without the password."""
    import redis

    try:
        yield
    except (redis.exceptions.RedisError, OSError) as error:
        raise BrokerError(f"Redis must answer at {public(where)}: {cause(error)}") from None


def cause(error: BaseException) -> str:
    """Return in a few words why Redis did not serve, for messages, logs and metrics."""
    import redis
    import redis.sentinel

    known = redis.exceptions
    if isinstance(error, known.AuthenticationError) or "NOAUTH" in str(error):
        return "it refuses the user or the password"
    if isinstance(error, ssl.SSLError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"no secure connection ({_first_line(error)})"
    for types, words in (
        ((redis.sentinel.MasterNotFoundError,), "no sentinel names a master that answers"),
        ((known.NoPermissionError,), f"its ACL forbids a command that is needed ({_first_line(error)})"),
        ((known.BusyLoadingError,), "it is still loading its data"),
        ((known.OutOfMemoryError,), "it is out of memory (maxmemory)"),
        ((known.ReadOnlyError,), "it is a read-only replica"),
        (
            (known.AskError, known.ClusterDownError, known.ClusterCrossSlotError),
            f"it is a cluster, which is not supported ({_first_line(error)})",
        ),
        ((known.TimeoutError, TimeoutError), "it did not answer in time"),
        ((known.ConnectionError, OSError), f"no connection ({_first_line(error)})"),
    ):
        if isinstance(error, types):
            return words
    return _first_line(error)


def public(address: str) -> str:
    """Return a URL without user, password and query, which may contain secrets."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address if "@" not in address else "***"
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def _first_line(error: BaseException) -> str:
    # In a transaction the library quotes the command with its arguments before the reason.
    text = str(error).strip().rpartition("of pipeline caused error: ")[2]
    return text.splitlines()[0] if text else type(error).__name__


def _read_password(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").splitlines()[0].strip()
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise ConfigError(
            f"redis.password_file must contain the password in its first line: {path}: {type(error).__name__}"
        ) from None


class _PasswordFile:
    """A redis-py credential provider: called at every new connection."""

    def __init__(self, username: str | None, path: Path) -> None:
        self._username = username
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = _read_password(self._path)
        return (password,) if self._username is None else (self._username, password)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()
