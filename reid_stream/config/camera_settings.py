"""Settings of one camera: its addresses, its place, what of its image counts (pure)."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from reid_stream.config.field_types import Name, Polygon, Segment


class SettingsSection(BaseModel):
    """A section of cams.yaml: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Camera(SettingsSection):
    """One camera."""

    id: Name
    """Name in events; letters, digits, `_`, `.`, `-`."""
    url: SecretStr
    """rtsp://, rtsps://, http(s)://, a file, or a device such as /dev/video0. May hold ${ENV}."""
    detect_url: SecretStr | None = None
    """rtsp://, rtsps:// or http(s)://: a smaller stream of the same camera and view, to follow people in. Of the stream
    at `url` only key frames are decoded, to cut people out of; `resize` does not apply to it."""
    username: str | None = None
    """User name, added to the URL so that nothing needs escaping; with `password` or `password_file`."""
    password: SecretStr | None = None
    """May be ${ENV}; never logged."""
    password_file: Path | None = None
    """File whose first line is the password (for Docker and Kubernetes secrets)."""
    enabled: bool = True
    """False keeps the entry without opening the camera."""
    tls: Literal["verified", "unverified"] = "verified"
    """rtsps:// and https:// only. `unverified` accepts any certificate: a man in the middle gets the password."""
    ca_file: Path | None = None
    """rtsps:// and https:// only: authorities (PEM) that the camera's certificate is verified against; null for
    those of the system."""
    fingerprint: Annotated[str, Field(pattern=r"^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$")] | None = None
    """rtsps:// and https:// only: SHA-256 of the camera's own certificate, instead of authority and host name."""
    transport: Literal["tcp", "udp"] = "tcp"
    """RTSP only. TCP loses nothing; UDP is for networks where TCP stalls."""
    max_fps: Annotated[float, Field(gt=0, le=120)] | None = 10
    """Maximum frames used per second; null for all. 10 is enough to track walking people."""
    priority: Annotated[int, Field(ge=1, le=100)] = 1
    """Under overload, relative share of frames: 2 keeps twice as many as 1."""
    resize: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] | None = None
    """(width, height) in pixels that frames are scaled to first; null keeps the camera's own size."""
    region: Polygon | None = None
    """Polygon: people whose feet are outside are ignored. Corners as fractions of width and height, (0, 0) top left."""
    ignore: tuple[Polygon, ...] = ()
    """Polygons: people whose feet are inside are ignored (a poster, a screen). Fractions as in `region`."""
    zones: dict[Name, Polygon] = {}
    """Polygons by name, corners as fractions of width and height: `zone.entered` and `zone.left` report whose feet are
    in one, and for how long."""
    lines: dict[Name, Segment] = {}
    """Lines by name, two points as fractions each: `line.crossed` reports whose feet crossed one; `in` is to the right,
    as seen from its first point to its second."""
    loop: bool = False
    """Files only: start over at the end."""
    start_after_s: Annotated[float, Field(ge=0)] = 0
    """Files only: delay of the first frame, seconds, to stagger replayed cameras."""

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password is not None and self.password_file is not None:
            raise ValueError("give password or password_file, not both")
        return self
