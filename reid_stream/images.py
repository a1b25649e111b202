"""Images in main memory as numpy arrays, or in the memory of the GPU that decoded them (pure).

Only the engines know what is behind `OnDevice`. All other code reads its size, crops it, or copies it to main memory.
"""

from collections.abc import Iterable, Iterator
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
    {"__MACOSX", "@eaDir", "@Recycle", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "Icon\r"}
)


def is_clutter(path: str | PurePath) -> bool:
    """Whether any part of a relative path was left by an operating system, an editor or a notebook.

    >>> is_clutter("0001/._0001_c1.jpg"), is_clutter("__MACOSX/0001_c1.jpg"), is_clutter("0001/0001_c1.jpg")
    (True, True, False)
    """
    parts = PurePath(path).parts
    return any(part in _CLUTTER or (part.startswith(".") and part not in (".", "..")) for part in parts)


def without_clutter(paths: Iterable[Path], folder: Path) -> Iterator[Path]:
    """Yield the paths below a folder that no operating system, editor or notebook left there."""
    for path in paths:
        if not is_clutter(path.relative_to(folder)):
            yield path
