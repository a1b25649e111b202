"""Known people's exemplars in one float32 matrix, so that one product compares everybody (pure).

Each person has a slot of `exemplars` rows: vectors of good quality that differ from one another. Slots are taken and
given back; the matrix doubles as the site fills and never holds more than `max_identities` slots. Raw vectors are kept
beside it (float16), since what is taken off (cameras.py) changes as it is learned.

Letters: s slots in use, e exemplars per slot, t queries, d dimensions.
"""

import msgspec
import numpy as np
import numpy.typing as npt

from reid_stream.match.cameras import Centring, shifted
from reid_stream.records import CameraId, Floats, Ints

NEVER = np.float32(-2)
"""Similarity to an empty row; below every cosine."""
_ALIKE = 0.97
"""Exemplars more alike than this say the same: the better of the two stays."""
_STALE = 0.02
"""Rows are moved anew when their camera's shift has changed by this length; a cosine changes by about as much."""


class Exemplar(msgspec.Struct, frozen=True):
    """One vector of a person, as kept over restarts."""

    vector: bytes
    """float16 (d,)."""
    quality: float
    camera: str
    source: int
    """Serial of the track it came from."""


class Gallery:
    """Exemplars of numbered people."""

    def __init__(self, exemplars: int, max_identities: int) -> None:
        self._e = exemplars
        self._bound = max_identities
        self._slot: dict[int, int] = {}
        self._person: Ints = np.zeros(0, dtype=np.int64)
        self._free: list[int] = []
        self._used = 0
        self._cameras: list[CameraId] = []
        self._matrix: Floats = np.zeros((0, 0), dtype=np.float32)
        self._raw: npt.NDArray[np.float16] = np.zeros((0, 0), dtype=np.float16)
        self._quality: Floats = np.zeros(0, dtype=np.float32)
        """0 marks an empty row."""
        self._camera: npt.NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        self._source: Ints = np.zeros(0, dtype=np.int64)
        self._applied: dict[CameraId, Floats] = {}
        self._floor = np.float32(0)

    def __len__(self) -> int:
        return len(self._slot)

    def __contains__(self, person: int) -> bool:
        return person in self._slot

    @property
    def is_full(self) -> bool:
        """No further person fits."""
        return len(self._slot) >= self._bound

    @property
    def nbytes(self) -> int:
        """Memory of the vectors."""
        return self._matrix.nbytes + self._raw.nbytes

    def people(self) -> Ints:
        """Return the person of each slot (s,), -1 for a free one; the columns of `similarities`."""
        return self._person[: self._used]

    def similarities(self, queries: Floats) -> Floats:
        """Return each query's cosine (t, s), on the raw scale, to each slot's nearest exemplar.

        queries (t, d) are centred unit vectors.
        """
        rows = self._used * self._e
        if rows == 0 or len(queries) == 0:
            return np.zeros((len(queries), self._used), dtype=np.float32)
        cosines = self._matrix[:rows] @ np.ascontiguousarray(queries.T)  # (s * e, t)
        best = cosines.reshape(self._used, self._e, len(queries)).max(axis=1).T
        best = best * (1 - self._floor) + self._floor
        return np.where(self._person[: self._used] >= 0, best, NEVER)

    def exemplars(self, person: int) -> Floats:
        """Return the centred exemplars (n, d) of a person."""
        rows = self._rows(person)
        return self._matrix[rows[self._quality[rows] > 0]]

    @property
    def spread(self) -> float:
        """Squared distances of raw vectors are those of centred ones times this."""
        return 1.0 - float(self._floor)

    def add(self, person: int, vector: Floats, quality: float, camera: CameraId, source: int) -> None:
        """Offer one raw unit vector (d,); it is kept if it is new or better.

        Raises:
            ValueError: the gallery is full, or the vector has another dimension.
        """
        if self._matrix.shape[1] == 0:
            self._matrix = np.zeros((0, len(vector)), dtype=np.float32)
            self._raw = np.zeros((0, len(vector)), dtype=np.float16)
        if len(vector) != self._matrix.shape[1]:
            raise ValueError(f"vectors of one gallery must agree, got {len(vector)} beside {self._matrix.shape[1]}")
        if person not in self._slot:
            self._take_slot(person)
        moved = shifted(vector, self._applied.get(camera))
        row = self._choose_row(self._rows(person), moved, quality)
        if row is None:
            return
        self._matrix[row], self._raw[row] = moved, vector
        self._quality[row] = max(quality, 1e-3)
        self._camera[row] = self._camera_index(camera)
        self._source[row] = source

    def remove(self, person: int) -> None:
        """Forget a person; nothing happens for an unknown one."""
        slot = self._slot.pop(person, None)
        if slot is not None:
            self._clear(np.arange(slot * self._e, (slot + 1) * self._e))
            self._person[slot] = -1
            self._free.append(slot)

    def remove_source(self, person: int, source: int) -> None:
        """Forget what one track told of a person."""
        if person in self._slot:
            rows = self._rows(person)
            self._clear(rows[self._source[rows] == source])

    def merge(self, gone: int, into: int) -> None:
        """Give `gone`'s exemplars to `into` and forget `gone`."""
        for exemplar in self.export(gone):
            vector = np.frombuffer(exemplar.vector, dtype=np.float16).astype(np.float32)
            self.add(
                into,
                vector,
                exemplar.quality,
                CameraId(exemplar.camera),
                exemplar.source,
            )
        self.remove(gone)

    def export(self, person: int) -> list[Exemplar]:
        """Return a person's exemplars, raw."""
        if person not in self._slot:
            return []
        rows = self._rows(person)
        return [
            Exemplar(
                vector=self._raw[row].tobytes(),
                quality=float(self._quality[row]),
                camera=self._cameras[self._camera[row]],
                source=int(self._source[row]),
            )
            for row in rows[self._quality[rows] > 0]
        ]

    def move(self, centring: Centring) -> None:
        """Apply what has been learned about the cameras to all rows, where it changed enough to matter."""
        self._floor = np.float32(centring.floor)
        for camera, shift in centring.shifts.items():
            applied = self._applied.get(camera)
            change = shift if applied is None else shift - applied
            if float(np.linalg.norm(change)) <= _STALE:
                continue
            self._applied[camera] = shift
            rows = np.flatnonzero((self._camera == self._camera_index(camera)) & (self._quality > 0))
            if len(rows) == 0:
                continue
            self._matrix[rows] = shifted(self._raw[rows].astype(np.float32), shift)

    def shift_of(self, camera: CameraId) -> Floats | None:
        """Return the shift in use for a camera."""
        return self._applied.get(camera)

    def _rows(self, person: int) -> Ints:
        slot = self._slot[person]
        return np.arange(slot * self._e, (slot + 1) * self._e)

    def _clear(self, rows: Ints) -> None:
        # A zero row has cosine 0 to everything, which no threshold accepts.
        self._matrix[rows] = 0
        self._raw[rows] = 0
        self._quality[rows] = 0

    def _choose_row(self, rows: Ints, vector: Floats, quality: float) -> int | None:
        """Return where a vector goes: an empty row, or the worse one of the two most alike; none if that is itself."""
        taken = self._quality[rows] > 0
        likeness = self._matrix[rows] @ vector
        nearest = int(np.argmax(np.where(taken, likeness, NEVER)))
        if taken[nearest] and likeness[nearest] * (1 - self._floor) + self._floor > _ALIKE:
            return int(rows[nearest]) if quality > self._quality[rows[nearest]] else None
        if not taken.all():
            return int(rows[int(np.argmin(taken))])
        among = self._matrix[rows] @ self._matrix[rows].T
        np.fill_diagonal(among, NEVER)
        a, b = divmod(int(np.argmax(among)), len(rows))
        if among[a, b] >= likeness[nearest]:
            return int(rows[a if self._quality[rows[a]] < self._quality[rows[b]] else b])
        return int(rows[nearest]) if quality > self._quality[rows[nearest]] else None

    def _camera_index(self, camera: CameraId) -> int:
        if camera not in self._cameras:
            self._cameras.append(camera)
        return self._cameras.index(camera)

    def _take_slot(self, person: int) -> None:
        if self.is_full:
            raise ValueError(f"the gallery must hold at most {self._bound} people, got one more")
        if self._free:
            slot = self._free.pop()
        else:
            slot = self._used
            self._used += 1
            if self._used > len(self._person):
                self._grow()
        self._slot[person] = slot
        self._person[slot] = person

    def _grow(self) -> None:
        slots = min(self._bound, max(16, 2 * len(self._person)))
        rows, dim = slots * self._e, self._matrix.shape[1]
        matrix, raw = (
            np.zeros((rows, dim), dtype=np.float32),
            np.zeros((rows, dim), dtype=np.float16),
        )
        matrix[: len(self._matrix)], raw[: len(self._raw)] = self._matrix, self._raw
        self._matrix, self._raw = matrix, raw
        self._person = np.concatenate([self._person, np.full(slots - len(self._person), -1)])
        self._quality = np.concatenate([self._quality, np.zeros(rows - len(self._quality), dtype=np.float32)])
        self._camera = np.concatenate([self._camera, np.zeros(rows - len(self._camera), dtype=np.int32)])
        self._source = np.concatenate([self._source, np.zeros(rows - len(self._source), dtype=np.int64)])
