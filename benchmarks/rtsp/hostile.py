"""An RTSP server that answers by a script: for fuzzing and for tests of misbehaving cameras.

    with HostileServer(script) as server:
        ...  # rtsp://127.0.0.1:PORT/x answers its n-th request by the n-th part of the script

Parts are divided by `PART`; the last one is sent once more for every further request. `{cseq}` and `{port}` are filled
in.
"""

import re
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

PART = b"\n====\n"
_CSEQ = re.compile(rb"CSeq:\s*(\d+)", re.IGNORECASE)
_HOST = "127.0.0.1"
_POLL_S = 0.05


class HostileServer:
    """Answers each connection from the start of the script; `script` may be changed at any time."""

    def __init__(self, script: bytes = b"", *, repeat: int = 1) -> None:
        """`repeat`: how often the last part is sent per request, for answers without end."""
        self.script = script
        self.repeat = repeat
        self.received: list[bytes] = []
        """Requests of clients, for tests; the newest thousand."""
        self._over = threading.Event()
        self._door = socket.create_server((_HOST, 0))
        self._door.settimeout(_POLL_S)
        self.port: int = self._door.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="hostile server", daemon=True)
        self._calls: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """URL of the server."""
        return f"rtsp://{_HOST}:{self.port}/x"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        for call in self._calls:
            call.join()
        self._door.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._door.accept()
            except TimeoutError:
                continue
            call = threading.Thread(target=self._serve, args=(client, self.script), daemon=True)
            self._calls = [one for one in self._calls if one.is_alive()] + [call]
            call.start()

    def _serve(self, client: socket.socket, script: bytes) -> None:
        parts = script.split(PART)
        client.settimeout(_POLL_S)
        with client, suppress(OSError):
            number = 0
            while not self._over.is_set():
                try:
                    received = client.recv(65536)
                except TimeoutError:
                    continue
                if not received:
                    return
                self.received = [*self.received[-999:], received]
                is_last = number >= len(parts) - 1
                answer = self._filled(parts[min(number, len(parts) - 1)], received)
                for _ in range(self.repeat if is_last else 1):
                    client.settimeout(1.0)
                    client.sendall(answer)
                    if self._over.is_set():
                        return
                client.settimeout(_POLL_S)
                number += 1

    def _filled(self, part: bytes, received: bytes) -> bytes:
        asked = _CSEQ.search(received)
        return part.replace(b"{cseq}", asked[1] if asked else b"1").replace(b"{port}", b"%d" % self.port)
