"""Run the application on uvicorn: TLS, bounds on slow and idle clients, orderly shutdown."""

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from functools import partial
from typing import Any, cast

import h11
import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from reid_stream.config.settings import Web as WebSettings
from reid_stream.errors import ConfigError
from reid_stream.web.app import make_app
from reid_stream.web.limits import group_of
from reid_stream.web.site import WebSite

HEAD_S = 5.0
"""Longest for a request's head to arrive."""
_KEEP_ALIVE_S = 15
_UNREAD_MS = 30_000
"""Time after which a client that receives nothing is disconnected."""
_MOST_REQUESTS = 1000
"""Requests under way, those of closed connections included: at more, every client gets 503."""
MOST = 180
"""Connections of all addresses."""
PER_ADDRESS = 64
"""Connections of one address: a browser holds about six, and streams are bounded apart (see limits)."""
_BACKLOG = 128
_AT_ONCE = 16
"""Connections that are accepted before those that end are closed."""
_DROP_EVERY_S = 60.0
_log = structlog.get_logger(__name__)


class Listener(socket.socket):
    """A listening socket that bounds the connections which are not known to a protocol yet: TLS handshakes under way.

    An address has at most `PER_ADDRESS` of them, and all together have `MOST`; beyond, the oldest of the address with
    most of them ends. Without, a client that never speaks would take all file descriptors.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._pending: dict[Any, socket.socket] = {}
        """By address and port of the client, oldest first."""

    def listen(self, _backlog: int = _BACKLOG) -> None:
        """Listen; the event loop's own number is of connections that it accepts before it serves any."""
        super().listen(_BACKLOG)

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection, which is pending until `opened`."""
        connection, address = super().accept()
        # Those that have failed are closed.
        self._pending = {where: one for where, one in self._pending.items() if one.fileno() >= 0}
        self._pending[address] = connection
        counts = Counter(group_of(where[0]) for where in self._pending)
        most, count = counts.most_common(1)[0]
        if count > PER_ADDRESS or len(self._pending) > MOST:
            oldest = next(where for where in self._pending if group_of(where[0]) == most)
            with contextlib.suppress(OSError):  # the client is gone
                self._pending.pop(oldest).shutdown(socket.SHUT_RDWR)
        return connection, address

    def opened(self, address: Any) -> None:
        """Note that a connection is known to a protocol, which bounds it from here on."""
        self._pending.pop(address, None)


class _Protocol(H11Protocol):
    """HTTP/1.1 that neither waits for ever for a request's head nor for a client to take its answer.

    An address has at most `PER_ADDRESS` connections, and all together have `MOST`. A further one takes the place of
    another: of the oldest that waits for a request, of the address with most of them if possible; or of the oldest of
    an address with more connections than this one would have. Else it is refused.
    """

    def __init__(self, listener: Listener, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._listener = listener

    opened_at = 0.0
    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._listener.opened(transport.get_extra_info("peername"))
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(OSError, AttributeError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
        self.opened_at = self.loop.time()
        self._make_room()
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_watching()
        elif self._head is None:
            self._watch_head()

    def handle_events(self) -> None:
        # h11 takes a line feed alone for the end of a line; a proxy may have taken it for a part of the line.
        if self.conn.their_state is h11.IDLE and has_bare_line_feed(self.conn.trailing_data[0]):
            self.send_400_response("lines of a request's head must end with CR LF")
            return
        super().handle_events()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _make_room(self) -> None:
        mine = self.group
        everyone = [one for one in self.connections if isinstance(one, _Protocol)]
        counts = Counter(one.group for one in everyone)
        if counts[mine] > PER_ADDRESS:
            idle = [one for one in everyone if one.group == mine and one is not self and one.waits_for_request]
            self._close(min(idle, key=_age, default=self))
        elif len(everyone) > MOST:
            most = max(counts, key=lambda one: counts[one])
            idle = [one for one in everyone if one is not self and one.waits_for_request]
            busy = [one for one in everyone if one.group == most and counts[most] > counts[mine]]
            theirs = [one for one in idle if one.group == most]
            self._close(min(theirs or idle or busy, key=_age, default=self))

    def _close(self, closed: "_Protocol") -> None:
        # Counted no more from here on, though the loop ends the connection only later.
        self.connections.discard(closed)
        closed.transport.abort()

    @property
    def group(self) -> str:
        """Client group as counted by `limits`."""
        return group_of(self.client[0]) if self.client is not None else ""

    @property
    def waits_for_request(self) -> bool:
        """Whether no request is being read or answered."""
        # Its annotation leaves out that there is no cycle before the first request.
        cycle: Any = self.cycle
        return self.conn.their_state is h11.IDLE and (cycle is None or cycle.response_complete)

    def _watch_head(self) -> None:
        self._head = self.loop.call_later(HEAD_S, self._too_slow)

    def _stop_watching(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _too_slow(self) -> None:
        self._head = None
        if self.waits_for_request:
            self.transport.close()


def has_bare_line_feed(data: bytes) -> bool:
    """Return whether a line of a request's head, whole or not, ends with a line feed alone (RFC 9112, section 2.2)."""
    return b"\n" in data.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"")


def _age(connection: _Protocol) -> float:
    return connection.opened_at


class WebServer:
    """The console on its port."""

    def __init__(self, web: WebSite, host: str, port: int) -> None:
        """Bind the port.

        Raises:
            ConfigError: the address is taken or not ours, or the certificate cannot be used.
        """
        settings = web.settings.web
        self._web = web
        self._socket = _bind(host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            make_app(web),
            http=cast("Any", partial(_Protocol, self._socket)),
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_AT_ONCE,
            limit_concurrency=_MOST_REQUESTS,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=3,
            h11_max_incomplete_event_size=32 << 10,
            **_tls(settings),
        )
        try:
            config.load()
        except (OSError, ValueError) as error:
            self._socket.close()
            raise ConfigError(f"web.cert_file and web.key_file must be a certificate and its key: {error}") from None
        self._server = _Server(config)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http{'s' if settings.cert_file is not None else ''}://{shown}:{self.port}/"

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set."""

        def watch() -> None:
            while not stop.wait(_DROP_EVERY_S):
                self._web.search.drop_idle()
                self._web.explanations.drop_idle()
            self._server.should_exit = True

        threading.Thread(target=watch, name="web-stop", daemon=True).start()
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()


class _Server(uvicorn.Server):
    """Leaves signals to the command that runs it; ends streams before it waits for them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app: Any = self.config.loaded_app
        inner = getattr(app, "application", None)
        if inner is not None:
            inner.state.closing = True
        await super().shutdown(sockets)


def _bind(host: str, port: int) -> Listener:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = Listener(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        raise ConfigError(
            f"web.port must be free, {host}:{port}: {error.strerror}; choose another, or 0 for any"
        ) from None
    return listening


def _tls(settings: WebSettings) -> dict[str, Any]:
    if (settings.cert_file is None) != (settings.key_file is None):
        raise ConfigError("web.cert_file and web.key_file must be given together, found one of them")
    if settings.cert_file is None:
        return {}
    return {"ssl_certfile": str(settings.cert_file), "ssl_keyfile": str(settings.key_file)}
