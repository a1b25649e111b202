"""Explain on demand why the best pictures of two tracks match; one at a time, the latest kept.

The embedder is loaded a second time, split at its last feature maps, at the first explanation, and dropped when idle.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import cv2

from reid_stream.explain.pair import Explainer
from reid_stream.explain.picture import COOL, WARM, lit
from reid_stream.explain.regions import Regions, compare_regions
from reid_stream.images import UInt8
from reid_stream.store.labels import Key
from reid_stream.web.limits import TooManyError
from reid_stream.web.pictures import blur_head, read_crop
from reid_stream.web.track_index import IndexedTrack, TrackIndex

_IDLE_S = 600.0
_MOST = 200
"""Explanations kept, of about 60 kB each."""
_IN_LINE = 4
"""Explanations under way, those that wait for their turn included."""


@dataclass(frozen=True, slots=True, eq=False)
class DrawnExplanation:
    """An explanation with its pictures."""

    regions: Regions
    pictures: dict[str, bytes]
    """JPEG by name, as `left-alike`."""


class Explanations:
    """Compute and keep explanations; thread-safe."""

    def __init__(self, index: TrackIndex, load: Callable[[], Explainer], *, blur: bool) -> None:
        """`load`: loads the network; `blur`: blur heads in the pictures."""
        self._index, self._load, self._blur = index, load, blur
        self._explainer: Explainer | None = None
        self._used_at = time.monotonic()
        self._lock = threading.Lock()
        self._line = threading.BoundedSemaphore(_IN_LINE)
        self._known: OrderedDict[tuple[Key, Key], DrawnExplanation] = OrderedDict()

    def explain(self, left: IndexedTrack, right: IndexedTrack) -> DrawnExplanation:
        """Return the explanation of two tracks' best pictures.

        Raises:
            OSError: a picture is gone.
            ModelError: the network cannot be loaded or explained.
            TooManyError: too many explanations are under way.
        """
        if not self._line.acquire(blocking=False):
            raise TooManyError(3)
        try:
            with self._lock:
                self._forget_gone()
                key = (left.key, right.key)
                found = self._known.get(key) or self._draw(left, right)
                self._known[key] = found
                self._known.move_to_end(key)
                while len(self._known) > _MOST:
                    self._known.popitem(last=False)
                return found
        finally:
            self._line.release()

    def drop_idle(self) -> None:
        """Free the network after a long time without use, and explanations of tracks that were deleted."""
        with self._lock:
            self._forget_gone()
            if time.monotonic() - self._used_at > _IDLE_S:
                self._explainer = None

    def _forget_gone(self) -> None:
        stored = self._index.tracks()
        for key in [key for key in self._known if not (key[0] in stored and key[1] in stored)]:
            del self._known[key]

    def _draw(self, left: IndexedTrack, right: IndexedTrack) -> DrawnExplanation:
        crops = [read_crop(track.crop(track.best)) for track in (left, right)]
        if self._explainer is None:
            self._explainer = self._load()
        self._used_at = time.monotonic()
        regions = compare_regions(self._explainer, crops[0], crops[1])
        if self._blur:
            for crop in crops:
                blur_head(crop)
        pictures = {}
        for kind, heats, colours in (("alike", regions.alike, WARM), ("apart", regions.apart, COOL)):
            for side, crop, heat in zip(("left", "right"), crops, heats, strict=True):
                pictures[f"{side}-{kind}"] = _jpeg(lit(crop, heat, colours))
        return DrawnExplanation(regions, pictures)


def _jpeg(image: UInt8) -> bytes:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
