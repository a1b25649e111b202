"""Pictures, wherever they lie: numpy arrays in main memory, or what a GPU has decoded and keeps (pure).

Only the engines know what is behind `OnDevice`. All else asks for its size, cuts it, or brings it home.
"""

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


Picture = UInt8 | OnDevice


def host(picture: Picture) -> UInt8:
    """Return pixels (h, w, 3) in main memory; copied only where they are not there yet."""
    return picture if isinstance(picture, np.ndarray) else picture.host()
