"""Search by picture: the site's embedder and its calibration over the mean vectors of stored tracks.

    picture ─▶ (detector, where it shows more than a person) ─▶ embedder ─▶ margin to every track ─▶ P(same) ─▶ people

Only vectors of the same bundle are compared. The networks are loaded at the first search, and dropped when idle.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reid_stream.bundles.bundle import EmbedderBundle
from reid_stream.config.settings import Match as MatchSettings
from reid_stream.images import UInt8
from reid_stream.records import Box, CameraId, Floats
from reid_stream.web.appearance import Appearances, collect
from reid_stream.web.directory import Directory
from reid_stream.web.schemas import Candidate, SearchResult
from reid_stream.web.track_index import IndexedTrack, TrackIndex

_IDLE_S = 600.0
_UPRIGHT = 1.3
"""A picture at least this much higher than wide is used whole, as one person."""

Embedding = Callable[[UInt8], Floats]
Finding = Callable[[UInt8], list[Box]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Loaded networks of a search."""

    bundle: EmbedderBundle
    embed: Embedding
    """An RGB crop (h, w, 3) -> unit vector (d,)."""
    find: Finding
    """An RGB picture -> boxes of persons, the surest first."""


class Search:
    """Rank people by a picture or a track; one search at a time."""

    def __init__(
        self,
        index: TrackIndex,
        directory: Directory,
        load: Callable[[], Loaded],
        bundle: EmbedderBundle,
        settings: MatchSettings,
    ) -> None:
        """`load`: loads the networks; `bundle`: of the embedder, known beforehand."""
        self._index, self._directory, self._load, self.bundle = index, directory, load, bundle
        self._settings = settings
        self._loaded: Loaded | None = None
        self._used_at = time.monotonic()
        self._lock = threading.Lock()
        self._known: tuple[tuple[int, int], Appearances, object] | None = None
        """Cache key: versions of directory and index; its last entry keeps the `id` in it from being reused."""

    def by_picture(self, image: UInt8, count: int) -> SearchResult:
        """Rank people by an RGB picture (h, w, 3)."""
        began = time.monotonic()
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            self._used_at = began
            box: Box | None = None
            if image.shape[0] < _UPRIGHT * image.shape[1]:
                box = next(iter(self._loaded.find(image)), None)
            if box is not None:
                left, top, right, bottom = (max(0, round(edge)) for edge in box)
                image = np.ascontiguousarray(image[top:bottom, left:right])
            vector = self._loaded.embed(image)
        return self._result(vector, None, count, began, box)

    def by_track(self, track: IndexedTrack, count: int) -> SearchResult | None:
        """Rank other people by a stored track; None where it has no vectors of this embedder."""
        began = time.monotonic()
        vector = self._index.mean(track) if track.bundle == self.bundle.hash else None
        return (
            None
            if vector is None or len(vector) != self.bundle.dim
            else self._result(vector, track.key[0], count, began, None)
        )

    def drop_idle(self) -> None:
        """Free the networks after a long time without a search."""
        if self._loaded is not None and time.monotonic() - self._used_at > _IDLE_S:
            with self._lock:
                self._loaded = None

    def appearances(self) -> Appearances:
        """Return the stored tracks of all people that this embedder's vectors can be compared with."""
        owned = self._directory.owned()
        version = (id(owned), self._index.version)
        if self._known is None or self._known[0] != version:
            rows = [
                (track, person, mean)
                for person, stored in owned.items()
                for track in stored
                if track.bundle == self.bundle.hash
                and (mean := self._index.mean(track)) is not None
                and len(mean) == self.bundle.dim
            ]
            self._known = (version, collect(self.bundle, self._settings, rows), owned)
        return self._known[1]

    def _result(
        self, vector: Floats, camera: CameraId | None, count: int, began: float, box: Box | None
    ) -> SearchResult:
        known = self.appearances()
        ranked = known.rank(known.template(vector, camera), count)
        candidates: list[Candidate] = []
        for found in ranked:
            summary = self._directory.summary(found.person)
            if summary is not None:
                candidates.append(
                    Candidate(
                        rank=len(candidates) + 1,
                        person=summary,
                        similarity=found.similarity,
                        probability=found.probability,
                        track=self._directory.track(found.track),
                    )
                )
        return SearchResult(
            candidates=candidates,
            compared=len(known.tracks),
            model=self.bundle.hash,
            box=box,
            seconds=time.monotonic() - began,
        )
