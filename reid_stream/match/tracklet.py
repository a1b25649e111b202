"""What is known of one open track: its vectors, when and beside whom it was seen, and whose it is (pure)."""

from collections.abc import Iterable

import msgspec
import numpy as np

from reid_stream.match.walk import Spot
from reid_stream.records import Box, CameraId, Floats, Observation, TrackId

Key = tuple[str, CameraId, TrackId]
"""(run, camera, track)."""

Shot = tuple[float, bytes, float]
"""(quality, float16 unit vector, when it was seen)."""

MAX_VECTORS = 16
"""Vectors kept of an open track."""
ANSWER_S = 0.9
"""A track with a vector waits no longer than this for a better one before it gets an answer."""
LOOKS = (2, 3, 5, 8, 12)
"""A track is looked at anew when it has so many vectors, then with every twelfth: each look costs a product with
everybody, and one more vector of many changes little."""
_LATEST = 4
"""Of them, how many of the latest: what a track looks like now tells whether it is still on the same person."""
MAX_PENDING = 64
"""Observations held back until it is decided who they are; the oldest go first."""


class Stay(msgspec.Struct):
    """One track's time on one camera; a person keeps it when the track is long over."""

    serial: int
    """Names the track within the matcher; rises with time of birth."""
    run: str
    camera: CameraId
    track: TrackId
    first_at: float
    last_at: float
    apart: set[int] = set()
    """Serials of tracks seen beside it at the same instant: somebody else."""
    moves: int = 0
    """How often it was given to another person."""
    held: bool = False
    """A person said whose it is: no second thoughts."""
    barred: set[int] = set()
    """Serials of tracks that a person said are somebody else's."""
    since: float | None = None
    """When the track came to be this person's, where it was cut; none: from its beginning."""
    until: float | None = None
    """When it went over to somebody else, where it was cut; none: to its end."""
    twins: set[int] = set()
    """Serials of tracks seen beside it that a person said are the same body."""
    came: Spot | None = None
    """Where it was first seen; none where it was cut."""
    left: Spot | None = None
    """Where it was last seen; none where it was cut."""
    area: float = 0.0
    """Of the picture, in pixels."""

    @property
    def key(self) -> Key:
        """What its observations name it by."""
        return self.run, self.camera, self.track


class Tracklet(msgspec.Struct):
    """One open track."""

    stay: Stay
    heard_at: float
    """`now` of the update that last brought something of it; clocks of cameras play no part."""
    ended_at: float | None = None
    person: int | None = None
    bound_at: float = 0.0
    similarity: float | None = None
    probability: float | None = None
    vectors: list[Shot] = []
    """In order of time; the best `MAX_VECTORS`, the latest few whatever they are like."""
    num_vectors: int = 0
    """All it ever had."""
    last: Observation | None = None
    """Its latest observation, without the vector."""
    pending: list[Observation] = []
    """Held back until it has a person."""
    split_from: int | None = None
    """Person it was just taken from, until it has another."""

    @property
    def serial(self) -> int:
        """Of its stay."""
        return self.stay.serial

    @property
    def camera(self) -> CameraId:
        """Of its stay."""
        return self.stay.camera

    def add(self, vector: Floats, quality: float, at: float) -> None:
        """Remember a unit vector (d,), in place of the worst where there are many."""
        self.num_vectors += 1
        self.vectors.append((quality, vector.astype(np.float16).tobytes(), at))
        if len(self.vectors) > MAX_VECTORS:
            del self.vectors[min(range(MAX_VECTORS - _LATEST), key=lambda index: self.vectors[index][0])]

    def is_due(self, now: float) -> bool:
        """Say whether it must get an answer, be it by what little is known."""
        waited = max(now, self.stay.last_at) - self.stay.first_at
        return self.num_vectors > 1 or self.ended_at is not None or waited >= ANSWER_S

    def has_changed(self) -> bool:
        """Say whether the newest vector may have changed what it looks like."""
        return self.num_vectors in LOOKS or self.num_vectors % LOOKS[-1] == 0

    def matrix(self) -> Floats:
        """Return the vectors (n, d)."""
        data = b"".join(data for _, data, _ in self.vectors)
        return np.frombuffer(data, dtype=np.float16).reshape(len(self.vectors), -1).astype(np.float32)

    def shares(self) -> Floats:
        """Return how much each vector counts (n,), summing to 1: by its quality."""
        quality = np.asarray([quality for quality, _, _ in self.vectors], dtype=np.float32) + np.float32(1e-3)
        return np.asarray(quality / quality.sum(), dtype=np.float32)

    def mean(self) -> Floats:
        """Return the mean (d,) of the vectors by quality, as they came: raw."""
        return np.asarray(self.shares() @ self.matrix(), dtype=np.float32)

    def quality(self) -> float:
        """Return the mean quality of the vectors."""
        return sum(quality for quality, _, _ in self.vectors) / max(1, len(self.vectors))


def by_time(stay: Stay) -> tuple[float, int]:
    """Return what stays are put in order by."""
    return stay.first_at, stay.serial


def spans_of(stays: Iterable[Stay]) -> tuple[tuple[float | None, float | None], ...]:
    """Return [since, until) of each stay within its track; empty where all are whole tracks."""
    spans = tuple((stay.since, stay.until) for stay in stays)
    return spans if any(span != (None, None) for span in spans) else ()


def are_apart(a: Box, b: Box) -> bool:
    """Say whether two boxes of one instant are surely two people, and not one person detected twice.

    A second box of the same person (head and shoulders, or with a bag) lies mostly within the first.
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return True
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return width * height < 0.7 * smaller
