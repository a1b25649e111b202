"""Authenticate visitors by the headers of a reverse proxy that signs users in, as oauth2-proxy does (OpenID Connect).

The headers are believed from the proxy's own addresses only; from any other a request that has one is refused. On
loopback, where every user of the machine may connect, the proxy is recognised by the system's user that runs it.
A browser's cookie at the proxy vouches for requests of other sites as well, so changes carry a token as those of
sessions do.
"""

import hashlib
import hmac
import pwd
import re
import secrets
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network

from reid_stream.config.web_settings import WebProxy
from reid_stream.errors import ConfigError
from reid_stream.web import peer
from reid_stream.web.schemas import ROLES
from reid_stream.web.sessions import Visitor

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+|:-]{0,99}")


class ProxyRefusedError(Exception):
    """A request that the proxy's headers give no access to; the message has the reason."""


class ProxyLogin:
    """Visitors that a proxy has signed in."""

    def __init__(self, settings: WebProxy) -> None:
        """Check the settings.

        Raises:
            ConfigError: others than the proxy could send its headers.
        """
        self._settings = settings
        self._networks = [ip_network(one, strict=False) for one in settings.addresses]
        self._secret = secrets.token_bytes(32)
        self.headers = (settings.user_header.lower(), settings.groups_header.lower())
        """Names of its headers, in lower case; each may be given once."""
        self._uid = _uid_of(settings.user) if settings.user is not None else None
        is_local = any(network.is_loopback for network in self._networks)
        if is_local and peer.is_supported() and self._uid is None:
            raise ConfigError(
                "web.proxy.user must name the user that runs the proxy on this machine, since web.proxy.addresses "
                "holds a loopback address, from which every user of the machine can connect"
            )

    def visitor(self, address: str, headers: Mapping[str, str], uid: Callable[[], int | None]) -> Visitor | None:
        """Return the visitor; None for a request without the proxy's headers.

        Args:
            address: of the other end of the connection.
            headers: by name in lower case.
            uid: returns the user ID of the other end on this machine, None if it is not known.

        Raises:
            ProxyRefusedError: the headers are not the proxy's, or their user has no role.
        """
        if not any(name in headers for name in self.headers):
            return None
        if not self._is_proxy(address, uid):
            raise ProxyRefusedError(f"{self._settings.user_header} is accepted from the proxy only, not from {address}")
        name = headers.get(self.headers[0], "").strip()
        if not _NAME.fullmatch(name):
            raise ProxyRefusedError(f"{self._settings.user_header} must be a user's name, got {name!r:.80}")
        groups = [group.strip() for group in headers.get(self.headers[1], "").split(",")]
        known, default = self._settings.roles, self._settings.default_role
        role = max((known[one] for one in (name, *groups) if one in known), key=ROLES.index, default=default)
        if role is None:
            raise ProxyRefusedError(f"{name} has no role here: web.proxy.roles must name the user or one of the groups")
        return Visitor(name, role, hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest())

    def _is_proxy(self, address: str, uid: Callable[[], int | None]) -> bool:
        try:
            found = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        found = getattr(found, "ipv4_mapped", None) or found
        if not any(found in network for network in self._networks if network.version == found.version):
            return False
        return not found.is_loopback or self._uid is None or uid() == self._uid


def _uid_of(user: str) -> int:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ConfigError(f"web.proxy.user must be a user of this machine, found no {user!r}") from None
