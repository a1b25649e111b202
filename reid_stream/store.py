"""The tracklet store: what the daemon will write, `reidentify` replay and the trainer read.

    STORE/<camera>/<YYYYMMDD>/<run>-<track>/    000001.jpg ...  track.json  [vectors file]

`YYYYMMDD` is the UTC day of the first crop. A track's folder is whole once `track.json` is there: it is written last.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from reid_stream.records import Box, CameraId, ClockQuality, GlobalId, TrackId

SCHEMA = 1
TRACK_FILE = "track.json"


class StoredTrack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """track.json: one track with its crops; the lists go crop by crop."""

    schema: int = SCHEMA
    camera: CameraId
    run: str
    track: TrackId
    times: list[float]
    """UTC seconds of each crop, rising."""
    boxes: list[Box]
    """x1, y1, x2, y2 in pixels of the full frame."""
    qualities: list[float]
    """[0, 1]."""
    clock: ClockQuality
    global_id: GlobalId | None = None
    """Who it was when written; none while unknown."""
    revision: int = 0
    """Of that identity."""
    bundle: str
    """Hash of the embedder's bundle that made the vectors."""
    vectors: str | None = None
    """File beside this one: float16 (n, d) as .npy, one row a crop; none where they were not kept."""

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"a stored track must have schema {SCHEMA}, got {self.schema}")
        if not len(self.times) == len(self.boxes) == len(self.qualities):
            raise ValueError(
                f"times, boxes and qualities must have one entry per crop, got {len(self.times)}, {len(self.boxes)}, "
                f"{len(self.qualities)}"
            )


def folder_of(store: Path, camera: str, day: str, run: str, track: int) -> Path:
    """Return where a track lies; `day` is YYYYMMDD."""
    return store / camera / day / f"{run}-{track}"


def crop_name(number: int) -> str:
    """Return the file name of a track's crop; the first is 1."""
    return f"{number:06d}.jpg"


def read(folder: Path) -> tuple[StoredTrack, list[Path]]:
    """Read a track and where its crops are.

    Raises:
        ValueError: track.json is missing or wrong, or the crops are not as many as it says.
    """
    path = folder / TRACK_FILE
    try:
        track = msgspec.json.decode(path.read_bytes(), type=StoredTrack)
    except OSError as error:
        raise ValueError(f"a stored track must have a readable {TRACK_FILE}, {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} must be a stored track of schema {SCHEMA}: {error}") from error
    crops = sorted(folder.glob("*.jpg"))
    if len(crops) != len(track.times):
        raise ValueError(f"{folder} must have {len(track.times)} crops as {TRACK_FILE} says, found {len(crops)}")
    return track, crops


def tracks(store: Path) -> Iterator[Path]:
    """Yield the folders of all whole tracks, in a fixed order."""
    for path in sorted(store.glob(f"*/*/*/{TRACK_FILE}")):
        yield path.parent
