"""Check the addresses of cameras that are set through the API: they must be in `web.camera_networks`.

So no user can make the daemon connect to other services (server-side request forgery). The daemon looks a name up again
when it connects: a name whose owner changes its address passes this check, so admins should name addresses.
"""

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from reid_stream.config.camera_url import split_login
from reid_stream.config.settings import Camera
from reid_stream.errors import ConfigError


def needs_password_again(saved: Camera, urls: Iterable[str | None]) -> bool:
    """Whether a camera has a stored password that new URLs would hand to a host or port that does not have it yet."""
    if saved.password is None and saved.password_file is None:
        return False
    known = {_place(one.get_secret_value()) for one in (saved.url, saved.detect_url) if one is not None}
    return any(url is not None and _place(url) not in known for url in urls)


def _place(url: str) -> tuple[str | None, int | None]:
    """Return host and port of a URL, (None, None) where it has none."""
    scheme, _, rest = url.partition("://")
    try:
        parts = urlsplit(f"{scheme}://{split_login(rest)[1]}")
        return parts.hostname, parts.port
    except ValueError:
        return None, None


def check_address(url: str, networks: Sequence[str]) -> None:
    """Check that all addresses of a URL's host are in the networks (CIDR). A name is looked up now.

    Raises:
        ConfigError: some are not, or the name has none.
    """
    host, port = _place(url)
    if not host:
        raise ConfigError("url: must name a host, as in rtsp://HOST/PATH")
    try:
        found = socket.getaddrinfo(host, port or 554, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ConfigError(f"url: the host must have an address, found none of {host:.80}") from None
    try:
        allowed = [ipaddress.ip_network(network, strict=False) for network in networks]
    except ValueError as error:
        raise ConfigError(f"web.camera_networks: must be networks, as 10.0.0.0/8: {error}") from None
    for *_, where in found:
        address = ipaddress.ip_address(str(where[0]).partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        if not any(mapped in network for network in allowed if network.version == mapped.version):
            raise ConfigError(
                f"url: the host must be in one of web.camera_networks ({', '.join(networks)}), found {mapped}"
            )
