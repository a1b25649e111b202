"""Labels of a store's tracks by person, corrected when identities merge or split."""

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

import msgspec
import structlog

from reid_stream.records import CameraId, GlobalId, TrackId
from reid_stream.store.layout import read, relabel

Key = tuple[CameraId, str, TrackId]
"""Camera, run, track."""
_log = structlog.get_logger(__name__)


class TrackLabels:
    """Global ID -> its tracks' folders."""

    def __init__(self) -> None:
        self._folders: dict[GlobalId, set[Path]] = defaultdict(set)
        self._person: dict[Path, GlobalId] = {}

    def add(self, folder: Path, person: GlobalId | None) -> None:
        """Note whose a track is."""
        self.forget(folder)
        if person is not None:
            self._folders[person].add(folder)
            self._person[folder] = person

    def forget(self, folder: Path) -> None:
        """Drop a track that is gone."""
        person = self._person.pop(folder, None)
        if person is not None:
            self._folders[person].discard(folder)
            if not self._folders[person]:
                del self._folders[person]

    def of(self, person: GlobalId) -> set[Path]:
        """Return the folders of a person's tracks."""
        return set(self._folders.get(person, ()))

    def move(self, gone: GlobalId, into: GlobalId, revision: int, only: Collection[Key] | None = None) -> int:
        """Let the tracks of `gone`, or `only` some of them, be `into`'s on disk too; return how many were.

        A track whose files cannot be read or written keeps its old label, which is logged.
        """
        moved = 0
        for folder in sorted(self.of(gone)):
            try:
                track, _ = read(folder)
                if only is not None and (track.camera, track.run, track.track) not in only:
                    continue
                relabel(folder, msgspec.structs.replace(track, global_id=into, revision=revision))
            except (OSError, ValueError) as error:
                _log.warning("stored_track_not_relabelled", folder=str(folder), person=into, reason=str(error))
                continue
            self.add(folder, into)
            moved += 1
        return moved
