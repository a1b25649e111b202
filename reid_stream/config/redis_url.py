"""Parse the URL of a Redis: every part is used or refused (pure).

    redis[s]://[user:password@]host[:port][/database]
    unix://[user:password@]/path[?db=database]
    redis[s]+sentinel://[user:password@]host[:port][,host[:port]...]/NAME[/database]

redis-py's own parser takes any query option as a keyword argument of its connection, `ssl_cert_reqs=none` included, and
reads a database that is no number as 0.
"""

import re
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, unquote, urlsplit

SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
REDIS_SCHEMES = ("redis", "rediss", "unix", *SENTINEL_SCHEMES)
_PORT, _SENTINEL_PORT = 6379, 26379
_MOST_DATABASES = 1 << 31
_CERTIFICATES = "use `redis.ca_file` for a private authority, or `redis.tls: unverified` to accept any certificate"
_INSTEAD = {
    "ssl": "write rediss:// for TLS",
    "ssl_cert_reqs": _CERTIFICATES,
    "ssl_check_hostname": _CERTIFICATES,
    "ssl_ca_certs": "use `redis.ca_file`",
    "ssl_certfile": "use `redis.cert_file`",
    "ssl_keyfile": "use `redis.key_file`",
    "username": "use `redis.username`",
    "password": "use `redis.password` or `redis.password_file`",
}
_LOGIN = "a user or password with / ? # or @ in it must be in `redis.username` and `redis.password`"


class RedisUrlError(ValueError):
    """A URL that cannot be used; the text says why, without showing the login."""


@dataclass(frozen=True, repr=False)
class RedisUrl:
    """The parts of a URL."""

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    """(host, port) of Redis, or of each sentinel; empty for a Unix socket."""
    path: str = ""
    """Path of the Unix socket."""
    name: str = ""
    """Name of the master that the sentinels watch."""
    database: int | None = None
    """Number of the database; None where the URL names none."""
    username: str | None = None
    password: str | None = None

    @property
    def is_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.scheme.startswith("rediss")


def parse(text: str) -> RedisUrl:
    """Read a URL.

    Raises:
        RedisUrlError: a part of it is malformed, or would not be used.
    """
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in REDIS_SCHEMES:
        found = f"{scheme}://" if separator and scheme.isidentifier() else "none of them"
        allowed = ", ".join(f"{name}://" for name in REDIS_SCHEMES)
        raise RedisUrlError(f"must be a Redis, found {found}; allowed: embedded, {allowed}")
    if not text.isprintable() or " " in text:
        raise RedisUrlError("must be without spaces and control characters, found some")
    authority, behind = re.fullmatch(r"([^/?#]*)(.*)", rest).groups()  # type: ignore[union-attr]
    login, at, hosts = authority.rpartition("@")
    if scheme != "unix" and "@" in behind:
        raise RedisUrlError(f"must have its @ before the first / ? or #, found it behind; {_LOGIN}")
    if "#" in behind:
        raise RedisUrlError(f"must end with the database, found a #; {_LOGIN}")
    path, _, query = behind.partition("?")
    user, _, password = login.partition(":")
    place = _socket if scheme == "unix" else _sentinels if scheme in SENTINEL_SCHEMES else _server
    return replace(
        place(RedisUrl(scheme, database=_database(query)), hosts, path),
        username=(unquote(user) or None) if at else None,
        password=(unquote(password) or None) if at else None,
    )


def _socket(url: RedisUrl, hosts: str, path: str) -> RedisUrl:
    if hosts or not path.strip("/"):
        raise RedisUrlError("must be unix:///absolute/path/of/a/socket, found no absolute path")
    return replace(url, path=unquote(path))


def _server(url: RedisUrl, hosts: str, path: str) -> RedisUrl:
    return _in_path(replace(url, hosts=(_host(hosts, _PORT),)), path.strip("/"))


def _sentinels(url: RedisUrl, hosts: str, path: str) -> RedisUrl:
    name, _, database = path.strip("/").partition("/")
    if not name:
        raise RedisUrlError(
            "must name what the sentinels watch, found no name; allowed: redis+sentinel://host:26379,host:26379/NAME/0"
        )
    sentinels = tuple(_host(host, _SENTINEL_PORT) for host in hosts.split(","))
    return _in_path(replace(url, hosts=sentinels, name=unquote(name)), database)


def _in_path(url: RedisUrl, text: str) -> RedisUrl:
    if not text:
        return url
    database = _number(unquote(text))
    if url.database not in (None, database):
        raise RedisUrlError(f"must name one database, found {database} and ?db={url.database}")
    return replace(url, database=database)


def _host(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise RedisUrlError(
            f"must have a host and a port from 1 to 65535, found something else there; {_LOGIN}"
        ) from None
    if not host:
        raise RedisUrlError("must name a host, found none; allowed: for example redis://10.0.0.5:6379/0")
    if "," in host:
        raise RedisUrlError("must name one host, found several; redis+sentinel:// takes more")
    if port == 0:
        raise RedisUrlError("must have a port from 1 to 65535, found 0")
    return unquote(host), default_port if port is None else port


def _database(query: str) -> int | None:
    """Read `db`, the only option."""
    database = None
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name != "db":
            instead = _INSTEAD.get(name, "leave it out")
            raise RedisUrlError(f"must have no option but db, found ?{name[:40]}=; {instead}")
        if database is not None:
            raise RedisUrlError("must name one database, found ?db= twice")
        database = _number(value)
    return database


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) >= _MOST_DATABASES:
        raise RedisUrlError(f"must name the database by a number, found {text[:40]!r}; allowed: for example /0")
    return int(text)
