"""Write the capture time into an image, so that its receiver knows when it was taken and whether it is undamaged.

Three bands (top, middle, bottom) of two rows of 32 cells hold the same: 48 bits of UTC milliseconds and a 16-bit
checksum, black for 0 and white for 1. A damaged band differs from its checksum or from the others. Only
Python's own library is used: the RTSP server writes it with the system's Python.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reid_stream.images import UInt8

COLUMNS, ROWS = 32, 2
ROW_PX = 12
"""Height of a row of cells."""
_TIME_BYTES = 6


def code(at: float) -> bytes:
    """Return 8 bytes that encode `at` (UTC seconds)."""
    stamp = round(at * 1000).to_bytes(_TIME_BYTES, "big")
    return stamp + (zlib.crc32(stamp) & 0xFFFF).to_bytes(2, "big")


def bands(height: int) -> tuple[int, int, int]:
    """Return the first line of each band in an image of this height."""
    band = ROWS * ROW_PX
    return 0, (height - band) // 2, height - band


def draw(luma: bytearray, width: int, height: int, at: float) -> None:
    """Write `at` into an image's luma, (height, width) bytes; `width` must be a multiple of 32."""
    bits = "".join(f"{byte:08b}" for byte in code(at))
    cell = width // COLUMNS
    band = b"".join(
        b"".join((b"\xeb" if bit == "1" else b"\x10") * cell for bit in bits[row * COLUMNS : (row + 1) * COLUMNS])
        * ROW_PX
        for row in range(ROWS)
    )
    for top in bands(height):
        luma[top * width : top * width + len(band)] = band


def read(image: UInt8) -> float | None:
    """Return the UTC seconds written into an image (h, w, 3); None where a band is damaged."""
    height, width = image.shape[:2]
    cell = width // COLUMNS
    times: set[bytes] = set()
    for top in bands(height):
        rows = image[top : top + ROWS * ROW_PX, : cell * COLUMNS, 1].reshape(ROWS, ROW_PX, COLUMNS, cell)
        # Edges of a cell are smeared by the codec.
        means = rows[:, 3:-3, :, cell // 4 : max(cell // 4 + 1, cell - cell // 4)].mean(axis=(1, 3)).ravel()
        bits = "".join("1" if mean > 127 else "0" for mean in means)
        times.add(int(bits, 2).to_bytes(8, "big"))
    if len(times) != 1:
        return None
    (found,) = times
    at = int.from_bytes(found[:_TIME_BYTES], "big") / 1000
    return at if code(at) == found else None
