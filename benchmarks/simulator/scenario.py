"""Settings of a simulated world, with unit, bound and default; read from YAML with `--world FILE`.

The defaults are a lively building: six cameras that do not overlap, people who pass about four of them, some who look
alike, a tracker that breaks now and then. `CALM` is the same without disturbances of the observations.
"""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from reid_stream.config.field_types import Fraction, Seconds
from reid_stream.config.settings import SettingsSection
from reid_stream.errors import ConfigError

Rate = Annotated[float, Field(ge=0)]
Spread = Annotated[float, Field(ge=0, le=2)]
"""Standard deviation of the logarithm of a time."""


class Scenario(SettingsSection):
    """A world's settings."""

    cameras: Annotated[int, Field(ge=1, le=500)] = 6
    """Number of cameras; camera k shows people as the data set's camera k mod v did."""
    people: Annotated[int, Field(ge=1)] = 150
    """Number of people; those beyond the data set's own are synthesized (looks.py)."""
    arrivals_per_hour: Annotated[float, Field(gt=0)] = 600
    """People who come, on average."""
    rush: tuple[Annotated[float, Field(ge=0)], ...] = ()
    """Relative arrivals by part of a day, such as 24 numbers; none for the same all day. A world starts at midnight."""
    cameras_passed: Annotated[float, Field(ge=1)] = 4
    """Cameras that a person passes on one walk, on average (geometric)."""
    neighbours: Annotated[int, Field(ge=1)] = 2
    """Cameras that can come next after each; which, and how often, is drawn."""
    in_view_s: Seconds = 8
    """Median time in view of one camera."""
    in_view_spread: Spread = 0.4
    transit_s: tuple[Seconds, Seconds] = (5, 40)
    """Each path has a typical transit time, drawn between these."""
    transit_spread: Spread = 0.3
    """Spread of single walks around what is typical of the path."""
    pause_share: Fraction = 0.1
    """Share of transits with a stop on the way (a shop, a coffee)."""
    pause_s: Seconds = 120
    """Mean length of a stop."""
    overlaps: tuple[tuple[int, int], ...] = ()
    """Pairs of cameras, numbered from 0, that see partly the same ground."""
    overlap_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of a visit that both see."""
    return_share: Fraction = 0.1
    """Share of people who come back once, in the same clothes."""
    return_after_s: Seconds = 57_600
    """Absence, give or take a quarter of an hour, at most a quarter of it: by default until the next morning."""
    look_alikes: Fraction = 0.1
    """Share of people who look like another person of this world."""
    likeness: Fraction = 0.4
    """Share by which their vectors are moved towards the other's."""
    uniform_share: Fraction = 0
    """Share of people who wear the same clothes: their vectors are moved towards those of one of them."""
    uniform_likeness: Fraction = 0.5
    """Share by which their vectors are moved towards it."""
    fps: Annotated[float, Field(gt=0, le=60)] = 5
    """Frames per second and camera."""
    camera_fps: tuple[Annotated[float, Field(gt=0, le=60)], ...] = ()
    """Lower rates of single cameras, by camera, `fps` at most; cameras beyond the last have `fps`."""
    dropped_frames: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of frames that never arrive."""
    vector_every_s: Seconds = 1
    """Interval of a track's vectors; the first comes at once."""
    quality: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (6, 3)
    """Qualities of crops: the two parameters of a Beta distribution."""
    mixed_share: Fraction = 0.05
    """Share of vectors that show another person in front, too; their quality is halved."""
    mixed_weight: Fraction = 0.4
    """Share of the other's vector in such a one."""
    occlusions_per_min: Rate = 2
    """Times out of sight, per person and minute in view."""
    occlusion_s: Seconds = 1
    """Median time out of sight; beyond `lost_s` the tracker starts a new track."""
    lost_s: Seconds = 2
    """Time without its person after which a track ends."""
    swaps_per_min: Rate = 0.1
    """Times that the tracker exchanges two people, per pair and minute side by side on one camera."""
    duplicates_per_min: Rate = 0.1
    """Second boxes (head and shoulders) with a track of their own, per person and minute in view."""
    clock_skew_s: Annotated[float, Field(ge=0)] = 0.2
    """Standard deviation of the cameras' constant clock errors."""
    clock_jitter_s: Annotated[float, Field(ge=0)] = 0.01
    """Standard deviation of each frame's time."""
    latency_s: Annotated[float, Field(ge=0)] = 0.2
    """Delay from capture to the matcher."""
    stalls_per_hour: Rate = 2
    """Times that a camera's observations are held up, per camera; then all come at once."""
    stall_s: Seconds = 20
    """Mean length of a hold-up."""

    @model_validator(mode="after")
    def _cameras_are_there(self) -> Self:
        for pair in self.overlaps:
            if pair[0] == pair[1] or not all(0 <= camera < self.cameras for camera in pair):
                raise ValueError(
                    f"overlaps: a pair must be two different cameras from 0 to {self.cameras - 1}, got {list(pair)}"
                )
        if self.rush and not sum(self.rush):
            raise ValueError("rush: at least one number must be above 0, got only zeros")
        if len(self.camera_fps) > self.cameras or any(rate > self.fps for rate in self.camera_fps):
            raise ValueError(
                f"camera_fps: must be {self.cameras} rates at most, none above fps ({self.fps}), got "
                f"{list(self.camera_fps)}"
            )
        if self.transit_s[0] > self.transit_s[1]:
            raise ValueError(f"transit_s: must be [least, most], got {list(self.transit_s)}")
        return self


CALM = {
    "look_alikes": 0.0,
    "mixed_share": 0.0,
    "occlusions_per_min": 0.0,
    "swaps_per_min": 0.0,
    "duplicates_per_min": 0.0,
    "stalls_per_hour": 0.0,
    "return_share": 0.0,
}
"""Scenario settings without wrong, incomplete or late observations, so that only appearance matters."""


def load(path: Path | None, **changes: Any) -> Scenario:
    """Read a scenario from YAML, or take the defaults; `changes` come on top.

    Raises:
        ConfigError: the file is no scenario; every fault is named.
    """
    from reid_stream.config.yaml_lines import read

    tree = read(path, {}) if path is not None else None
    value = tree.value if tree is not None and tree.value is not None else {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must be a mapping of keys, found {type(value).__name__}")
    try:
        return Scenario.model_validate({**value, **changes})
    except ValidationError as error:
        where = path or "a scenario"
        faults = [
            f"{where}: {'.'.join(str(key) for key in details['loc']) or 'world'}: {details['msg']}"
            for details in error.errors()
        ]
        raise ConfigError("\n".join(faults)) from None
