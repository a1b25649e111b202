"""Loopback proxy between FFmpeg and one camera that filters the answers before FFmpeg acts on them.

    FFmpeg ─── rtsp://127.0.0.1 or http://127.0.0.1 ─── Relay ─── TCP, or TLS whose certificate was verified ─── camera

FFmpeg verifies no certificates of RTSP, pins none, follows redirects with the camera's password to any host, and
believes whatever length an answer announces. Through the relay it reaches one host alone: a redirect ends the
connection and is reported (`redirect`), an oversized answer is refused (`refusal`), and the status of each
answer is kept, for messages. Once video flows, bytes are passed on unchecked; JPEG images over HTTP are cut apart.
"""

import select
import socket
import ssl
import threading
from contextlib import suppress
from typing import Literal

from reid_stream.errors import StreamError
from reid_stream.ingest.answers import AnswerFilter, RtspAnswers
from reid_stream.ingest.http_answers import HttpAnswers
from reid_stream.ingest.transport import Endpoint, connect

_CHUNK = 1 << 16
_POLL_S = 0.5
_HOST = "127.0.0.1"


class Relay:
    """Open from the first connection to the camera until `close`."""

    def __init__(
        self,
        where: Endpoint,
        kind: Literal["rtsp", "http"],
        name: str,
        limit_s: float,
    ) -> None:
        """Connect to the camera.

        Args:
            where: the camera.
            kind: the protocol.
            name: of the camera, for messages.
            limit_s: for a connection, seconds.

        Raises:
            StreamError: the camera cannot be reached, or its certificate is not the right one.
        """
        self._where, self._kind, self._name, self._limit_s = where, kind, name, limit_s
        self._first: socket.socket | None = connect(where, name, limit_s)
        self._over = threading.Event()
        self._filters: list[AnswerFilter] = []
        self._door = socket.create_server((_HOST, 0))
        self.port: int = self._door.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name="relay", daemon=True)
        self._thread.start()

    @property
    def answers(self) -> AnswerFilter | None:
        """Filter of the newest connection that the camera has answered."""
        return next((one for one in reversed(self._filters) if one.has_answered), None)

    def close(self) -> None:
        """End all connections."""
        self._over.set()
        with suppress(OSError):  # wakes the thread
            socket.create_connection((_HOST, self.port), 1.0).close()
        self._thread.join(2.0)
        self._door.close()
        if self._first is not None:
            self._first.close()
            self._first = None

    def _serve(self) -> None:
        # RTSP has one connection. HTTP has one at a time: the next follows where a password was asked for.
        while not self._over.is_set():
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            with client:
                if self._over.is_set():
                    return
                camera, self._first = self._first, None
                # FFmpeg reports that the connection ended.
                with (
                    suppress(OSError, StreamError),
                    camera or connect(self._where, self._name, self._limit_s) as camera,
                ):
                    self._pass(client, camera)

    def _pass(self, client: socket.socket, camera: socket.socket) -> None:
        answers: AnswerFilter = RtspAnswers(camera.getpeername()[0]) if self._kind == "rtsp" else HttpAnswers()
        self._filters = [*self._filters[-3:], answers]
        client.settimeout(None)
        pending = camera.pending if isinstance(camera, ssl.SSLSocket) else int
        while not self._over.is_set():
            ready = [camera] if pending() else select.select([client, camera], [], [], _POLL_S)[0]
            if not ready and (passed := answers.fell_silent()):
                client.sendall(passed)
            if client in ready:
                request = client.recv(_CHUNK)
                if not request or not answers.asked(request):
                    return
                camera.settimeout(self._limit_s)
                camera.sendall(request)
            if camera in ready:
                camera.settimeout(0.0)
                try:
                    data = camera.recv(_CHUNK)
                except (ssl.SSLWantReadError, BlockingIOError):  # a record of TLS's own
                    continue
                passed = answers.answered(data) if data else answers.ended()
                if passed:
                    client.sendall(passed)
                if not data or answers.is_refused:
                    return
