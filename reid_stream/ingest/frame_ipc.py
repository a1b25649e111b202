"""Messages from a camera's process to the daemon over a socket, with images in shared memory.

Each image is copied into and out of an anonymous memory file whose descriptor is sent with the message, so a crash
leaves nothing behind. The socket holds a few messages; while the daemon is busy for longer, frames are dropped and
counted before the socket.
"""

import array
import os
import socket

import msgspec
import numpy as np

from reid_stream.events.packed import PackedEvent
from reid_stream.images import Detail, Picture, UInt8, Unread, host
from reid_stream.ingest.stats import CameraStats
from reid_stream.records import CameraId, ClockQuality, Frame

_MOST_BYTES = 1 << 16
_QUEUE_BYTES = 16 << 10
"""Size of the socket's buffer: about ten messages, including the kernel's overhead for each."""


class StatsMessage(msgspec.Struct, frozen=True, tag="told"):
    """The camera's stats."""

    stats: CameraStats


class ChangeMessage(msgspec.Struct, frozen=True, tag="change"):
    """The camera came up, changed or went down."""

    stats: CameraStats
    change: PackedEvent


class FrameMessage(msgspec.Struct, frozen=True, tag="picture"):
    """A frame; its pixels are in the memory file sent along."""

    stats: CameraStats
    sequence: int
    captured_at: float
    clock: ClockQuality
    width: int
    height: int
    moving: bytes | None = None
    """Boxes of what moves, float32 (n, 4); None where that is unknown."""
    has_pixels: bool = True
    detail: tuple[float, int, int] | None = None
    """Capture time, width and height of the larger image that a second memory file holds."""


Message = StatsMessage | ChangeMessage | FrameMessage
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StatsMessage | ChangeMessage | FrameMessage).decode


def pair() -> tuple[socket.socket, socket.socket]:
    """Return (the daemon's end, the camera's end) of a socket pair that preserves message boundaries."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _QUEUE_BYTES)
    return near, far


def send(end: socket.socket, message: Message) -> None:
    """Send a message; waits while the other side is behind.

    Raises:
        OSError: the other side is gone.
    """
    end.sendall(_encode(message))


def send_frame(end: socket.socket, frame: Frame, stats: CameraStats) -> bool:
    """Send a frame; return False if the other side is too far behind.

    Raises:
        OSError: the other side is gone.
    """
    width, height = frame.size
    moving = None if frame.moving is None else frame.moving.tobytes()
    message = FrameMessage(stats, frame.sequence, frame.captured_at, frame.clock, width, height, moving)
    if isinstance(frame.image, Unread):
        try:
            end.send(_encode(msgspec.structs.replace(message, has_pixels=False)), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        return True
    images = [frame.pixels]
    if frame.detail is not None:
        images.append(host(frame.detail.image))
        message = msgspec.structs.replace(
            message, detail=(frame.detail.captured_at, images[1].shape[1], images[1].shape[0])
        )
    files: list[int] = []
    try:
        for image in images:
            files.append(os.memfd_create("frame", os.MFD_CLOEXEC))
            os.truncate(files[-1], image.nbytes)
            os.pwrite(files[-1], image.data, 0)
        # `socket.send_fds` ignores its flags.
        along = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))]
        end.sendmsg([_encode(message)], along, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    finally:
        for file in files:
            os.close(file)
    return True


def receive(end: socket.socket) -> tuple[Message, Picture | None, Detail | None] | None:
    """Wait for a message and its images; return None if the other side is gone.

    Raises:
        TimeoutError: nothing arrived within the socket's timeout.
    """
    try:
        data, files, _, _ = socket.recv_fds(end, _MOST_BYTES, 2)
    except ConnectionError:
        return None
    if not data:
        return None
    message = _decode(data)
    if not isinstance(message, FrameMessage):
        return message, None, None
    if not message.has_pixels:
        return message, Unread(message.width, message.height), None
    image = _pixels(files[0], message.width, message.height)
    if message.detail is None:
        return message, image, None
    at, width, height = message.detail
    return message, image, Detail(at, _pixels(files[1], width, height))


def frame_of(camera: CameraId, message: FrameMessage, image: Picture, detail: Detail | None) -> Frame:
    """Return the frame of a message and its images."""
    moving = None if message.moving is None else np.frombuffer(message.moving, np.float32).reshape(-1, 4)
    return Frame(camera, message.sequence, message.captured_at, message.clock, image, moving, detail=detail)


def _pixels(file: int, width: int, height: int) -> UInt8:
    """Read the pixels; a mapping would be no cheaper, and keep a descriptor open as long as the frame exists."""
    image = np.empty((height, width, 3), np.uint8)
    try:
        os.preadv(file, [image.data], 0)
    finally:
        os.close(file)
    return image
