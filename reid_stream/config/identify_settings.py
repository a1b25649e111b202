"""Settings of a daemon whose cameras other hosts read (pure)."""

from reid_stream.config.settings import Camera, Settings


class IdentifySettings(Settings):
    """The file of `reid-stream identify`: as cams.yaml, but it need not name cameras, which belong to the hosts."""

    cameras: tuple[Camera, ...] = ()
    """Cameras whose zones and lines count, or that are expected; `url` is not opened."""
