"""Show crops as the cameras of one site would have taken them: colour, sharpness, compression, loose boxes (pure).

    crops of a data set, cameras -> crops named by the cameras of a world

Camera k takes what the data set's camera k mod v took, in its own colours, as several variants: detectors draw boxes
loosely, and light changes from step to step. Without variants the same image would be met again on every visit.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.simulator.crops import PersonCrop

Image = npt.NDArray[np.uint8]

_SHIFT, _SCALE, _LIGHT = (0.08, 0.05), (0.9, 1.12), 0.12
"""Variation of a crop: largest shift in widths and heights, range of the box's size, spread of its brightness."""
_GAIN, _GAMMA, _SATURATION, _BLUR = 0.18, 0.25, 0.3, 1.2
"""Variation of cameras at strength 1: spreads of the logarithms of channel gains, gamma, saturation; largest loss of
sharpness, as a factor of resolution less one."""
_QUALITY = (90, 45)
"""JPEG quality of cameras at strength 0 and 1."""


@dataclass(frozen=True, slots=True, eq=False)
class CameraLook:
    """Rendering of one camera."""

    gains: npt.NDArray[np.float32]
    """(3,) of blue, green and red."""
    gamma: float
    saturation: float
    blur: float
    """Resolution of the data set's image as a multiple of this camera's, 1 or more."""
    quality: int
    """JPEG quality."""


def camera_look(strength: float, rng: np.random.Generator) -> CameraLook:
    """Draw a camera; at strength 0 it renders as the data set's own did."""
    return CameraLook(
        gains=np.exp(rng.normal(0, _GAIN, 3) * strength).astype(np.float32),
        gamma=float(np.exp(rng.normal(0, _GAMMA) * strength)),
        saturation=float(np.exp(rng.normal(0, _SATURATION) * strength)),
        blur=1 + float(rng.uniform(0, _BLUR)) * strength,
        quality=round(np.interp(strength, (0, 1), _QUALITY)),
    )


def seen_by(
    crops: Sequence[PersonCrop], cameras: int, strength: float, variants: int, most: int, seed: int
) -> list[PersonCrop]:
    """Return the crops of each camera of a world, named by its number.

    Args:
        crops: of a data set.
        cameras: of the world.
        strength: how much its cameras differ in colour and sharpness, see `camera_look`.
        variants: of each crop.
        most: crops of the data set used per person and camera.
        seed: of all chance; that of an image depends on person and camera as well, not on other images.

    Raises:
        ValueError: a crop is no image.
    """
    views = sorted({crop.camera for crop in crops})
    shown: list[PersonCrop] = []
    for camera in range(cameras):
        look = camera_look(strength, np.random.default_rng([seed, camera]))
        used: dict[str, int] = {}
        for crop in crops:
            if crop.camera != views[camera % len(views)] or used.get(crop.person, 0) >= most:
                continue
            used[crop.person] = used.get(crop.person, 0) + 1
            chance = np.random.default_rng([seed, camera, zlib.crc32(crop.data)])
            image = _decoded(crop)
            shown.extend(
                replace(crop, camera=f"{camera:02}", data=data) for data in _variants(image, look, variants, chance)
            )
    return shown


def _variants(image: Image, look: CameraLook, variants: int, rng: np.random.Generator) -> Iterable[bytes]:
    for _ in range(variants):
        rendered = _rendered(_loosely(image, rng), look, float(np.exp(rng.normal(0, _LIGHT))))
        yield cv2.imencode(".jpg", rendered, [cv2.IMWRITE_JPEG_QUALITY, look.quality])[1].tobytes()


def _loosely(image: Image, rng: np.random.Generator) -> Image:
    """Cut the person out with a box a little off."""
    height, width = image.shape[:2]
    scale = float(rng.uniform(*_SCALE))
    shift = rng.uniform(-1, 1, 2) * _SHIFT * (width, height)
    centre = (width / 2, height / 2)
    move = np.asarray(
        [[scale, 0, centre[0] * (1 - scale) + shift[0]], [0, scale, centre[1] * (1 - scale) + shift[1]]],
        dtype=np.float32,
    )
    return np.asarray(cv2.warpAffine(image, move, (width, height), borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)


def _rendered(image: Image, look: CameraLook, light: float) -> Image:
    height, width = image.shape[:2]
    if look.blur > 1:
        small = (max(8, round(width / look.blur)), max(16, round(height / look.blur)))
        image = np.asarray(cv2.resize(cv2.resize(image, small, interpolation=cv2.INTER_AREA), (width, height)))
    linear = (image.astype(np.float32) / 255) ** look.gamma * look.gains * light
    grey = linear @ np.asarray([0.114, 0.587, 0.299], dtype=np.float32)
    coloured = grey[..., None] + (linear - grey[..., None]) * look.saturation
    return np.asarray(np.clip(coloured * 255, 0, 255), dtype=np.uint8)


def _decoded(crop: PersonCrop) -> Image:
    image = cv2.imdecode(np.frombuffer(crop.data, np.uint8), cv2.IMREAD_COLOR) if crop.data else None
    if image is None:
        raise ValueError(f"a crop must be an image, that of person {crop.person} on camera {crop.camera} is none")
    return np.asarray(image, dtype=np.uint8)
