"""Live images of cameras for the wall: subscribed to while they are watched, drawn and encoded once for all viewers.

All walls together get `ANSWERS` a second, in turns, so that further viewers slow walls down and not the daemon.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import msgspec
import numpy as np
import zmq

from reid_stream.errors import DECODE_ERRORS
from reid_stream.images import UInt8
from reid_stream.records import CameraId, TrackId
from reid_stream.runtime.previews import MOST_FPS, SUFFIX, PreviewHeader, is_private
from reid_stream.store.labels import Key

ANSWERS = 40.0
"""Most answers per second to all walls together, each with the newest frames of its cameras."""
_LOOKED_S = 6.0
"""Time after the last request for which a camera counts as watched, seconds."""
_SEARCH_S = 2.0
"""Interval of the search for new sockets, seconds."""
_POLL_MS = 200
_COLORS = ((20, 184, 166), (96, 165, 250), (251, 191, 36), (192, 132, 252), (251, 113, 133), (163, 230, 53))
_UNKNOWN = (150, 160, 168)
_QUALITY = 72
_HEAD = 0.22
_PARTS = 3
"""Parts of a message: camera, header, pixels."""


@dataclass(slots=True)
class Live:
    """The newest frame of a camera."""

    header: PreviewHeader
    image: UInt8
    arrived_at: float
    """Monotonic seconds."""
    number: int
    """Rises with every frame of any camera, also over restarts of the console."""
    encoding: threading.Lock = field(default_factory=threading.Lock)
    jpeg: bytes | None = None


def pace_s(walls: int) -> float:
    """Return the interval between the answers to one of so many walls."""
    return max(1 / MOST_FPS, walls / ANSWERS)


class PreviewHub:
    """The newest frame of each watched camera; thread-safe."""

    def __init__(self, folders: Sequence[Path], name_of: Callable[[Key], str], *, blur: bool) -> None:
        """`name_of`: what to write at a track's box; empty if not identified yet."""
        self._folders, self._name_of, self._blur = folders, name_of, blur
        self._lock = threading.Lock()
        self._looked_at: dict[CameraId, float] = {}
        self._latest: dict[CameraId, Live] = {}
        self._number = 0
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def note_viewer(self, camera: CameraId) -> None:
        """Note that a camera is watched."""
        with self._lock:
            self._looked_at[camera] = time.monotonic()
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._follow, name="wall", daemon=True)
                self._thread.start()

    def newest(self, camera: CameraId) -> Live | None:
        """Return the newest frame; None without a recent one."""
        found = self._latest.get(camera)
        return found if found is not None and time.monotonic() - found.arrived_at < _LOOKED_S else None

    def jpeg(self, found: Live) -> bytes:
        """Return a frame with boxes and names, encoded once."""
        # A lock per frame: `note_viewer`, on the event loop, must not wait for it.
        with found.encoding:
            if found.jpeg is None:
                found.jpeg = self._draw(found)
            return found.jpeg

    def close(self) -> None:
        """Stop."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(2)

    def _follow(self) -> None:
        """Receive until no camera is watched."""
        context = zmq.Context(io_threads=1)
        socket = context.socket(zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, 4)
        socket.setsockopt(zmq.LINGER, 0)
        connected: set[Path] = set()
        subscribed: set[CameraId] = set()
        searched_at = float("-inf")
        try:
            while not self._closing.is_set():
                now = time.monotonic()
                with self._lock:
                    wanted = {camera for camera, at in self._looked_at.items() if now - at < _LOOKED_S}
                    if not wanted:
                        self._thread = None
                        self._latest.clear()
                        return
                if now - searched_at > _SEARCH_S:
                    searched_at = now
                    private = [folder for folder in self._folders if is_private(folder)]
                    there = {path for folder in private for path in folder.glob(f"*{SUFFIX}")}
                    for path in there - connected:
                        socket.connect(f"ipc://{path}")
                    for path in connected - there:
                        socket.disconnect(f"ipc://{path}")
                    connected = there
                for camera in wanted - subscribed:
                    socket.setsockopt(zmq.SUBSCRIBE, camera.encode())
                for camera in subscribed - wanted:
                    socket.setsockopt(zmq.UNSUBSCRIBE, camera.encode())
                    self._latest.pop(camera, None)
                subscribed = wanted
                if socket.poll(_POLL_MS, zmq.POLLIN):
                    self._take(socket.recv_multipart())
        finally:
            socket.close(linger=0)
            context.term()

    def _take(self, parts: list[bytes]) -> None:
        try:
            header = msgspec.msgpack.decode(parts[1], type=PreviewHeader)
        except (*DECODE_ERRORS, IndexError):
            return  # no preview of this version
        is_whole = len(parts) == _PARTS and len(parts[2]) == header.width * header.height * 3 and header.width > 0
        if is_whole and len(header.tracks) == len(header.boxes):
            image = np.frombuffer(parts[2], np.uint8).reshape(header.height, header.width, 3)
            self._number = max(self._number + 1, time.time_ns() // 1_000_000)
            self._latest[header.camera] = Live(header, image, time.monotonic(), self._number)

    def _draw(self, found: Live) -> bytes:
        image = cv2.cvtColor(found.image, cv2.COLOR_RGB2BGR)
        header = found.header
        for number, box in zip(header.tracks, header.boxes, strict=True):
            x1, y1, x2, y2 = (max(0, round(edge)) for edge in box)
            if self._blur:
                head = image[y1 : max(y1 + 1, round(y1 + _HEAD * (y2 - y1))), x1:x2]
                if head.size:
                    head[:] = cv2.GaussianBlur(head, (0, 0), max(1.0, head.shape[0] / 2))
            name = self._name_of((header.camera, header.run, TrackId(number)))
            color = _COLORS[sum(name.encode()) % len(_COLORS)][::-1] if name else _UNKNOWN
            cv2.rectangle(image, (x1, y1), (x2, y2), color, 2)
            if name:
                text = name if name.isascii() else name.encode("ascii", "replace").decode()
                (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
                top = max(height + 6, y1)
                cv2.rectangle(image, (x1, top - height - 6), (x1 + width + 6, top), color, -1)
                cv2.putText(
                    image, text, (x1 + 3, top - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (16, 20, 24), 1, cv2.LINE_AA
                )
        return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
