"""Find the spool's folder: one per Redis and site, so that two sites of one name never share it."""

import hashlib
from pathlib import Path

import structlog

from reid_stream.config.redis_url import RedisUrlError, parse
from reid_stream.config.settings import Settings
from reid_stream.errors import InUseError

_LETTERS = 12
_LOOPBACK = "127.0.0.1"
_LOCAL = ("localhost", "::1", "ip6-localhost")
"""Other names of the same host."""
_log = structlog.get_logger(__name__)


def spool_folder(settings: Settings) -> Path:
    """Return the folder: that of the settings, beside the embedded Redis, or one in the user's data folder."""
    if settings.spool.directory is not None:
        return settings.spool.directory
    if settings.redis.directory is not None:
        return settings.redis.directory / "spool"
    return _parent() / (settings.site if settings.redis.is_embedded else f"{settings.site}-{_redis_key(settings)}")


def adopt_former_spool(settings: Settings) -> None:
    """Take over the spool of a release that named the folder by the site alone.

    It stays where it is if a daemon uses it, or if the site also has an embedded Redis, which may own it.
    """
    from reid_stream.publish.embedded_redis import default_directory
    from reid_stream.publish.folder_lock import FolderLock

    folder, former = spool_folder(settings), _parent() / settings.site
    if folder.parent != former.parent or folder == former or folder.exists():
        return
    if not (former / "spool.sqlite").exists() or default_directory(settings.site).exists():
        return
    try:
        lock = FolderLock(former)
    except InUseError:
        return
    try:
        former.rename(folder)
    finally:
        lock.release()
    _log.info("spool_moved", folder=str(folder), was=str(former))


def _parent() -> Path:
    import platformdirs

    return platformdirs.user_data_path("reid-stream") / "spool"


def _redis_key(settings: Settings) -> str:
    """Return a short name for a Redis database, the same however its URL is written, and without the login."""
    url = settings.redis.url.get_secret_value()
    try:
        found = parse(url)
        hosts = sorted((_LOOPBACK if host.lower() in _LOCAL else host.lower(), port) for host, port in found.hosts)
        text = f"{hosts} {found.path} {found.name} "
        text += str(found.database or 0)
    except RedisUrlError:  # refused before it is used
        text = url
    return hashlib.sha256(text.encode()).hexdigest()[:_LETTERS]
