"""Settings of a daemon whose cameras other hosts read (pure)."""

from typing import Self

from pydantic import model_validator

from reid_stream.config.host_settings import MOST_SHARED
from reid_stream.config.settings import Camera, Settings


class IdentifySettings(Settings):
    """The file of `reid-stream identify`: as cams.yaml, but it need not name cameras, which belong to the hosts."""

    cameras: tuple[Camera, ...] = ()
    """Cameras whose zones and lines count, that are expected, or that are shared; `url` is not opened here."""

    @model_validator(mode="after")
    def _can_share(self) -> Self:
        count = sum(camera.enabled for camera in self.cameras)
        if self.hosts.share_cameras and not 1 <= count <= MOST_SHARED:
            raise ValueError(f"hosts.share_cameras needs 1 to {MOST_SHARED} enabled cameras, found {count}")
        return self
