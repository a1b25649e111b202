"""Settings of a site on many hosts (pure)."""

from typing import Annotated

from pydantic import Field

from reid_stream.config.camera_settings import SettingsSection

MOST_CAMERAS = 256
"""Cameras of one perceive host."""
MOST_SHARED = 4096
"""Cameras that a site can share."""


class Hosts(SettingsSection):
    """A site on many hosts: `reid-stream identify` and `perceive`."""

    share_cameras: bool = False
    """identify: put `cameras`, with their addresses and passwords, on Redis, for perceive hosts with `cameras: shared`,
    which share them out among themselves."""
    lease_s: Annotated[float, Field(ge=2, le=300)] = 10
    """perceive with `cameras: shared`: time after the last sign of life of a host, seconds, when others take over its
    cameras. A host that cannot reach Redis closes them before that."""
    max_cameras: Annotated[int, Field(ge=1, le=MOST_CAMERAS)] = MOST_CAMERAS
    """perceive with `cameras: shared`: most cameras that this host takes."""
