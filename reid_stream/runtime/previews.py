"""Publish scaled frames with their tracks for the web console's wall, only while there are subscribers.

One XPUB socket a process that runs perception, in a private folder on this host; a subscription is a camera's name. The
perception thread leaves its newest frame of a wanted camera in a slot; scaling and sending are done on another thread.
"""

import contextlib
import hashlib
import os
import stat
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import msgspec
import numpy as np
import platformdirs
import structlog
import zmq

from reid_stream.config.settings import Settings
from reid_stream.records import CameraId, Frame, Tracks

_MOST_PATH = 107 - len("/4194304-9973.previews")
"""Bytes of a folder's path, so that a socket in it can be bound (unix(7))."""
WIDTH = 640
"""Pixels; wider frames are scaled down."""
MOST_FPS = 5.0
"""Most frames per second of a camera."""
SUFFIX = ".previews"
_IDLE_MS, _BUSY_MS = 500, 25
_log = structlog.get_logger(__name__)


class PreviewHeader(msgspec.Struct, frozen=True):
    """Metadata of a frame, whose pixels follow: RGB (height, width, 3), row by row."""

    camera: CameraId
    run: str
    at: float
    """UTC seconds of the capture."""
    width: int
    height: int
    tracks: list[int]
    boxes: list[tuple[float, float, float, float]]
    """Boxes of the tracks, in pixels of the scaled frame."""


def previews_folders(settings: Settings) -> list[Path]:
    """Return the folders that may have a site's preview sockets, the best first.

    Another user of the machine can take the name in the last one, that for temporary files; not in the others.
    """
    redis = settings.redis
    name = f"{settings.site} {redis.directory} {redis.url.get_secret_value()}"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    bases = [Path(runtime)] if runtime else []
    bases += [platformdirs.user_data_path("reid-stream"), Path(tempfile.gettempdir())]
    ending = f"reid-stream-previews-{os.geteuid()}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return [base / ending for base in bases if len(os.fsencode(base / ending)) < _MOST_PATH]


def is_private(folder: Path) -> bool:
    """Whether only our user can access a folder; another user may have created one of that name."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _private_folder(folders: Sequence[Path]) -> Path:
    """Return the first folder that is ours alone, made if it is missing.

    Raises:
        OSError: there is none.
    """
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if is_private(folder):
                return folder
    raise OSError(f"one of {', '.join(map(str, folders))} must be a private folder of this user")


class PreviewPublisher:
    """Sends frames of the cameras that are watched."""

    def __init__(self, folders: Sequence[Path], run: str) -> None:
        """Bind a socket in the first private folder; without one, nothing is published."""
        self._run = run
        self._wanted: dict[bytes, int] = {}
        self._slots: dict[CameraId, tuple[Frame, Tracks]] = {}
        self._sent_at: dict[CameraId, float] = {}
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._context = zmq.Context(io_threads=1)
        try:
            folder = _private_folder(folders)
            _remove_stale(folder)
            self._path = folder / f"{os.getpid()}-{id(self) % 9973}{SUFFIX}"
            self._socket = self._context.socket(zmq.XPUB)
            self._socket.setsockopt(zmq.SNDHWM, 4)
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.bind(f"ipc://{self._path}")
        except (OSError, zmq.ZMQError) as error:
            self._context.destroy(linger=0)
            _log.warning("previews_unavailable", reason=str(error))
            return
        self._thread = threading.Thread(target=self._serve, name="previews", daemon=True)
        self._thread.start()

    def is_watched(self, camera: CameraId) -> bool:
        """Return whether a viewer has a camera's live images open."""
        return camera.encode() in self._wanted

    def show(self, frame: Frame, tracks: Tracks) -> None:
        """Take a frame; costs nothing unless its camera is watched."""
        if not self._wanted or frame.camera.encode() not in self._wanted:
            return
        now = time.monotonic()
        if now - self._sent_at.get(frame.camera, 0.0) >= 1 / MOST_FPS:
            self._sent_at[frame.camera] = now
            self._slots[frame.camera] = (frame, tracks)

    def close(self) -> None:
        """Stop publishing."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(2)

    def _serve(self) -> None:
        try:
            while not self._closing.is_set():
                if self._socket.poll(_BUSY_MS if self._wanted else _IDLE_MS, zmq.POLLIN):
                    self._subscribe(self._socket.recv())
                    continue
                for camera in list(self._slots):
                    self._send(*self._slots.pop(camera))
        except Exception as error:  # noqa: BLE001 (previews must not end perception)
            _log.warning("previews_unavailable", reason=str(error))
            self._wanted = {}
        finally:
            self._socket.close(linger=0)
            self._context.term()
            self._path.unlink(missing_ok=True)

    def _subscribe(self, message: bytes) -> None:
        """Apply XPUB's messages: 1 and a name that is subscribed to, 0 and one that no longer is."""
        wanted = dict(self._wanted)
        if message[:1] == b"\x01":
            wanted[message[1:]] = 1
        else:
            wanted.pop(message[1:], None)
        self._wanted = wanted

    def _send(self, frame: Frame, tracks: Tracks) -> None:
        image = frame.pixels
        height, width = image.shape[:2]
        scale = min(1.0, WIDTH / width)
        if scale < 1:
            image = np.asarray(
                cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA), np.uint8
            )
        header = PreviewHeader(
            camera=frame.camera,
            run=self._run,
            at=frame.captured_at,
            width=image.shape[1],
            height=image.shape[0],
            tracks=[int(number) for number in tracks.ids],
            boxes=[(float(a), float(b), float(c), float(d)) for a, b, c, d in tracks.boxes * np.float32(scale)],
        )
        parts = [frame.camera.encode(), msgspec.msgpack.encode(header), np.ascontiguousarray(image).tobytes()]
        with contextlib.suppress(zmq.Again):
            self._socket.send_multipart(parts, flags=zmq.NOBLOCK)


def _remove_stale(folder: Path) -> None:
    """Remove sockets of processes that are gone."""
    for path in folder.glob(f"*{SUFFIX}"):
        pid = path.name.partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            path.unlink(missing_ok=True)
