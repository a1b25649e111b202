"""A bad network in front of an RTSP server: datagrams are lost, late and out of order; a camera's clock is shifted.

    with BadWire(server.port, loss=0.05, jitter_s=0.05) as wire:
        camera = f"rtsp://127.0.0.1:{wire.port}/a"      # transport: udp

It stands between client and server at the level of RTSP: requests and answers pass unharmed over TCP, the ports named
in `Transport:` are replaced by its own, and the datagrams of RTP and RTCP between them are disturbed. Needs neither
privileges nor a kernel with `netem`, and counts what it did, for the drills to compare with. One thread for all.
"""

import heapq
import random
import re
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_CLIENT_PORTS = re.compile(rb"(client_port=)(\d+)-(\d+)")
_SERVER_PORTS = re.compile(rb"(server_port=)(\d+)-(\d+)")
_SENDER_REPORT = 200
_SR_HEAD = struct.Struct("!BBH4sII")
"""RFC 3550, 6.4.1: version and count, type, length, SSRC, NTP seconds, NTP fraction."""
_HOST = "127.0.0.1"


@dataclass(slots=True)
class WireCounts:
    """Counts of RTP datagrams from server to client."""

    sent: int = 0
    lost: int = 0
    overtaken: int = 0
    """Delivered after one that was sent later."""
    reports: int = 0
    """Sender reports whose time was shifted."""


class BadWire:
    """A proxy for one RTSP server; every setting may be changed while it runs."""

    def __init__(
        self, server_port: int, *, loss: float = 0.0, jitter_s: float = 0.0, shift_s: float = 0.0, seed: int = 1
    ) -> None:
        """`loss`: share of datagrams; `jitter_s`: each is late by 0 to twice as much, on its own, so that they overtake
        each other; `shift_s`: added to the wall clock in the server's sender reports.
        """
        self.loss, self.jitter_s, self.shift_s = loss, jitter_s, shift_s
        self.counts = WireCounts()
        self._server_port = server_port
        self._random = random.Random(seed)
        self._selector = selectors.DefaultSelector()
        self._late: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._newest = -1
        self._over = threading.Event()
        self._door = socket.create_server((_HOST, 0))
        self.port: int = self._door.getsockname()[1]
        self._selector.register(self._door, selectors.EVENT_READ, self._accept)
        self._thread = threading.Thread(target=self._run, name="bad wire", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def url(self, name: str) -> str:
        """Return the URL of a clip through the wire."""
        return f"rtsp://{_HOST}:{self.port}/{name}"

    def _run(self) -> None:
        while not self._over.is_set():
            wait_s = min(0.1, self._late[0][0] - time.monotonic()) if self._late else 0.1
            for key, _ in self._selector.select(max(0.0, wait_s)):
                key.data()
            while self._late and self._late[0][0] <= time.monotonic():
                heapq.heappop(self._late)[2]()

    def _accept(self) -> None:
        client, _ = self._door.accept()
        try:
            server = socket.create_connection((_HOST, self._server_port), timeout=1)
        except OSError:
            client.close()
            return
        _Call(self, client, server)

    def watch(self, end: socket.socket, on_data: Callable[[], None]) -> None:
        """Call `on_data` whenever data has come."""
        self._selector.register(end, selectors.EVENT_READ, on_data)

    def forget(self, end: socket.socket) -> None:
        """Close and watch no more."""
        if end.fileno() >= 0:
            self._selector.unregister(end)
            end.close()

    def media(self, datagram: bytes, send: Callable[[bytes], None]) -> None:
        """Pass on a datagram of RTP, or lose it, or make it late."""
        self.counts.sent += 1
        number, self._number = self._number, self._number + 1
        if self._random.random() < self.loss:
            self.counts.lost += 1
            return

        def deliver() -> None:
            self.counts.overtaken += number < self._newest
            self._newest = max(self._newest, number)
            send(datagram)

        late_s = self._random.uniform(0, 2 * self.jitter_s)
        heapq.heappush(self._late, (time.monotonic() + late_s, number, deliver))

    def report(self, datagram: bytes) -> bytes:
        """Shift the wall clock in a sender report."""
        if len(datagram) < _SR_HEAD.size or datagram[1] != _SENDER_REPORT:
            return datagram
        first, kind, length, ssrc, seconds, fraction = _SR_HEAD.unpack_from(datagram)
        shifted = (seconds << 32) + fraction + round(self.shift_s * 2**32)
        self.counts.reports += self.shift_s != 0
        head = _SR_HEAD.pack(first, kind, length, ssrc, (shifted >> 32) & 0xFFFFFFFF, shifted & 0xFFFFFFFF)
        return head + datagram[_SR_HEAD.size :]


class _Call:
    """One client's connection and its datagrams."""

    def __init__(self, wire: BadWire, client: socket.socket, server: socket.socket) -> None:
        self._wire = wire
        self._client, self._server = client, server
        self._waiting: list[_Media] = []
        self._media: list[_Media] = []
        wire.watch(client, self._asked)
        wire.watch(server, self._answered)

    def _asked(self) -> None:
        self._pass(self._client, self._server, self._from_client)

    def _answered(self) -> None:
        self._pass(self._server, self._client, self._from_server)

    def _pass(self, one: socket.socket, other: socket.socket, change: Callable[[bytes], bytes]) -> None:
        try:
            data = one.recv(65536)
            if data:
                other.sendall(change(data))
                return
        except OSError:
            pass
        self._hang_up()

    def _hang_up(self) -> None:
        for end in (self._client, self._server, *(end for media in self._media for end in media.ends)):
            self._wire.forget(end)

    def _from_client(self, data: bytes) -> bytes:
        # FFmpeg sends each request whole, and its requests are short.
        asked = _CLIENT_PORTS.search(data)
        if asked is None:
            return data
        media = _Media(self._wire, int(asked[2]))
        self._media.append(media)
        self._waiting.append(media)
        return _CLIENT_PORTS.sub(rb"\g<1>%d-%d" % media.to_server, data)

    def _from_server(self, data: bytes) -> bytes:
        given = _SERVER_PORTS.search(data)
        if given is None or not self._waiting:
            return data
        media = self._waiting.pop(0)
        media.server_port = int(given[2])
        data = _SERVER_PORTS.sub(rb"\g<1>%d-%d" % media.to_client, data)
        return _CLIENT_PORTS.sub(rb"\g<1>%d-%d" % (media.client_port, media.client_port + 1), data)


class _Media:
    """The datagrams of one stream: RTP on a port, RTCP on the next, towards both sides."""

    def __init__(self, wire: BadWire, client_port: int) -> None:
        self._wire = wire
        self.client_port = client_port
        self.server_port = 0
        near, far = _pair(), _pair()
        self.ends = (*near, *far)
        self.to_client = (near[0].getsockname()[1], near[1].getsockname()[1])
        self.to_server = (far[0].getsockname()[1], far[1].getsockname()[1])
        self._near, self._far = near, far
        # What the socket facing the server receives is sent from the one facing the client.
        wire.watch(far[0], self._rtp)
        wire.watch(far[1], self._rtcp)
        wire.watch(near[0], lambda: self._back(0))
        wire.watch(near[1], lambda: self._back(1))

    def _rtp(self) -> None:
        self._wire.media(self._far[0].recv(65536), lambda datagram: self._send(self._near[0], datagram, 0))

    def _rtcp(self) -> None:
        self._send(self._near[1], self._wire.report(self._far[1].recv(65536)), 1)

    def _send(self, end: socket.socket, datagram: bytes, offset: int) -> None:
        if end.fileno() >= 0:
            end.sendto(datagram, (_HOST, self.client_port + offset))

    def _back(self, offset: int) -> None:
        datagram = self._near[offset].recv(65536)
        self._far[offset].sendto(datagram, (_HOST, self.server_port + offset))


def _pair() -> tuple[socket.socket, socket.socket]:
    """Two UDP sockets on neighbouring ports, the first one even (RFC 3550, 11)."""
    for _ in range(100):
        first = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        first.bind((_HOST, 0))
        port = first.getsockname()[1]
        second = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            if port % 2 == 0:
                second.bind((_HOST, port + 1))
                first.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
                return first, second
        except OSError:
            pass
        first.close()
        second.close()
    raise OSError("two neighbouring UDP ports must be free on loopback, none were found")
