"""How much of a disk the store may use: the oldest tracks go first, by age and by size."""

import shutil
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from reid_stream.store.layout import TRACK_FILE, tracks


@dataclass(slots=True)
class StoreQuota:
    """The tracks that lie in a store, oldest first, with their sizes; one process writes a store."""

    store: Path
    max_bytes: int
    retention_s: float
    used: int = 0
    """Bytes of all tracks."""
    removed: int = 0
    """Tracks that had to go, so far."""
    _tracks: OrderedDict[Path, tuple[float, int]] = field(default_factory=OrderedDict)
    """Folder -> (when it was written, UTC seconds; bytes)."""

    def open(self) -> list[Path]:
        """Take stock of what is there and return it, the oldest first."""
        found = sorted(((folder / TRACK_FILE).stat().st_mtime, folder) for folder in tracks(self.store))
        for at, folder in found:
            self.add(folder, at)
        return [folder for _, folder in found]

    def add(self, folder: Path, at: float) -> None:
        """Count a track that was written at a time (UTC seconds), not before those already counted."""
        size = sum(file.stat().st_size for file in folder.iterdir())
        self._tracks[folder] = (at, size)
        self.used += size

    def trim(self, now: float, spare: float = 0.0) -> list[Path]:
        """Remove what is too old, and the oldest until the rest fits with a share `spare` of the room left over."""
        limit = self.max_bytes * (1 - spare)
        gone = []
        while self._tracks:
            folder, (at, _) = next(iter(self._tracks.items()))
            if now - at <= self.retention_s and self.used <= limit:
                break
            self.forget(folder)
            gone.append(folder)
        self.removed += len(gone)
        return gone

    def give_way(self) -> list[Path]:
        """Remove the oldest tenth of the tracks, at least one: the disk is full, whoever filled it."""
        gone = list(self._tracks)[: max(1, len(self._tracks) // 10)]
        for folder in gone:
            self.forget(folder)
        self.removed += len(gone)
        return gone

    def forget(self, folder: Path) -> None:
        """Remove one track from the disk and from the count."""
        _, size = self._tracks.pop(folder, (0.0, 0))
        self.used -= size
        shutil.rmtree(folder, ignore_errors=True)
        for parent in (folder.parent, folder.parent.parent):
            try:
                parent.rmdir()
            except OSError:  # others still lie there
                return
