"""Index the tracks of a tracklet store without its pictures; a folder is listed again when its time has changed."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from reid_stream.records import Box, Floats, GlobalId
from reid_stream.store.labels import Key
from reid_stream.store.layout import TRACK_FILE, VECTORS_FILE, crop_name, now_file, read_track
from reid_stream.web import pictures
from reid_stream.web.intake import check_track

_LOOK_S = 2.0
"""Shortest interval between two listings of the store, seconds."""
_SETTLED_NS = 1_000_000_000
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class IndexedTrack:
    """One stored track."""

    key: Key
    folder: Path
    times: tuple[float, ...]
    """UTC seconds, a crop each."""
    boxes: tuple[Box, ...]
    qualities: tuple[float, ...]
    bundle: str
    """Hash of the embedder that made its vectors."""
    global_id: GlobalId | None
    """Person of the track when its file was read; later events may differ."""
    has_vectors: bool

    @property
    def best(self) -> int:
        """Number of the crop of the highest quality, from 1."""
        return int(np.argmax(self.qualities)) + 1

    def crop_at(self, milliseconds: int | None) -> int:
        """Return the number of the crop of a time, UTC milliseconds; that of the highest quality if there is none."""
        found = (number for number, at in enumerate(self.times, 1) if round(at * 1000) == milliseconds)
        return next(found, self.best)

    def crop(self, number: int) -> Path:
        """Return the file of a crop, numbered from 1.

        Raises:
            LookupError: there is none of this number.
        """
        if not 1 <= number <= len(self.times):
            raise LookupError(f"a crop must be numbered 1 to {len(self.times)}, got {number}")
        return self.folder / crop_name(number)


class TrackIndex:
    """All tracks of a store by camera, run and track; thread-safe."""

    def __init__(self, store: Path | None) -> None:
        """`store`: its folder; None where there is no store."""
        self.store = store
        self._lock = threading.Lock()
        self._tracks: dict[Key, IndexedTrack] = {}
        self._days: dict[Path, tuple[int, dict[str, Key]]] = {}
        """Folder of a day -> its time of change, its tracks by folder name."""
        self._means: dict[Key, Floats | None] = {}
        self._looked_at = float("-inf")
        self.version = 0
        """Rises whenever a track comes or goes."""
        self.refused = 0
        """Number of times an invalid stored track was left out."""

    def tracks(self) -> dict[Key, IndexedTrack]:
        """Return all tracks; not to be changed."""
        with self._lock:
            if self.store is not None and time.monotonic() - self._looked_at > _LOOK_S:
                self._list(self.store)
                self._looked_at = time.monotonic()
            return self._tracks

    def get(self, key: Key) -> IndexedTrack | None:
        """Return one track; None where the store has none such (any more)."""
        found = self.tracks().get(key)
        return found if found is not None and found.folder.is_dir() else None

    def now(self, key: Key) -> Path | None:
        """Return the picture of a track that is not stored yet; None where there is none."""
        if self.store is None:
            return None
        path = now_file(self.store, *key)
        return path if path.is_file() else None

    def mean(self, track: IndexedTrack) -> Floats | None:
        """Return the mean (d,) of a track's unit vectors; None where it has none that can be read."""
        if not track.has_vectors:
            return None
        if track.key not in self._means:
            try:
                vectors = np.load(track.folder / VECTORS_FILE, allow_pickle=False).astype(np.float32)
                mean = vectors.mean(axis=0) if vectors.ndim == 2 and len(vectors) else None
                # NaN would spread to everything it is compared with.
                self._means[track.key] = mean if mean is not None and np.isfinite(mean).all() else None
            except (OSError, ValueError, TypeError, EOFError, MemoryError):
                self._means[track.key] = None
        return self._means[track.key]

    def _list(self, store: Path) -> None:
        days: dict[Path, tuple[int, dict[str, Key]]] = {}
        tracks = dict(self._tracks)
        changed = False
        for day in sorted(store.glob("*/*")):
            try:
                at = day.stat().st_mtime_ns
                if day.parent.name.startswith(".") or not day.is_dir():
                    continue
                before = self._days.get(day, (0, {}))
                if before[0] == at:
                    days[day] = before
                    continue
                names = {path.name for path in day.iterdir()}
            except OSError:
                continue
            known = {name: key for name, key in before[1].items() if name in names}
            for name in names - known.keys():
                found = self._read(day / name)
                if found is not None:
                    tracks[found.key] = found
                    known[name] = found.key
            # A folder that changed just now may change again without its time moving on.
            days[day] = (at if time.time_ns() - at > _SETTLED_NS else 0, known)
            changed = True
        kept = {key for _, names in days.values() for key in names.values()}
        if changed or kept != tracks.keys():
            gone = tracks.keys() - kept
            for key in gone:
                self._means.pop(key, None)
            if gone:
                pictures.forget()
            self._tracks = {key: track for key, track in tracks.items() if key in kept}
            self.version += 1
        self._days = days

    def _read(self, folder: Path) -> IndexedTrack | None:
        try:
            track = read_track(folder / TRACK_FILE)
        except ValueError:
            return None
        try:
            check_track(track)
        except ValueError as error:
            self.refused += 1
            if self.refused == 1:
                _log.warning("stored_track_refused", folder=str(folder), reason=str(error))
            return None
        if not track.times:
            return None
        return IndexedTrack(
            key=(track.camera, track.run, track.track),
            folder=folder,
            times=tuple(track.times),
            boxes=tuple(track.boxes),
            qualities=tuple(track.qualities),
            bundle=track.bundle,
            global_id=track.global_id,
            has_vectors=track.vectors == VECTORS_FILE,
        )
