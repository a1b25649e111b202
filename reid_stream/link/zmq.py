"""A link between processes of one host: ZeroMQ PUSH to PULL over a Unix socket.

One receiver binds and many senders connect, in any order. A batch is one message with one part per record. High-water
marks on both sides limit the records in transit; a full link makes `send` wait. Records in the queues are lost when the
receiver is killed, which shows as gaps in `sequence`; the Redis link keeps them.
"""

import threading
from collections.abc import Sequence
from pathlib import Path

import structlog
import zmq

from reid_stream.errors import ConfigError
from reid_stream.link.protocol import LinkClosedError
from reid_stream.records import Perceived, decode, encode

MAX_BATCHES = 100
"""High-water mark on each side, in batches."""
MOST_BYTES = 64 << 20
"""Of one part of a message; a larger one ends its sender's connection. A crop of 4K has 25 MB."""
_LINGER_MS = 5000
_POLL_MS = 100
_FINISHED = b""
"""Last message of a sender."""
# sizeof(sockaddr_un.sun_path) less the final zero, Linux unix(7).
_MAX_PATH = 107
_log = structlog.get_logger(__name__)


class ZmqSender:
    """Perception's end."""

    def __init__(self, path: Path, max_batches: int = MAX_BATCHES) -> None:
        """Connect to the socket at `path`; the receiver may come later.

        Raises:
            ConfigError: the path is too long for a Unix socket.
        """
        self._socket = connect(path, max_batches)
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
                if self._socket.poll(_POLL_MS, zmq.POLLOUT):
                    self._socket.send_multipart(parts, flags=zmq.NOBLOCK)
                    return
        raise LinkClosedError("the link is closed")

    def finish(self, timeout_s: float) -> bool:
        """Announce the end of this sender; False if the link was full for `timeout_s`."""
        with self._lock:
            if not self._socket.poll(int(timeout_s * 1000), zmq.POLLOUT):
                return False
            self._socket.send(_FINISHED, flags=zmq.NOBLOCK)
        return True

    def close(self) -> None:
        """Close, after up to 5 s for what was sent to be delivered."""
        self._closing.set()
        with self._lock:
            self._socket.close(linger=_LINGER_MS)


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
        self.finished = 0
        """Senders that have finished; all their records were received."""
        self.malformed = 0
        """Messages that hold no records, dropped."""

    def receive(self, timeout_s: float) -> list[Perceived]:
        """Wait for one batch, then return all that have come; empty after `timeout_s` or when closed."""
        records: list[Perceived] = []
        with self._lock:
            if self._closing.is_set() or not self._socket.poll(int(timeout_s * 1000)):
                return records
            for _ in range(MAX_BATCHES):
                try:
                    parts = self._socket.recv_multipart(flags=zmq.NOBLOCK)
                except zmq.Again:
                    break
                if parts == [_FINISHED]:
                    self.finished += 1
                else:
                    records += self._decoded(parts)
        return records

    def _decoded(self, parts: Sequence[bytes]) -> list[Perceived]:
        try:
            return [decode(part) for part in parts]
        except ValueError as error:
            self.malformed += 1
            _log.error("link_message_invalid", reason=str(error)[:200])
            return []

    def acknowledge(self) -> None:
        """Do nothing: a socket keeps no copy."""

    def close(self) -> None:
        """Close."""
        self._closing.set()
        with self._lock:
            self._socket.close(linger=0)


def connect(path: Path, mark: int) -> "zmq.Socket[bytes]":
    """Return a socket that pushes to the one at `path`, which may be bound later; at most `mark` messages wait.

    Raises:
        ConfigError: the path is too long for a Unix socket.
    """
    address = _address(path)
    socket = _socket(zmq.PUSH, mark)
    socket.connect(address)
    return socket


def bind(path: Path, mark: int) -> "zmq.Socket[bytes]":
    """Return a socket bound at `path` that pulls from many senders; at most `mark` messages of each wait.

    Raises:
        ConfigError: the path is too long for a Unix socket, or cannot be bound.
    """
    address = _address(path)
    socket = _socket(zmq.PULL, mark)
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
