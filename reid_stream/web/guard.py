"""Check every request before the application sees it (plain ASGI).

    Host header ─▶ rate ─▶ visitor ─▶ origin and CSRF token of changes ─▶ size and pace of the body ─▶ application

Every answer gets security headers. Nothing here looks at a body.
"""

import asyncio
import hmac
import html
import json
import re
import socket
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from reid_stream.config.settings import Web as WebSettings
from reid_stream.web.journey import API
from reid_stream.web.limits import Limits, TooManyError, group_of
from reid_stream.web.peer import uid_of
from reid_stream.web.pictures import MOST_BYTES
from reid_stream.web.proxy_login import ProxyLogin, ProxyRefusedError
from reid_stream.web.sessions import Sessions, Visitor, is_loopback
from reid_stream.web.turns import Turns

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "reid_stream_session"
BODY_S = 20.0
"""Longest for a whole body to arrive."""
_STREAMS = (f"{API}/events", f"{API}/previews")
_NOT_YOURS = (
    "this console is open to the user of this machine who runs it; for other users make accounts with "
    "`reid-stream web user`, or set web.local: everyone"
)
_SAFE = ("GET", "HEAD", "OPTIONS")
_JSON_BYTES = 256 << 10
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}")
"""Value of the session's cookie."""
_MOST_DIGITS = 20
"""Digits of a Content-Length."""
_HSTS = (b"strict-transport-security", b"max-age=31536000")


class _RefusedError(HTTPException):
    """Also raised while the application reads a body, which then answers with it as with its own errors."""

    def __init__(self, status: HTTPStatus, detail: str, wait_s: float | None = None) -> None:
        super().__init__(status.value, detail)
        self.wait_s = wait_s


class _Answer:
    """Sends a response with the headers common to all of them."""

    def __init__(self, send: Send, *, is_static: bool, is_tls: bool) -> None:
        self._send = send
        caching = b"no-cache" if is_static else b"no-store"
        self._headers = [*_HEADERS, *([_HSTS] if is_tls else []), (b"cache-control", caching)]
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            given = list(message.get("headers", ()))
            known = {name.lower() for name, _ in given}
            message = {**message, "headers": [*given, *(pair for pair in self._headers if pair[0] not in known)]}
        await self._send(message)


class Guard:
    """ASGI middleware; puts `visitor` (None: unknown) and others into the state of each request."""

    def __init__(self, app: App, settings: WebSettings, sessions: Sessions, limits: Limits) -> None:
        self.application = app
        self._app, self._sessions, self._limits, self._turns = app, sessions, limits, Turns()
        self._proxy = ProxyLogin(settings.proxy) if settings.proxy is not None else None
        self._is_tls = settings.cert_file is not None
        self._names = {name.lower().rstrip(".") for name in settings.names}
        self._names.add(settings.host.lower())
        if is_loopback(settings.host):
            self._names.add("localhost")
        else:
            self._names.add(socket.gethostname().lower())
            self._names.add(socket.getfqdn().lower())
        self._is_local = is_loopback(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it; there are no WebSockets here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return
        answer = _Answer(send, is_static=scope["path"].startswith("/static/"), is_tls=self._is_tls)
        try:
            headers = _headers(scope, self._proxy.headers if self._proxy is not None else ())
            scope["headers"] = _without_other_cookies(scope, headers)
            self._check_host(headers)
            address = group_of(str((scope.get("client") or ("unknown", 0))[0]))
            signed_in = self._signed_in(scope, headers)
            # All users of a proxy have its address, so each counts alone.
            address = f"{signed_in.name} ({address})" if signed_in is not None else address
            self._limits.spend(address, "request")
            visitor = signed_in or self._visitor(scope, headers)
            if visitor is None and self._sessions.is_open:
                raise _RefusedError(HTTPStatus.FORBIDDEN, _NOT_YOURS)
            if scope["method"] not in _SAFE:
                self._check_change(scope, headers, visitor)
            scope.setdefault("state", {}).update(
                visitor=visitor, is_of_proxy=signed_in is not None, address=address, limits=self._limits
            )
            # Before its turn, since a body may arrive slowly.
            body = await _read(_bounded(receive, headers)) if _has_body(headers) else receive
            if scope["path"] in _STREAMS:  # most of the time open, and bounded by themselves
                await self._app(scope, body, answer)
            else:
                async with self._turns.turn(address):
                    await self._app(scope, body, answer)
        except Exception as error:
            # The application has logged its own faults and answered 500.
            if answer.has_begun:
                return
            if isinstance(error, TooManyError):
                error = _RefusedError(HTTPStatus.TOO_MANY_REQUESTS, str(error), error.wait_s)
            if not isinstance(error, _RefusedError):
                raise
            is_page = "text/html" in dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
            await _refuse(error, answer, is_page=is_page)

    def _check_host(self, headers: dict[str, str]) -> None:
        """Refuse a name that is not ours: another site may have bound its own name to our address (DNS rebinding)."""
        host = _hostname(headers.get("host", ""))
        if host is None:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "the Host header must name a host")
        try:
            # A browser that was given an address was not misled by a name.
            address = ip_address(host)
            is_ours = address.is_loopback or not self._is_local
        except ValueError:
            is_ours = host in self._names
        if not is_ours:
            raise _RefusedError(
                HTTPStatus.MISDIRECTED_REQUEST, f"{host!r:.80} is no name of this console; web.names lists allowed ones"
            )

    def _signed_in(self, scope: Scope, headers: dict[str, str]) -> Visitor | None:
        """Return the visitor that a proxy has signed in; None for a request that did not come through it."""
        if self._proxy is None:
            return None
        try:
            return self._proxy.visitor(str((scope.get("client") or ("", 0))[0]), headers, lambda: _uid(scope))
        except ProxyRefusedError as error:
            raise _RefusedError(HTTPStatus.FORBIDDEN, str(error)) from None

    def _visitor(self, scope: Scope, headers: dict[str, str]) -> Visitor | None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else None
        return self._sessions.visitor(bearer, cookie_of(headers), lambda: _uid(scope))

    def _check_change(self, scope: Scope, headers: dict[str, str], visitor: Visitor | None) -> None:
        """Refuse changes that may have been requested by another site's page (CSRF)."""
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "a change must come from a page of this console")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
            raise _RefusedError(
                HTTPStatus.FORBIDDEN, f"a change must come from a page of this console, not {origin!r:.80}"
            )
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        # Types that a form of another site cannot send; DELETE cannot be sent by a form at all.
        if scope["method"] != "DELETE" and kind != "application/json" and not kind.startswith("image/"):
            raise _RefusedError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"a body must be application/json or a picture, got {kind!r:.40}"
            )
        if visitor is not None and visitor.csrf:
            given = headers.get("x-csrf-token", "")
            if not hmac.compare_digest(given.encode(), visitor.csrf.encode()):
                raise _RefusedError(HTTPStatus.FORBIDDEN, "a change must carry the session's token as X-CSRF-Token")


def _uid(scope: Scope) -> int | None:
    """Return the user ID of the other end of a connection, where that is on this machine."""
    client, server = scope.get("client"), scope.get("server")
    return uid_of(tuple(client), tuple(server)) if client and server else None


def cookie_of(headers: dict[str, str]) -> str | None:
    """Return the session's cookie."""
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE and _TOKEN.fullmatch(value):
            return value
    return None


def _without_other_cookies(scope: Scope, headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """Return the headers for the application, with no cookie but the session's.

    http.cookies, which parses them all, takes quadratic time for backslashes in quotes before Python 3.11.10
    (CVE-2024-7592): seconds for a header of 30 KB.
    """
    token = cookie_of(headers)
    ours = [] if token is None else [(b"cookie", f"{COOKIE}={token}".encode())]
    return [*(pair for pair in scope["headers"] if pair[0].lower() != b"cookie"), *ours]


def _headers(scope: Scope, once: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        if key in ("host", "content-length", "authorization", "origin", *once) and key in found:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, f"{key} must be given once")
        found[key] = value.decode("latin-1")
    if "content-length" in found and "transfer-encoding" in found:
        # A proxy in front may see the end of the body elsewhere, and the rest as another request (RFC 9112, 6.3).
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "a request must have one of Content-Length and Transfer-Encoding")
    return found


def _hostname(host: str) -> str | None:
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return None
    return name.rstrip(".") if name and "@" not in host else None


def _has_body(headers: dict[str, str]) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


async def _read(receive: Receive) -> Receive:
    """Receive a body to its end, or to the client's; return what gives it again."""
    messages: deque[Message] = deque()
    while not messages or messages[-1].get("more_body", False):
        messages.append(await receive())

    async def again() -> Message:
        return messages.popleft() if messages else await receive()

    return again


def _bounded(receive: Receive, headers: dict[str, str]) -> Receive:
    """Receive a body of bounded size within a bounded time."""
    is_picture = headers.get("content-type", "").startswith("image/")
    most = MOST_BYTES if is_picture else _JSON_BYTES
    declared = headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdigit() and len(declared) <= _MOST_DIGITS):
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "Content-Length must be a number")
    if int(declared) > most:
        raise _RefusedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body must have at most {most} bytes, got {declared}"
        )
    got, is_whole = 0, False
    end = asyncio.get_running_loop().time() + BODY_S

    async def bounded() -> Message:
        nonlocal got, is_whole
        if is_whole:
            return await receive()  # waits for the client to go
        try:
            async with asyncio.timeout_at(end):
                message = await receive()
        except TimeoutError:
            raise _RefusedError(HTTPStatus.REQUEST_TIMEOUT, f"a body must arrive within {BODY_S:.0f} s") from None
        if message["type"] == "http.request":
            got += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if got > most:
                raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body must have at most {most} bytes")
        return message

    return bounded


async def _refuse(error: _RefusedError, send: Send, *, is_page: bool) -> None:
    """Answer with a problem document, or with a page for people."""
    title = HTTPStatus(error.status_code).phrase
    problem = {"type": "about:blank", "title": title, "status": error.status_code, "detail": error.detail}
    page = f"<!doctype html><html lang=en><title>{title}</title><h1>{title}</h1><p>{html.escape(error.detail)}</p>"
    body = (page if is_page else json.dumps(problem)).encode()
    headers = [
        (b"content-type", b"text/html; charset=utf-8" if is_page else b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if error.wait_s is not None:
        headers.append((b"retry-after", str(max(1, round(error.wait_s))).encode()))
    await send({"type": "http.response.start", "status": error.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
