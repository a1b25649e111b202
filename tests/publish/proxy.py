"""Proxy between a client and Redis that drops chosen answers."""

import contextlib
import socket
import threading


class Proxy:
    """Listens on a port of its own; each connection has a thread for each direction."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.lose = 0
        """Transactions still to come whose answers get lost, and the connection with them."""
        self._links: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Cut everything."""
        for link in (self._listener, *self._links):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                self._links += [client, server]
                loses = threading.Event()
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(*pair, loses, pair[0] is client), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, loses: threading.Event, is_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_client and b"\r\nEXEC\r\n" in data and self.lose > 0:
                    self.lose -= 1
                    loses.set()
                if not is_client and loses.is_set():
                    break
                target.sendall(data)
        for link in (source, target):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
