"""A link between processes of one host: ZeroMQ DEALER to ROUTER over a Unix socket.

One receiver binds and many senders connect, in any order. A batch is one message with one part per record. High-water
marks on both sides limit the records in transit; a full link makes `send` wait.

A message that ZeroMQ has written to a Unix socket is still lost if its sender closes while the receiver is at its
high-water mark: on the hang-up, the receiver drops what it has not read. So a sender stays open until the receiver has
answered that all has arrived. What a killed sender had sent and the receiver never got is counted: `SentCount` lies in
memory that outlives the sender, and `ReceivedCounts` compares. The Redis link keeps such records.
"""

import ctypes
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import structlog
import zmq

from reid_stream.errors import ConfigError
from reid_stream.link.protocol import LinkClosedError
from reid_stream.records import Perceived, decode, encode

MAX_BATCHES = 100
"""High-water mark on each side, in batches."""
MOST_BYTES = 64 << 20
"""Largest size of one part of a message; a larger one ends its sender's connection. A crop of 4K has 25 MB."""
CLOSE_S = 5.0
"""Longest wait of `close` for what was sent to arrive."""
SETTLE_S = 1.0
"""Time after the end of a sender's process in which what it wrote to the socket is read."""
_POLL_MS = 100
_FINISHED = b"finished"
"""Last message of a sender, and its answer."""
# sizeof(sockaddr_un.sun_path) less the final zero, Linux unix(7).
_MAX_PATH = 107
_log = structlog.get_logger(__name__)


class SentCount(Protocol):
    """Records sent so far; a ctypes integer, which may lie in memory that processes share."""

    value: int


class ReceivedCounts:
    """Records received, by sender, and those lost with senders that have ended; any thread may use it."""

    def __init__(self, what: str) -> None:
        """Count from zero. `what`: what the records are, for the log."""
        self.received = 0
        self.lost = 0
        """Sent by senders that have ended, and never received."""
        self._what = what
        self._by_sender: Counter[str] = Counter()
        self._ended: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def add(self, sender: str, count: int) -> None:
        """Count records of a sender."""
        with self._lock:
            self.received += count
            self._by_sender[sender] += count

    def end(self, sender: str, sent: int) -> None:
        """Note that a sender's process has ended after it had sent so many records."""
        with self._lock:
            self._ended[sender] = (sent, time.monotonic())

    def settle(self, *, after_s: float = SETTLE_S) -> None:
        """Count and log what was lost of senders that ended `after_s` ago; called when nothing waits in the queue."""
        if not self._ended:
            return
        now = time.monotonic()
        with self._lock:
            for sender, (sent, at) in list(self._ended.items()):
                if now - at < after_s:
                    continue
                del self._ended[sender]
                lost = sent - self._by_sender.pop(sender, 0)
                if lost > 0:
                    self.lost += lost
                    _log.error("link_records_lost", what=self._what, sender=sender, sent=sent, lost=lost)


class LinkSocket:
    """A sender's socket, which counts what it sends and can wait for its arrival; used by one thread at a time."""

    def __init__(self, path: Path, mark: int, name: str = "", sent: SentCount | None = None) -> None:
        """Connect to the socket at `path`, which may be bound later.

        Args:
            path: of the receiver's socket.
            mark: most messages that wait.
            name: of the sender, unique; empty for a random one.
            sent: counts what is sent; None for a count of its own.

        Raises:
            ConfigError: the path is too long for a Unix socket.
        """
        self.sent: SentCount = ctypes.c_uint64() if sent is None else sent
        self._socket = connect(path, mark, name)
        self._has_sent = self._has_finished = False

    def has_room(self, timeout_ms: int) -> bool:
        """Wait for room for a message; False after `timeout_ms`."""
        return bool(self._socket.poll(timeout_ms, zmq.POLLOUT))

    def put(self, parts: Sequence[bytes], count: int) -> bool:
        """Send a message that holds `count` records; False where there is no room."""
        # Counted first: a process killed in between has lost them.
        self.sent.value += count
        try:
            self._socket.send_multipart(parts, flags=zmq.NOBLOCK)
        except zmq.Again:
            self.sent.value -= count
            return False
        self._has_sent = True
        return True

    def finish(self, timeout_s: float) -> bool:
        """Wait until all that was sent has been received; False after `timeout_s`."""
        until = time.monotonic() + timeout_s
        if not self._has_finished and self.has_room(int(timeout_s * 1000)):
            self._socket.send(_FINISHED, flags=zmq.NOBLOCK)
            self._has_finished = bool(self._socket.poll(max(0, int((until - time.monotonic()) * 1000)), zmq.POLLIN))
        return self._has_finished

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Close once all has arrived, or after `timeout_s`."""
        if self._has_sent and not self._socket.closed:
            self.finish(timeout_s)
        self._socket.close(linger=0)


class ZmqSender:
    """Perception's end."""

    def __init__(
        self,
        path: Path,
        max_batches: int = MAX_BATCHES,
        *,
        name: str = "",
        sent: SentCount | None = None,
        close_s: float = CLOSE_S,
    ) -> None:
        """Connect to the socket at `path`; the receiver may come later.

        Args:
            path: see `LinkSocket`.
            max_batches: most batches that wait.
            name: see `LinkSocket`.
            sent: see `LinkSocket`.
            close_s: longest wait of `close` for what was sent to arrive.

        Raises:
            ConfigError: the path is too long for a Unix socket.
        """
        self._socket = LinkSocket(path, max_batches, name, sent)
        self._close_s = close_s
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def send(self, batch: Sequence[Perceived]) -> None:
        """Send records; waits while the link is full or there is no receiver.

        Raises:
            LinkClosedError: the link is closed.
        """
        if not batch:
            return
        parts = [encode(record) for record in batch]
        with self._lock:
            # No blocking send, so that another thread can close the link.
            while not self._closing.is_set():
                if self._socket.has_room(_POLL_MS) and self._socket.put(parts, len(parts)):
                    return
        raise LinkClosedError("the link is closed")

    def finish(self, timeout_s: float) -> bool:
        """Wait until all records have been received; False after `timeout_s`."""
        with self._lock:
            return self._socket.finish(timeout_s)

    def close(self) -> None:
        """Close once what was sent has arrived, or after `close_s`."""
        self._closing.set()
        with self._lock:
            self._socket.close(self._close_s)


class ZmqReceiver:
    """Identification's end."""

    def __init__(self, path: Path, max_batches: int = MAX_BATCHES) -> None:
        """Bind the socket at `path`.

        Raises:
            ConfigError: the path is too long for a Unix socket, or cannot be bound.
        """
        self._socket = bind(path, max_batches)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self.counts = ReceivedCounts("observations")
        self.malformed = 0
        """Messages that hold no records, dropped."""

    def receive(self, timeout_s: float) -> list[Perceived]:
        """Wait for one batch, then return all that have come; empty after `timeout_s` or when closed."""
        records: list[Perceived] = []
        with self._lock:
            if self._closing.is_set():
                return records
            if not self._socket.poll(int(timeout_s * 1000)):
                self.counts.settle()
                return records
            for _ in range(MAX_BATCHES):
                message = next_message(self._socket)
                if message is None:
                    self.counts.settle()
                    break
                records += self._decoded(*message)
        return records

    def _decoded(self, sender: str, parts: Sequence[bytes]) -> list[Perceived]:
        try:
            records = [decode(part) for part in parts]
        except ValueError as error:
            self.malformed += 1
            _log.error("link_message_invalid", reason=str(error)[:200])
            return []
        self.counts.add(sender, len(records))
        return records

    def acknowledge(self) -> None:
        """Do nothing: a socket keeps no copy."""

    def close(self) -> None:
        """Close; what has not been received by now is lost."""
        self._closing.set()
        with self._lock:
            self.counts.settle(after_s=0.0)
            self._socket.close(linger=0)


def next_message(socket: "zmq.Socket[bytes]") -> tuple[str, list[bytes]] | None:
    """Return a sender and the parts of its message, None where none waits; answers those that have finished."""
    for _ in range(MAX_BATCHES):
        try:
            sender, *parts = socket.recv_multipart(flags=zmq.NOBLOCK)
        except zmq.Again:
            return None
        if parts != [_FINISHED]:
            return sender.decode(errors="replace"), parts
        # One that is gone gets no answer.
        socket.send_multipart([sender, _FINISHED], flags=zmq.NOBLOCK)
    return None


def connect(path: Path, mark: int, name: str = "") -> "zmq.Socket[bytes]":
    """Return a socket that sends to the one at `path`, which may be bound later; at most `mark` messages wait.

    `name` must be unique among the senders; empty for a random one.

    Raises:
        ConfigError: the path is too long for a Unix socket.
    """
    address = _address(path)
    socket = _socket(zmq.DEALER, mark)
    socket.setsockopt(zmq.ROUTING_ID, (name or uuid.uuid4().hex).encode())
    socket.connect(address)
    return socket


def bind(path: Path, mark: int) -> "zmq.Socket[bytes]":
    """Return a socket bound at `path` that receives from many senders; at most `mark` messages of each wait.

    Raises:
        ConfigError: the path is too long for a Unix socket, or cannot be bound.
    """
    address = _address(path)
    socket = _socket(zmq.ROUTER, mark)
    # A sender that connects again is taken before its old connection is known to be gone.
    socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise ConfigError(f"{path} must be a path where a socket can be bound: {error}") from error
    return socket


def _socket(kind: int, mark: int) -> "zmq.Socket[bytes]":
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
    socket.set_hwm(mark)
    socket.setsockopt(zmq.MAXMSGSIZE, MOST_BYTES)
    # Without it, messages are queued before the receiver is there.
    socket.setsockopt(zmq.IMMEDIATE, 1)
    return socket


def _address(path: Path) -> str:
    if len(str(path).encode()) > _MAX_PATH:
        raise ConfigError(f"a socket's path must have at most {_MAX_PATH} bytes, got {len(str(path))}: {path}")
    return f"ipc://{path}"
