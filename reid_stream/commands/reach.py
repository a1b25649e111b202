"""How a command finds a site's Redis: by its cams.yaml, or by URL and site."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reid_stream.config.settings import Redis


def reach(settings: Path | None, url: str, site: str) -> "tuple[Redis | None, str, str]":
    """Return login, URL and site: those given, or those of a cams.yaml.

    Raises:
        ConfigError: the file is wrong.
        BrokerError: its Redis is an embedded one that does not run, or another user's.
    """
    from reid_stream.config import cams_yaml
    from reid_stream.observe import logs

    if settings is None:
        return None, url, site
    found = cams_yaml.load(settings)
    logs.hide(found)
    if not found.redis.is_embedded:
        return found.redis, found.redis.url.get_secret_value(), found.site
    from reid_stream.publish.embedded_redis import default_directory, running_url

    return found.redis, running_url(found.redis.directory or default_directory(found.site)), found.site
