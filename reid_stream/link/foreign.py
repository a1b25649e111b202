"""Check records of other hosts: a program that may append to their stream can append anything."""

import re
from collections.abc import Mapping
from functools import lru_cache

from reid_stream.records import CAMERA_PATTERN, RUN_PATTERN, CameraId, Perceived, decode

AHEAD_S = 60.0
"""Time ahead of the site's clock beyond which a record is refused: it would end visits, and be the newest for ever."""
MOST_BYTES = 4 * 1024 * 1024
"""Largest entry; 100 records have less than 1 MiB."""
MOST_NUMBER = 2**53
"""Largest track and sequence number: JSON readers keep larger ones inexactly."""
_MOST_PIXELS = 65_535
"""Largest width and height of a frame."""
_CAMERA, _RUN = re.compile(CAMERA_PATTERN), re.compile(RUN_PATTERN)


def check_size(fields: Mapping[bytes, bytes]) -> None:
    """Check the size of an entry.

    Raises:
        ValueError: it is too large.
    """
    if (size := sum(map(len, fields.values()))) > MOST_BYTES:
        raise ValueError(f"an entry must have at most {MOST_BYTES} bytes, got {size}")


@lru_cache(4096)
def check_names(camera: str, run: str) -> None:
    """Check the names of a camera and of a run, which become keys and folders.

    Raises:
        ValueError: one of them cannot be such a name.
    """
    if not _CAMERA.fullmatch(camera) or not _RUN.fullmatch(run):
        raise ValueError(f"camera and run must be names of letters, digits, _ . -, got {camera!r:.80} and {run!r:.80}")


def check(camera: CameraId, run: str, track: int, at: float, now: float) -> None:
    """Check where a record or a crop is from: its names, its track, and its time against `now` (UTC seconds).

    Raises:
        ValueError: no host of this version sends it.
    """
    check_names(camera, run)
    if not 0 <= track < MOST_NUMBER:
        raise ValueError(f"a track must have a number in [0, 2^53), got {track}")
    if not 0 <= at <= now + AHEAD_S:
        raise ValueError(f"a record must be of the past, got {at - now:.1f} s ahead of the site's clock")


def read(body: bytes, now: float) -> Perceived:
    """Read a record of another host.

    Args:
        body: msgpack.
        now: UTC seconds.

    Raises:
        ValueError: no host of this version sends it.
    """
    record = decode(body)
    check(record.camera, record.run, record.track, record.seen_at, now)
    if not 0 <= record.sequence < MOST_NUMBER:
        raise ValueError(f"a record must have a number in [0, 2^53), got {record.sequence}")
    size = getattr(record, "frame_size", (1, 1))
    if not all(1 <= side <= _MOST_PIXELS for side in size):
        raise ValueError(f"frame_size must be 1 to {_MOST_PIXELS} pixels, got {size}")
    return record
