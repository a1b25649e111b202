"""Images in main memory as numpy arrays, or in the memory of the GPU that decoded them; image files.

Only the engines know what is behind `OnDevice`. All other code reads its size, crops it, or copies it to main memory.
An image file may come from anywhere: its size is read from its header before memory is taken for its pixels.
"""

import io
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]


@runtime_checkable
class OnDevice(Protocol):
    """RGB pixels (h, w, 3) uint8 in the memory of the device that decoded them."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, 3)."""
        ...

    def cut(self, left: int, top: int, right: int, bottom: int) -> Self:
        """Return a part, in whole pixels within the picture; the whole lives as long as the part."""
        ...

    def host(self) -> UInt8:
        """Copy the pixels (h, w, 3) to main memory."""
        ...


class Unread:
    """An image that was decoded and not converted, for there was no need to look at it; only its size is known."""

    def __init__(self, width: int, height: int) -> None:
        self.shape = (height, width, 3)
        """(h, w, 3)."""

    def cut(self, left: int, top: int, right: int, bottom: int) -> Self:
        """Raise ValueError: there are no pixels."""
        raise ValueError(f"an image must have been converted to be cut, ({left}, {top}, {right}, {bottom}) asked for")

    def host(self) -> UInt8:
        """Raise ValueError: there are no pixels."""
        raise ValueError("an image must have been converted to be read")


Picture = UInt8 | OnDevice


@dataclass(frozen=True, slots=True, eq=False)
class Detail:
    """A larger image of the same view, taken at about the time of a frame, to cut people out of."""

    captured_at: float
    """UTC seconds."""
    image: Picture
    """(h, w, 3) RGB; another size than the frame's, perhaps another aspect."""


def host(picture: Picture) -> UInt8:
    """Return pixels (h, w, 3) in main memory; copied only where they are not there yet."""
    return picture if isinstance(picture, np.ndarray) else picture.host()


_CLUTTER = frozenset(
    {
        *("__macosx", "icon\r", "network trash folder", "temporary items"),  # macOS
        *("$recycle.bin", "recycler", "system volume information", "lost+found"),  # Windows, ext4
        *("@eadir", "@recycle", "#recycle", "@recently-snapshot", "@tmp"),  # network storage
        "__pycache__",
    }
)
"""Names in lower case: file systems of Windows and macOS do not tell them apart."""


def is_clutter(path: str | PurePath) -> bool:
    """Whether any part of a relative path was left by an operating system, an editor or a notebook.

    >>> is_clutter("0001/._0001_c1.jpg"), is_clutter("__MACOSX/0001_c1.jpg"), is_clutter("0001/0001_c1.jpg")
    (True, True, False)
    """
    parts = PurePath(path).parts
    return any(part.lower() in _CLUTTER or (part.startswith(".") and part not in (".", "..")) for part in parts)


def without_clutter(paths: Iterable[Path], folder: Path) -> Iterator[Path]:
    """Yield the paths below a folder that no operating system, editor or notebook left there."""
    for path in paths:
        if not is_clutter(path.relative_to(folder)):
            yield path


MOST_PIXELS = 80_000_000
"""Largest image that is decoded, pixels: 240 MB."""
MOST_BYTES = 256 << 20
"""Largest image file that is read, bytes."""


def read_file(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file (a pipe or a device may have no end), or has more than `most` bytes.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("is no regular file")
    if found.st_size > most:
        raise ValueError(f"has {found.st_size:,} bytes, at most {most:,} are read")
    return path.read_bytes()


def decode(content: bytes) -> UInt8:
    """Decode a JPEG, PNG, BMP or WebP file to RGB (h, w, 3), rotated according to its EXIF data.

    Raises:
        ValueError: it is empty, no such image, or larger than `MOST_PIXELS`.
    """
    import cv2

    pixels = _decoded(content, cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def decode_as_stored(content: bytes) -> npt.NDArray[np.integer]:
    """Decode an image file to its stored values, (h, w) where it is grey, of 8 or 16 bits.

    Raises:
        ValueError: as in `decode`.
    """
    import cv2

    return _decoded(content, cv2.IMREAD_UNCHANGED)


def _decoded(content: bytes, flags: int) -> npt.NDArray[np.integer]:
    import cv2

    if not content:
        raise ValueError("is empty")
    # OpenCV alone would take memory for 2^30 pixels.
    width, height = _size(content)
    if width * height > MOST_PIXELS:
        raise ValueError(f"has {width}x{height} pixels, more than {MOST_PIXELS // 1_000_000} million")
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise ValueError(f"cannot be decoded: {error.err}") from None
    if pixels is None:
        raise ValueError("is no whole image")
    return np.asarray(pixels)


def _size(content: bytes) -> tuple[int, int]:
    """Return width and height from the header; ValueError where it is of no image."""
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.ImageFile import ImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    # Not `Image.open`, which ultralytics replaces by a function that installs packages.
    readers: dict[bytes, Callable[[io.BytesIO], ImageFile]] = {
        b"\xff\xd8\xff": JpegImageFile,
        b"\x89PNG": PngImageFile,
        b"BM": BmpImageFile,
        b"RIFF": WebPImageFile,
    }
    for start, reader in readers.items():
        if content.startswith(start):
            try:
                with reader(io.BytesIO(content)) as header:
                    return header.size
            except Exception as error:  # noqa: BLE001 (what broken files raise is a long list)
                raise ValueError(f"is a broken image ({type(error).__name__})") from None
    raise ValueError("is no image")
