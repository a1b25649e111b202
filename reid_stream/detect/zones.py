"""Keep people inside a camera's zones (pure): by their feet, since heads may show over a wall in front of a person."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reid_stream import boxes as box_maths
from reid_stream.config.field_types import Polygon
from reid_stream.config.settings import Camera
from reid_stream.records import CameraId, Floats


@dataclass(frozen=True, slots=True)
class Zones:
    """A camera's region of interest and ignore masks; corners as fractions of width and height."""

    region: Polygon | None = None
    ignore: tuple[Polygon, ...] = ()

    def keep(self, boxes: Floats, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """Return which boxes (n, 4), in pixels of an image of `size` (width, height), count."""
        kept = np.ones(len(boxes), dtype=bool)
        if len(boxes) and (self.region or self.ignore):
            feet: Floats = (box_maths.feet(boxes) / np.asarray(size, dtype=np.float32)).astype(np.float32)
            if self.region:
                kept &= box_maths.inside(feet, self.region)
            for polygon in self.ignore:
                kept &= ~box_maths.inside(feet, polygon)
        return kept


def zones_of(cameras: Iterable[Camera]) -> dict[CameraId, Zones]:
    """Return the zones of the cameras that have any."""
    return {
        CameraId(camera.id): Zones(camera.region, camera.ignore)
        for camera in cameras
        if camera.region is not None or camera.ignore
    }
