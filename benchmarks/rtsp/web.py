"""Cameras over HTTP and TLS on loopback: snapshots, MJPEG, finite videos, redirects; and TLS before any server.

with WebCamera({"/shot.jpg": snapshot(jpeg)}) as web:
    web.url("/shot.jpg")
with TlsFront(server.port, certificate) as front:      # rtsps://127.0.0.1:front.port
"""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """Response to a path."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: Callable[[], Iterable[bytes]] = tuple
    head: Callable[[], bytes] | None = None
    """Status line and header as they are sent; None makes them of the above."""


def whole(path: Path, content_type: str = "video/mp4") -> HttpResponse:
    """Return a response with a file."""
    data = path.read_bytes()
    return HttpResponse(200, (("Content-Type", content_type), ("Content-Length", str(len(data)))), lambda: [data])


def snapshot(jpeg: bytes) -> HttpResponse:
    """Return a response with one image."""
    return HttpResponse(200, (("Content-Type", "image/jpeg"), ("Content-Length", str(len(jpeg)))), lambda: [jpeg])


def mjpeg(jpeg: bytes, *, fps: float = 10, has_first_boundary: bool = True) -> HttpResponse:
    """Return a response of endless images, in parts; some cameras leave out the boundary before the first one."""

    def parts() -> Iterator[bytes]:
        is_first = True
        while True:
            boundary = b"" if is_first and not has_first_boundary else b"\r\n--frame\r\n"
            is_first = False
            yield boundary + b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg) + jpeg
            time.sleep(1 / fps)

    return HttpResponse(200, (("Content-Type", "multipart/x-mixed-replace;boundary=frame"),), parts)


def moved(to: str) -> HttpResponse:
    """Return a redirect."""
    return HttpResponse(302, (("Location", to), ("Content-Length", "0")))


class WebCamera:
    """An HTTP server; `certificate` (PEM with its key) makes it HTTPS."""

    def __init__(self, answers: dict[str, HttpResponse], certificate: Path | None = None) -> None:
        self.answers = answers
        self.requests: list[tuple[str, dict[str, str]]] = []
        """(path, headers) of each."""
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                answer = camera.answers.get(self.path.partition("?")[0], HttpResponse(404))
                if answer.head is not None:
                    self.wfile.write(answer.head())
                else:
                    self.send_response(answer.status)
                    for name, value in answer.headers:
                        self.send_header(name, value)
                    self.end_headers()
                with suppress(OSError):
                    for part in answer.body():
                        self.wfile.write(part)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((_HOST, 0), Handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self._scheme = "http" if certificate is None else "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def url(self, path: str) -> str:
        """Return the URL of a path."""
        return f"{self._scheme}://{_HOST}:{self.port}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


class TlsFront:
    """TLS proxy in front of a plain server on loopback."""

    def __init__(self, port: int, certificate: Path) -> None:
        self._to = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self.received: list[bytes] = []
        """Requests of clients."""
        self._door = socket.create_server((_HOST, 0))
        self.port: int = self._door.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="tls front", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._door.close()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with (
            suppress(OSError),
            self._context.wrap_socket(plain, server_side=True) as client,
            socket.create_connection((_HOST, self._to)) as server,
        ):
            threading.Thread(target=self._copy, args=(server, client), daemon=True).start()
            self._copy(client, server, self.received)

    @staticmethod
    def _copy(one: socket.socket, other: socket.socket, received: list[bytes] | None = None) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                if received is not None:
                    received.append(data)
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)


def make_certificates(folder: Path, *, names: str = f"IP:{_HOST}") -> tuple[Path, Path]:
    """Create a certificate authority and a certificate signed by it; return (authority, certificate with key), PEM."""
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    authority = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=own authority"]
    subprocess.run([*new, *authority], check=True, capture_output=True, cwd=folder)
    leaf = ["-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "leaf.key", "-out", "leaf.crt", "-subj", "/CN=camera"]
    more = ["-addext", f"subjectAltName={names}", "-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run([*new, *leaf, *more], check=True, capture_output=True, cwd=folder)
    both = folder / "camera.pem"
    both.write_bytes((folder / "leaf.crt").read_bytes() + (folder / "leaf.key").read_bytes())
    return folder / "ca.pem", both
