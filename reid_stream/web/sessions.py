"""Authenticate visitors: open access on loopback, a bearer token, or a session made by signing in."""

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from reid_stream.config.settings import Web as WebSettings
from reid_stream.errors import ConfigError
from reid_stream.web import peer
from reid_stream.web.accounts import Accounts
from reid_stream.web.schemas import ROLES, Role

IDLE_S = 12 * 3600.0
"""Idle time after which a session ends, seconds ..."""
LONGEST_S = 7 * 86_400.0
"""... and its longest duration, seconds."""
_MOST, _EACH = 1000, 50
"""Most sessions at once, of all users and of one; one more ends the session that was idle for longest."""
_LEAST_TOKEN = 16


@dataclass(frozen=True, slots=True)
class Visitor:
    """Originator of a request and the role that applies."""

    name: str
    """Name as recorded in corrections."""
    role: Role
    csrf: str = ""
    """Token that changes must carry; empty for bearer tokens and open access."""

    def may(self, role: Role) -> bool:
        """Whether the role is at least this one."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(slots=True)
class _Session:
    name: str
    password: str
    """Hash that it was made with: another password ends it."""
    csrf: str
    began_at: float
    used_at: float


class Sessions:
    """All sessions, in memory, by the hash of their token; thread-safe."""

    def __init__(self, settings: WebSettings) -> None:
        """Decide how visitors are known.

        Raises:
            ConfigError: others than this machine could come in without being known, or a token is too short.
        """
        self._token = settings.token.get_secret_value().encode() if settings.token is not None else None
        self._token_role = settings.token_role
        if self._token is not None and len(self._token) < _LEAST_TOKEN:
            raise ConfigError(f"web.token must have at least {_LEAST_TOKEN} characters, got {len(self._token)}")
        self.accounts = Accounts(settings.users_file) if settings.users_file is not None else None
        self.is_open = self.accounts is None and self._token is None and settings.proxy is None
        """Open access without sign-in: users of this machine allowed by `web.local` may do everything."""
        if self.is_open and not is_loopback(settings.host):
            raise ConfigError(
                f"web.host {settings.host} can be reached from other machines, so web.users_file, web.token or "
                "web.proxy must be set, found none; `reid-stream web user NAME --role viewer` makes a users_file"
            )
        self._is_for_everyone = settings.local == "everyone" or not peer.is_supported()
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()

    def visitor(self, bearer: str | None, cookie: str | None, uid: Callable[[], int | None]) -> Visitor | None:
        """Return the visitor; None if unknown.

        Args:
            bearer: token of the request.
            cookie: session of the request.
            uid: returns the user ID of a visitor on this machine, None if it is not known.
        """
        if bearer is not None:
            known = self._token is not None and hmac.compare_digest(bearer.encode(), self._token)
            return Visitor("token", self._token_role) if known else None
        if self.is_open:
            return self._local_visitor(uid())
        return self._by_cookie(cookie) if cookie else None

    def _local_visitor(self, uid: int | None) -> Visitor | None:
        if not self._is_for_everyone and not peer.may_enter(uid):
            return None
        return Visitor("console (local)" if uid is None else f"{peer.user_name(uid)} (console)", "admin")

    def login(self, name: str, password: str) -> tuple[str, Visitor] | None:
        """Return a new session's token and its visitor; None where the password is wrong."""
        user = self.accounts.check(name, password) if self.accounts is not None else None
        if user is None:
            return None
        token, csrf, now = secrets.token_urlsafe(32), secrets.token_urlsafe(32), time.monotonic()
        with self._lock:
            self._make_room([key for key, one in self._sessions.items() if one.name == user.name], _EACH)
            self._make_room(list(self._sessions), _MOST)
            self._sessions[_digest(token)] = _Session(user.name, user.password, csrf, now, now)
        return token, Visitor(user.name, user.role, csrf)

    def _make_room(self, known: list[str], most: int) -> None:
        """End the sessions among these that were idle for longest, so that there are fewer than `most`."""
        for key in sorted(known, key=lambda key: self._sessions[key].used_at)[: max(0, len(known) - most + 1)]:
            del self._sessions[key]

    def logout(self, cookie: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_digest(cookie), None)

    def _by_cookie(self, cookie: str) -> Visitor | None:
        now, key = time.monotonic(), _digest(cookie)
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                return None
            user = self.accounts.find(session.name) if self.accounts is not None else None
            if (
                user is None
                or user.password != session.password
                or now - session.used_at > IDLE_S
                or now - session.began_at > LONGEST_S
            ):
                del self._sessions[key]
                return None
            session.used_at = now
            return Visitor(user.name, user.role, session.csrf)


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is this machine's alone."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
