"""Send crops from workers to the tracklet store in the daemon; dropped and counted where there is no room.

Frames never cross processes, but the store's crops do, a few per second: one writer then limits the disk space and
applies corrections of identities, whichever worker a camera is on.
"""

import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import structlog
import zmq

from reid_stream.link.zmq import bind, connect
from reid_stream.pipeline import Keep
from reid_stream.records import Box, CameraId, ClockQuality, Crop, TrackEnded, TrackId, encode
from reid_stream.records import decode as decode_record

MOST = 200
"""Most steps in the queue at each end."""
_LOOK_MS = 200
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


class CropSender:
    """Worker's end; `take` is a `pipeline.Keep`."""

    def __init__(self, path: Path) -> None:
        """Connect to the socket at `path`."""
        self._socket = connect(path, MOST)
        self.lost = 0
        """Crops for which there was no room."""

    def take(self, crops: Sequence[Crop], ended: Sequence[TrackEnded]) -> None:
        """Send the crops and ended tracks of one step; never waits."""
        if not crops and not ended:
            return
        heads = [
            _Head(c.camera, c.run, c.track, c.at, c.clock, c.box, c.quality, _shape(c), c.vector, c.model)
            for c in crops
        ]
        # Copied, since a crop is a view of its frame, which the socket would keep in memory.
        images = [np.ascontiguousarray(crop.image).tobytes() for crop in crops]
        try:
            self._socket.send_multipart(
                [_encode((heads, [encode(record) for record in ended])), *images], flags=zmq.NOBLOCK
            )
        except zmq.Again:
            self.lost += len(crops)

    def close(self) -> None:
        """Close; what was taken is still sent."""
        self._socket.close(linger=1000)


class CropReceiver:
    """Daemon's end: a thread that passes everything to the store."""

    def __init__(self, path: Path, keep: Keep) -> None:
        """Bind the socket at `path`."""
        self._socket = bind(path, MOST)
        self._keep = keep
        self._closing = threading.Event()
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
            if self._socket.poll(_LOOK_MS):
                try:
                    self._take(self._socket.recv_multipart())
                except Exception as error:  # noqa: BLE001 (one message must not end the thread that stores all others)
                    self.malformed += 1
                    _log.error("link_message_invalid", reason=str(error)[:200])
            elif self._closing.is_set():
                return

    def _take(self, parts: list[bytes]) -> None:
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
                image=np.frombuffer(image, np.uint8).reshape(head.shape),
                vector=head.vector,
                model=head.model,
            )
            for head, image in zip(heads, parts[1:], strict=True)
        ]
        records = [decode_record(body) for body in ended]
        self._keep(crops, [record for record in records if isinstance(record, TrackEnded)])


def _shape(crop: Crop) -> tuple[int, int, int]:
    height, width, channels = crop.image.shape
    return height, width, channels
