"""How a command finds a site's Redis: by its cams.yaml, or by URL and site."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reid_stream.config.settings import Redis


def reach(settings: Path | None, url: str, site: str) -> "tuple[Redis | None, str, str]":
    """Return login, URL and site: those given, or those of a cams.yaml.

    Raises:
        ConfigError: the file is wrong, or its Redis is an embedded one whose port only the daemon knows.
    """
    from reid_stream.config import cams_yaml
    from reid_stream.errors import ConfigError
    from reid_stream.observe import logs

    if settings is None:
        return None, url, site
    found = cams_yaml.load(settings)
    logs.hide(found)
    if not found.redis.is_embedded:
        return found.redis, found.redis.url.get_secret_value(), found.site
    if not found.redis.port:
        raise ConfigError(
            f"redis.port must be set in {settings} to find its embedded Redis; or give --url, as the daemon says"
        )
    return found.redis, f"redis://127.0.0.1:{found.redis.port}/0", found.site
