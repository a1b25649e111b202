"""Send crops from workers to the tracklet store in the daemon; dropped and counted where there is no room.

Frames never cross processes, but the store's crops do, a few per second: one writer then limits the disk space and
applies corrections of identities, whichever worker a camera is on.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import structlog

from reid_stream.images import UInt8
from reid_stream.link.zmq import SETTLE_S, LinkSocket, ReceivedCounts, SentCount, bind, next_message
from reid_stream.pipeline import Keep
from reid_stream.records import Box, CameraId, ClockQuality, Crop, TrackEnded, TrackId, encode
from reid_stream.records import decode as decode_record

MOST = 200
"""Most steps in the queue at each end."""
_LOOK_MS = 200
ToBytes = Callable[[UInt8], bytes]
"""Image (h, w, 3) RGB to bytes."""
FromBytes = Callable[[bytes, tuple[int, int, int]], UInt8]
"""Bytes and shape back to the image."""
_log = structlog.get_logger(__name__)


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """A crop without its image."""

    camera: CameraId
    run: str
    track: TrackId
    at: float
    clock: ClockQuality
    box: Box
    quality: float
    shape: tuple[int, int, int]
    vector: bytes | None
    model: str


_encode = msgspec.msgpack.Encoder().encode
_heads = msgspec.msgpack.Decoder(tuple[list[_Head], list[bytes]])


def _raw(image: UInt8) -> bytes:
    # Copied, since a crop is a view of its frame, which the socket would keep in memory.
    return np.ascontiguousarray(image).tobytes()


def _from_raw(image: bytes, shape: tuple[int, int, int]) -> UInt8:
    return np.frombuffer(image, np.uint8).reshape(shape)


class CropSender:
    """Worker's end; `take` is a `pipeline.Keep`."""

    def __init__(self, path: Path, *, name: str = "", sent: SentCount | None = None) -> None:
        """Connect to the socket at `path`; see `LinkSocket`."""
        self._socket = LinkSocket(path, MOST, name, sent)
        self.lost = 0
        """Crops for which there was no room."""

    def take(self, crops: Sequence[Crop], ended: Sequence[TrackEnded]) -> None:
        """Send the crops and ended tracks of one step; never waits."""
        if not crops and not ended:
            return
        if not self._socket.put(pack(crops, ended), len(crops)):
            self.lost += len(crops)

    def close(self) -> None:
        """Close once what was taken has arrived, or after a few seconds."""
        self._socket.close()


class CropReceiver:
    """Daemon's end: a thread that passes everything to the store."""

    def __init__(self, path: Path, keep: Keep) -> None:
        """Bind the socket at `path`."""
        self._socket = bind(path, MOST)
        self._keep = keep
        self._closing = threading.Event()
        self.counts = ReceivedCounts("crops")
        self.malformed = 0
        """Messages that hold no crops, or that the store did not take."""
        self._thread = threading.Thread(target=self._loop, name="crops", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Receive what has come, then end."""
        self._closing.set()
        self._thread.join()
        self._socket.close(linger=0)

    def _loop(self) -> None:
        while True:
            self._socket.poll(_LOOK_MS)
            message = next_message(self._socket)
            if message is not None:
                try:
                    self._take(*message)
                except Exception as error:  # noqa: BLE001 (one message must not end the thread that stores all others)
                    self.malformed += 1
                    _log.error("link_message_invalid", reason=str(error)[:200])
                continue
            is_closing = self._closing.is_set()
            self.counts.settle(after_s=0.0 if is_closing else SETTLE_S)
            if is_closing:
                return

    def _take(self, sender: str, parts: list[bytes]) -> None:
        crops, ended = unpack(parts)
        self.counts.add(sender, len(crops))
        self._keep(crops, ended)


def pack(crops: Sequence[Crop], ended: Sequence[TrackEnded], to_bytes: ToBytes = _raw) -> list[bytes]:
    """Return the parts of a message: the crops without their images, and each image by `to_bytes`."""
    heads = [
        _Head(c.camera, c.run, c.track, c.at, c.clock, c.box, c.quality, _shape(c), c.vector, c.model) for c in crops
    ]
    return [_encode((heads, [encode(record) for record in ended])), *(to_bytes(crop.image) for crop in crops)]


def unpack(parts: Sequence[bytes], from_bytes: FromBytes = _from_raw) -> tuple[list[Crop], list[TrackEnded]]:
    """Return the crops and ended tracks of a message.

    Raises:
        ValueError: the parts are no such message.
    """
    heads, ended = _heads.decode(parts[0])
    crops = [
        Crop(
            camera=head.camera,
            run=head.run,
            track=head.track,
            at=head.at,
            clock=head.clock,
            box=head.box,
            quality=head.quality,
            image=from_bytes(image, head.shape),
            vector=head.vector,
            model=head.model,
        )
        for head, image in zip(heads, parts[1:], strict=True)
    ]
    records = [decode_record(body) for body in ended]
    return crops, [record for record in records if isinstance(record, TrackEnded)]


def _shape(crop: Crop) -> tuple[int, int, int]:
    height, width, channels = crop.image.shape
    return height, width, channels
