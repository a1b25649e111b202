"""Determine the cameras of which every image is wanted, whether or not something moves in it."""

from collections.abc import Callable

from reid_stream.config.settings import Settings
from reid_stream.records import CameraId


class Attention:
    """Written by the perception thread, read by the one that takes frames."""

    def __init__(self, is_watched: Callable[[CameraId], bool] = lambda _: False) -> None:
        """`is_watched`: whether a camera's live images are open in the console."""
        self._is_watched = is_watched
        self._followed: frozenset[CameraId] = frozenset()

    def follow(self, camera: CameraId, is_wanted: bool) -> None:
        """Note whether people of a camera are followed."""
        if is_wanted != (camera in self._followed):
            self._followed = self._followed | {camera} if is_wanted else self._followed - {camera}

    def wants(self, camera: CameraId) -> bool:
        """Return whether every image of a camera is wanted."""
        return camera in self._followed or self._is_watched(camera)


def full_every_s(settings: Settings) -> float | None:
    """Return at what interval each camera's image is wanted at least, in seconds; None for every image."""
    return settings.detect.full_every_s if settings.detect.gate == "auto" else None
