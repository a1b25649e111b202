"""Layout of a tracklet store on disk: the daemon writes it, `reidentify` replays it, the trainer reads it.

    STORE/<camera>/<YYYYMMDD>/<run>-<track>/    000001.jpg ...  track.json  [vectors file]
    STORE/.now/<camera>/<run>-<track>.jpg       best crop so far of a track that is not written yet

`YYYYMMDD` is the UTC day of the first crop. A track appears whole, by a rename; only its `track.json` is replaced
later, when its identity is corrected.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from reid_stream.errors import DECODE_ERRORS
from reid_stream.images import without_clutter
from reid_stream.records import Box, CameraId, ClockQuality, GlobalId, TrackId

SCHEMA = 1
TRACK_FILE = "track.json"
VECTORS_FILE = "vectors.npy"
PART = ".part"
"""Folder of incomplete tracks; emptied when the store is opened."""
NOW = ".now"
"""Folder of pictures of tracks that are not written yet; emptied when the store is opened."""


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
    """Identity when written; None while unknown."""
    revision: int = 0
    """Revision of that identity."""
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
    """Return the folder of a track; `day` is YYYYMMDD."""
    return store / camera / day / f"{run}-{track}"


def now_file(store: Path, camera: str, run: str, track: int) -> Path:
    """Return the path of the best crop so far of a track that is not written yet."""
    return store / NOW / camera / f"{run}-{track}.jpg"


def day_of(at: float) -> str:
    """Return the UTC day of a time (UTC seconds) as YYYYMMDD."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%d")


def crop_name(number: int) -> str:
    """Return the file name of a track's crop; the first is 1."""
    return f"{number:06d}.jpg"


def read(folder: Path) -> tuple[StoredTrack, list[Path]]:
    """Read a track and where its crops are.

    Raises:
        ValueError: track.json is missing or wrong, or the number of crops differs from it.
    """
    track = read_track(folder / TRACK_FILE)
    crops = sorted(without_clutter(folder.glob("*.jpg"), folder))
    if len(crops) != len(track.times):
        raise ValueError(f"{folder} must have {len(track.times)} crops as {TRACK_FILE} says, found {len(crops)}")
    return track, crops


def read_track(path: Path) -> StoredTrack:
    """Read a `track.json`.

    Raises:
        ValueError: it is missing or wrong.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=StoredTrack)
    except OSError as error:
        raise ValueError(f"a stored track must have a readable {TRACK_FILE}, {path}: {error.strerror}") from error
    except DECODE_ERRORS as error:
        raise ValueError(f"{path} must be a stored track of schema {SCHEMA}: {error}") from error


def tracks(store: Path) -> Iterator[Path]:
    """Yield the folders of all whole tracks, in a fixed order."""
    for path in sorted(without_clutter(store.glob(f"*/*/*/{TRACK_FILE}"), store)):
        yield path.parent


def vectors_of(folder: Path, track: StoredTrack) -> npt.NDArray[np.float32] | None:
    """Return the unit vectors (n, d) of a track's crops, none where they were not kept.

    Raises:
        ValueError: the file is missing, broken, or not one vector a crop.
    """
    if track.vectors is None:
        return None
    path = folder / track.vectors
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise ValueError(f"the vectors of a stored track must be a readable .npy file, {path}: {error}") from error
    if vectors.ndim != 2 or len(vectors) != len(track.times):
        raise ValueError(f"{path} must hold a vector for each of {len(track.times)} crops, found {vectors.shape}")
    return np.asarray(vectors, dtype=np.float32)


def write(store: Path, track: StoredTrack, crops: Sequence[bytes], vectors: npt.NDArray[np.float16] | None) -> Path:
    """Put a track with its JPEG crops and their vectors (n, d) in place, whole or not at all, and return its folder.

    Raises:
        OSError: there is no room, or no right to write.
    """
    folder = folder_of(store, track.camera, day_of(track.times[0]), track.run, track.track)
    part = store / PART / f"{track.camera}-{track.run}-{track.track}"
    part.mkdir(parents=True)
    for number, crop in enumerate(crops, 1):
        (part / crop_name(number)).write_bytes(crop)
    if vectors is not None and track.vectors is not None:
        np.save(part / track.vectors, vectors, allow_pickle=False)
    (part / TRACK_FILE).write_bytes(msgspec.json.encode(track))
    folder.parent.mkdir(parents=True, exist_ok=True)
    part.replace(folder)
    return folder


def relabel(folder: Path, track: StoredTrack) -> None:
    """Replace a track's `track.json` in one step."""
    part = folder / f"{TRACK_FILE}{PART}"
    part.write_bytes(msgspec.json.encode(track))
    part.replace(folder / TRACK_FILE)
