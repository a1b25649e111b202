"""What passes between a camera's own process and the daemon: messages over a socket, pictures as shared memory.

A picture lies in a memory file of its own whose descriptor travels with the message: it is copied into that file and
out of it, and since nothing has a name, a crash leaves nothing behind. The socket holds a few messages; a daemon that
is busy for longer than that loses frames at the door, where the newest wins anyhow, and sees how many.
"""

import array
import os
import socket

import msgspec
import numpy as np

from reid_stream.images import UInt8
from reid_stream.ingest.changes import PackedChange
from reid_stream.ingest.stats import CameraStats
from reid_stream.records import CameraId, ClockQuality, Frame

_MOST_BYTES = 1 << 16
_QUEUE_BYTES = 16 << 10
"""Of the socket: room for about ten messages, the kernel's own share of each included."""


class StatsMessage(msgspec.Struct, frozen=True, tag="told"):
    """How it goes."""

    stats: CameraStats


class ChangeMessage(msgspec.Struct, frozen=True, tag="change"):
    """The camera came up, changed or went down."""

    stats: CameraStats
    change: PackedChange


class FrameMessage(msgspec.Struct, frozen=True, tag="picture"):
    """A frame whose pixels lie in the memory file that comes along."""

    stats: CameraStats
    sequence: int
    captured_at: float
    clock: ClockQuality
    width: int
    height: int


Message = StatsMessage | ChangeMessage | FrameMessage
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StatsMessage | ChangeMessage | FrameMessage).decode


def pair() -> tuple[socket.socket, socket.socket]:
    """(the daemon's end, the camera's end) of a socket that keeps messages whole."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _QUEUE_BYTES)
    return near, far


def send(end: socket.socket, message: Message) -> None:
    """Say something; waits while the other side is behind.

    Raises:
        OSError: the other side is gone.
    """
    end.sendall(_encode(message))


def send_frame(end: socket.socket, frame: Frame, stats: CameraStats) -> bool:
    """Hand over a frame; False if the other side is too far behind.

    Raises:
        OSError: the other side is gone.
    """
    image = frame.pixels
    height, width = image.shape[:2]
    file = os.memfd_create("frame", os.MFD_CLOEXEC)
    try:
        os.truncate(file, image.nbytes)
        os.pwrite(file, image.data, 0)
        message = FrameMessage(stats, frame.sequence, frame.captured_at, frame.clock, width, height)
        # `socket.send_fds` ignores its flags.
        along = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))]
        end.sendmsg([_encode(message)], along, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def receive(end: socket.socket) -> tuple[Message, UInt8 | None] | None:
    """Wait for a message and the picture that came with it; None if the other side is gone.

    Raises:
        TimeoutError: nothing came in the socket's own timeout.
    """
    try:
        said, files, _, _ = socket.recv_fds(end, _MOST_BYTES, 1)
    except ConnectionError:
        return None
    if not said:
        return None
    message = _decode(said)
    if not isinstance(message, FrameMessage):
        return message, None
    (file,) = files
    return message, _pixels(file, message)


def frame_of(camera: CameraId, message: FrameMessage, image: UInt8) -> Frame:
    """Put a frame together again."""
    return Frame(camera, message.sequence, message.captured_at, message.clock, image)


def _pixels(file: int, message: FrameMessage) -> UInt8:
    """Read the pixels out: a mapping would be no cheaper, and keep a descriptor open as long as the frame lives."""
    image = np.empty((message.height, message.width, 3), np.uint8)
    try:
        os.preadv(file, [image.data], 0)
    finally:
        os.close(file)
    return image
