"""Settings of a perceive host, which may share the site's cameras with other hosts (pure)."""

from typing import Annotated

from pydantic import BeforeValidator

from reid_stream.config.settings import Camera, Settings

SHARED = "shared"
"""Value of `cameras` for those that identification shares."""


def _read(given: object) -> object:
    if given == []:
        raise ValueError(f"must have at least 1 entry, or be `{SHARED}`, found an empty list")
    return () if given == SHARED else given


class PerceiveSettings(Settings):
    """The file of `reid-stream perceive`: as cams.yaml, or with `cameras: shared`."""

    cameras: Annotated[tuple[Camera, ...], BeforeValidator(_read)]
    """Cameras of this host; none where they are shared."""

    @property
    def has_shared_cameras(self) -> bool:
        """Whether the cameras are those that identification shares; for settings as they were read."""
        return not self.cameras
