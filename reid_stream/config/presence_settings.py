"""Settings that visits depend on: the section `publish`, and the zones and lines of the cameras (pure)."""

from collections.abc import Iterable

from pydantic import Field

from reid_stream.config.field_types import Polygon, Segment
from reid_stream.config.settings import Camera, Publish, SettingsSection


class CameraPlaces(SettingsSection):
    """Zones and lines of one camera."""

    zones: dict[str, Polygon] = Field(default_factory=dict)
    lines: dict[str, Segment] = Field(default_factory=dict)


class PresenceSettings(Publish):
    """The section `publish`, and the zones and lines of the cameras."""

    places: dict[str, CameraPlaces] = Field(default_factory=dict)
    """Zones and lines by camera."""

    @classmethod
    def of(cls, publish: Publish, cameras: Iterable[Camera]) -> "PresenceSettings":
        """Join the settings of a site."""
        places = {
            camera.id: CameraPlaces(zones=camera.zones, lines=camera.lines)
            for camera in cameras
            if camera.zones or camera.lines
        }
        return cls(**publish.model_dump(exclude={"places"}), places=places)
