"""The cameras of cams.yaml as they are now: read again when the file has changed, as the daemon does."""

import threading
import time
from pathlib import Path

from reid_stream.config import cams_yaml
from reid_stream.config.identify_settings import IdentifySettings
from reid_stream.config.settings import Camera, Settings
from reid_stream.errors import ConfigError
from reid_stream.observe import logs

_LOOK_S = 1.0


class CameraList:
    """Cameras of a site; thread-safe."""

    def __init__(self, settings: Settings, path: Path | None = None) -> None:
        """`path`: of cams.yaml, which `settings` come from; None for cameras that never change."""
        self.path = path
        """Path of cams.yaml; None for cameras that never change."""
        self._cameras = settings.cameras
        self._lock = threading.Lock()
        self._seen = self._state()
        self._looked_at = time.monotonic()

    def all(self) -> tuple[Camera, ...]:
        """Return all cameras; the previous ones while the file is faulty or missing."""
        with self._lock:
            if time.monotonic() - self._looked_at >= _LOOK_S:
                self._looked_at = time.monotonic()
                self._look()
            return self._cameras

    def read_again(self) -> None:
        """Read the file again at the next call, however soon that is."""
        with self._lock:
            self._looked_at = -_LOOK_S

    def enabled(self) -> list[Camera]:
        """Return the cameras that are enabled."""
        return [camera for camera in self.all() if camera.enabled]

    def _look(self) -> None:
        state = self._state()
        if self.path is None or state is None or state == self._seen:
            return
        self._seen = state
        try:
            cameras = cams_yaml.load(self.path, kind=IdentifySettings).cameras
        except ConfigError:  # the daemon reports it and continues
            return
        for camera in cameras:
            logs.hide_camera(camera)
        self._cameras = cameras

    def _state(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat() if self.path is not None else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino) if found is not None else None
