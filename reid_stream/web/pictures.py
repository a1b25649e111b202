"""Pictures in and out: uploads are measured before they are decoded, stored crops are scaled down and blurred."""

import functools
import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from reid_stream import images
from reid_stream.images import UInt8

MOST_BYTES = 8 << 20
"""Largest uploaded picture, bytes."""
MOST_PIXELS = 32_000_000
"""Largest uploaded picture, pixels: 96 MB decoded."""
_MOST_SIDE = 12_000
_LEAST_SIDE = 16
_FORMATS = ("JPEG", "PNG", "WEBP")
_HEAD = 0.22
"""Upper share of a crop that shows the head."""
WIDTHS = (64, 128, 256)
"""Pixels that thumbnails may be scaled to; a bounded set, so that a cache stays small."""


class PictureError(ValueError):
    """An upload that is not an accepted picture; the message has the reason."""


def decode(body: bytes) -> UInt8:
    """Return an uploaded picture as RGB (h, w, 3), rotated according to its EXIF data.

    Raises:
        PictureError: it is none of the formats, broken, or too large.
    """
    if len(body) > MOST_BYTES:
        raise PictureError(f"a picture must have at most {MOST_BYTES >> 20} MB, got {len(body) / 2**20:.1f}")
    try:
        with Image.open(io.BytesIO(body), formats=_FORMATS) as picture:
            width, height = picture.size  # of the header: nothing is decoded yet
            if width * height > MOST_PIXELS or max(width, height) > _MOST_SIDE or min(width, height) < _LEAST_SIDE:
                raise PictureError(
                    f"a picture must have {_LEAST_SIDE} to {_MOST_SIDE} pixels a side and at most "
                    f"{MOST_PIXELS // 1_000_000} million, got {width}x{height}"
                )
            if getattr(picture, "n_frames", 1) != 1:
                raise PictureError("a picture must be a single one, got an animation")
            return np.array(ImageOps.exif_transpose(picture).convert("RGB"), dtype=np.uint8)
    except PictureError:
        raise
    except Exception as error:  # noqa: BLE001 (what broken files raise is a long list)
        raise PictureError(f"a picture must be a whole JPEG, PNG or WebP: {type(error).__name__}") from None


def read_crop(path: Path) -> UInt8:
    """Return a stored crop as RGB (h, w, 3).

    Raises:
        OSError: it is gone, or no picture.
    """
    return _read(path)[1]


def _read(path: Path) -> tuple[bytes, UInt8]:
    """Return a stored crop as its file and as RGB (h, w, 3)."""
    try:
        content = images.read_file(path)
        return content, images.decode(content)
    except ValueError as error:
        raise OSError(f"{path.name} {error}") from error


def jpeg(path: Path, width: int | None, *, blur: bool) -> bytes:
    """Return a stored crop as JPEG, scaled down to `width` pixels (None: as it is), its head blurred on request.

    Raises:
        OSError: it is gone, or no picture.
    """
    changed = path.stat().st_mtime_ns  # also raises for a deleted crop
    if width is None and not blur:
        return _read(path)[0]  # decoded as well: nothing but a picture leaves the store, wherever a link in it leads
    return _made(path, changed, width, blur)


@functools.lru_cache(maxsize=2048)
def _made(path: Path, _changed: int, width: int | None, blur: bool) -> bytes:
    image = np.asarray(cv2.cvtColor(read_crop(path), cv2.COLOR_RGB2BGR), np.uint8)
    height = image.shape[0]
    if blur:
        blur_head(image)
    if width is not None and image.shape[1] > width:
        size = (width, max(1, round(height * width / image.shape[1])))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def blur_head(image: UInt8) -> None:
    """Blur the upper part of a crop (h, w, 3), in place."""
    rows = max(1, round(_HEAD * image.shape[0]))
    size = max(3, rows // 2 * 2 + 1)
    image[:rows] = cv2.GaussianBlur(image[:rows], (size, size), 0)


def frame_jpeg(image: UInt8, width: int, *, blur: bool) -> bytes:
    """Return a whole RGB frame (h, w, 3) as JPEG of at most `width` pixels; blurred whole on request."""
    height = max(1, round(image.shape[0] * min(1.0, width / image.shape[1])))
    size = (min(width, image.shape[1]), height)
    scaled = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), size, interpolation=cv2.INTER_AREA)
    if blur:  # where people are is not known
        scaled = cv2.GaussianBlur(scaled, (0, 0), max(1.0, size[0] / 80))
    return cv2.imencode(".jpg", scaled, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def forget() -> None:
    """Drop all scaled pictures from memory: a track was removed, perhaps on a person's request."""
    _made.cache_clear()
