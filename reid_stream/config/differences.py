"""Compare two readings of cams.yaml: cameras change while the daemon runs, other settings at its next start (pure)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from reid_stream.config.settings import Camera, Settings

LIVE_KEYS = ("region", "ignore", "priority", "zones", "lines")
"""Keys of a camera whose change leaves its stream open."""


@dataclass(frozen=True, slots=True)
class ReconfiguredCamera:
    """A camera whose entry has changed."""

    camera: Camera
    """Current entry of the camera."""
    keys: tuple[str, ...]
    """Names of the keys that have changed."""

    @property
    def reopens(self) -> bool:
        """Whether its stream must be opened again."""
        return any(key not in LIVE_KEYS for key in self.keys)


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """Differences between two settings. A camera that is switched off or on counts as removed or added."""

    cameras: tuple[Camera, ...]
    """All enabled cameras now."""
    added: tuple[Camera, ...] = ()
    removed: tuple[str, ...] = ()
    """IDs."""
    changed: tuple[ReconfiguredCamera, ...] = ()
    needs_restart: tuple[str, ...] = ()
    """Other keys that have changed, dotted, as `detect.score`."""

    @property
    def has_cameras(self) -> bool:
        """Whether any camera is added, removed or changed."""
        return bool(self.added or self.removed or self.changed)


def changes(before: Settings, after: Settings) -> SettingsChange:
    """Return the differences; `needs_restart` is in the order of the settings."""
    old = {camera.id: camera for camera in before.cameras if camera.enabled}
    new = {camera.id: camera for camera in after.cameras if camera.enabled}
    keys = {name: tuple(_differing(old[name], camera)) for name, camera in new.items() if name in old}
    return SettingsChange(
        cameras=tuple(new.values()),
        added=tuple(camera for name, camera in new.items() if name not in old),
        removed=tuple(name for name in old if name not in new),
        changed=tuple(ReconfiguredCamera(new[name], found) for name, found in keys.items() if found),
        needs_restart=tuple(key for key in _differing(before, after) if key != "cameras"),
    )


def with_cameras(settings: Settings, cameras: Sequence[Camera]) -> Settings:
    """Return the settings with other cameras."""
    return settings.model_copy(update={"cameras": tuple(cameras)})


def _differing(before: BaseModel, after: BaseModel, prefix: str = "") -> Iterator[str]:
    for name in type(before).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if old == new:
            continue
        if isinstance(old, BaseModel) and isinstance(new, BaseModel):
            yield from _differing(old, new, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
