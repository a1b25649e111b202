"""Find a site's Redis: by its cams.yaml, by URL and site, or an embedded one that runs."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reid_stream.config.settings import Redis

_DEFAULT_URL, _DEFAULT_SITE = "redis://127.0.0.1:6379/0", "site"
_VARIABLE = "REID_STREAM_REDIS"
_PROBE_S = 1.0

CamerasOption = Annotated[
    Path | None, typer.Option("--cameras", help="cams.yaml: its Redis with the credentials, and its site.")
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="Redis that the daemon writes to. Default: an embedded one that runs, else redis://127.0.0.1:6379/0.",
        envvar=_VARIABLE,
        show_envvar=True,
    ),
]
SiteOption = Annotated[
    str | None, typer.Option("--site", help="`site` of cams.yaml. Default: that of the embedded Redis, else `site`.")
]


@dataclass(frozen=True, slots=True)
class SiteAddress:
    """Location of a site's events."""

    login: "Redis | None"
    """The `redis` section of cams.yaml; none without one."""
    url: str
    """URL of Redis; may hold a password."""
    site: str
    options: str
    """Options that lead here again, for hints to paste; empty where the defaults do."""

    def hint(self, command: str) -> str:
        """Return a command for this site, ready to be pasted into a shell."""
        return f"reid-stream {command} {self.options}".rstrip()


def reach(cameras: Path | None, url: str | None, site: str | None) -> SiteAddress:
    """Return the address of a site by the options of a command.

    Raises:
        ConfigError: cams.yaml is wrong, or several embedded Redis run and none is named.
        BrokerError: the embedded Redis of cams.yaml does not run or is another user's; or none is found.
    """
    import structlog

    from reid_stream.config.settings import Observe
    from reid_stream.errors import BrokerError
    from reid_stream.observe import logs

    if not structlog.is_configured():
        logs.configure(Observe())  # the standard output is for what the command writes
    if cameras is not None:
        return _of_settings(cameras)
    if url is None:
        found = _embedded(site)
        if found is not None:
            return SiteAddress(None, found[1], found[0], "" if site is None else f"--site {shlex.quote(site)}")
        if not _listens():
            raise BrokerError(
                f"a Redis must be found, no embedded one runs for this user{f' with site {site}' if site else ''} and "
                f"nothing listens at {_DEFAULT_URL}; start the daemon, or give --cameras or --url"
            )
    options = []
    if url is not None and url != os.environ.get(_VARIABLE):
        # A password stays out of the terminal; the variable is the way to repeat it.
        options += ["--url", f'"${_VARIABLE}"' if "@" in url or "?" in url else shlex.quote(url)]
    if site is not None:
        options += ["--site", shlex.quote(site)]
    return SiteAddress(None, url or _DEFAULT_URL, site or _DEFAULT_SITE, " ".join(options))


def _of_settings(cameras: Path) -> SiteAddress:
    from reid_stream.config import cams_yaml
    from reid_stream.config.identify_settings import IdentifySettings
    from reid_stream.observe import logs
    from reid_stream.publish.embedded_redis import default_directory, running_url

    found = cams_yaml.load(cameras, kind=IdentifySettings)
    logs.hide(found)
    options = f"--cameras {shlex.quote(str(cameras))}"
    if not found.redis.is_embedded:
        return SiteAddress(found.redis, found.redis.url.get_secret_value(), found.site, options)
    url = running_url(found.redis.directory or default_directory(found.site))
    return SiteAddress(found.redis, url, found.site, options)


def _embedded(site: str | None) -> tuple[str, str] | None:
    """Return (site, URL) of the embedded Redis that runs in the user's data folder; none if there is none.

    Raises:
        ConfigError: several run, and `site` is none.
    """
    from reid_stream.errors import BrokerError, ConfigError
    from reid_stream.publish.embedded_redis import default_directory, running_url

    folders = [default_directory(site)] if site else sorted(default_directory(_DEFAULT_SITE).parent.glob("*/"))
    running = []
    for folder in folders:
        try:
            url = running_url(folder)
        except BrokerError:
            continue
        if _answers(url):
            running.append((folder.name, url))
    if len(running) > 1:
        raise ConfigError(
            f"--site must name one of the sites that run here: {', '.join(name for name, _ in running)}; or give "
            "--cameras"
        )
    return running[0] if running else None


def _listens() -> bool:
    """Whether anything is at the default address; a password is asked for later."""
    import socket

    try:
        socket.create_connection(("127.0.0.1", 6379), timeout=_PROBE_S).close()
    except OSError:
        return False
    return True


def _answers(url: str) -> bool:
    """Whether a Redis serves there: the file with its URL outlives a daemon that was killed."""
    import redis

    from reid_stream.config.settings import Redis
    from reid_stream.publish.redis_client import connect

    try:
        with connect(Redis(), url=url, timeout_s=_PROBE_S) as client:
            return bool(client.ping())
    except (redis.exceptions.RedisError, OSError):
        return False
