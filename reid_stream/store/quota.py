"""Bounds of a tracklet store in age and disk space: the oldest tracks are removed first."""

import os
import shutil
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from reid_stream.store.layout import TRACK_FILE, tracks

_BLOCK = 512
"""Unit of `st_blocks`, whatever the file system's block size is (POSIX)."""


@dataclass(slots=True)
class StoreQuota:
    """Tracks of a store, oldest first, with the disk space they take; one process writes a store."""

    store: Path
    max_bytes: int
    retention_s: float
    used: int = 0
    """Disk space of all tracks, bytes."""
    removed: int = 0
    """Tracks removed so far."""
    _tracks: OrderedDict[Path, tuple[float, int]] = field(default_factory=OrderedDict)
    """Folder -> (time it was written, UTC seconds; disk space, bytes)."""

    def open(self) -> list[Path]:
        """Count the tracks on disk and return their folders, the oldest first."""
        found = sorted(((folder / TRACK_FILE).lstat().st_mtime, folder) for folder in tracks(self.store))
        for at, folder in found:
            self.add(folder, at)
        return [folder for _, folder in found]

    def add(self, folder: Path, at: float) -> None:
        """Count a track that was written at a time (UTC seconds), not before those already counted."""
        size = disk_bytes(folder) + sum(map(disk_bytes, folder.iterdir()))
        self._tracks[folder] = (at, size)
        self.used += size

    def trim(self, now: float, spare: float = 0.0) -> list[Path]:
        """Remove tracks that are too old, then the oldest until the rest leaves a share `spare` of the space free.

        What cannot be deleted is counted no more, and not returned.
        """
        limit = self.max_bytes * (1 - spare)
        gone = []
        while self._tracks:
            folder, (at, _) = next(iter(self._tracks.items()))
            if now - at <= self.retention_s and self.used <= limit:
                break
            if self.forget(folder):
                gone.append(folder)
        self.removed += len(gone)
        return gone

    def give_way(self) -> list[Path]:
        """Remove the oldest tenth of the tracks, at least one: the disk is full, by this store or something else."""
        oldest = list(self._tracks)[: max(1, len(self._tracks) // 10)]
        gone = [folder for folder in oldest if self.forget(folder)]
        self.removed += len(gone)
        return gone

    def forget(self, folder: Path) -> bool:
        """Delete one track; False if some of it is still there, as on a disk that has become read-only."""
        _, size = self._tracks.pop(folder, (0.0, 0))
        self.used -= size
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.lexists(folder):
            return False
        for parent in (folder.parent, folder.parent.parent):
            try:
                parent.rmdir()
            except OSError:  # not empty
                break
        return True


def disk_bytes(path: Path) -> int:
    """Return the disk space of one file, folder or link: whole blocks, of which a small crop fills a part only."""
    return path.lstat().st_blocks * _BLOCK
