"""What is common to all vectors of a camera, taken off (pure).

The vectors of one network share a direction, and those of one camera another (its colours, its sharpness); neither
says anything about persons. Each vector is compared after its camera's mean is taken off. On worlds/plaza with OSNet
the area under the ROC of track pairs went from 0.968 to 0.992 by this, offline clustering from IDF1 0.69 to 0.78.

Means are learned as people walk by, so they are trusted little at first. Centring stretches cosines: what was 0.77
becomes about 0.4. `Centring.floor` undoes that, so that thresholds and published similarities keep the scale of raw
cosines from the first person to the last: with the share a of the common mean taken off and |mean|^2 = m, unrelated
vectors, whose raw cosine is about m, come to (m - f) / (1 - f) where f = m (2a - a^2).
"""

from dataclasses import dataclass

import msgspec
import numpy as np

from reid_stream.records import CameraId, Floats

PRIOR_VECTORS = 10.0
"""A camera with so many vectors is moved half way from the common mean to its own."""
PRIOR_COMMON = 30.0
"""With so many vectors in all, half of the common mean is taken off."""
MEMORY_VECTORS = 2000.0
"""Older vectors fade so that the mean follows the light of the day."""


@dataclass(frozen=True, slots=True, eq=False)
class CameraBias:
    """What is taken off."""

    shifts: dict[CameraId, Floats]
    """(d,) for the vectors of each camera."""
    floor: float
    """A cosine c of centred vectors stands for c (1 - floor) + floor."""


class CameraBiasState(msgspec.Struct):
    """One camera's mean."""

    weight: float
    mean: bytes
    """(d,) float32."""


class CameraShifts:
    """Learn each camera's mean and take it off vectors."""

    def __init__(self) -> None:
        self._weight: dict[CameraId, float] = {}
        self._mean: dict[CameraId, Floats] = {}
        self._known: CameraBias | None = None
        """What follows from the means; none when they have changed."""

    def learn(self, camera: CameraId, vector: Floats) -> None:
        """Count one unit vector (d,) of a camera."""
        weight = min(self._weight.get(camera, 0.0), MEMORY_VECTORS)
        mean = self._mean.get(camera, np.zeros_like(vector))
        self._mean[camera] = (mean + (vector - mean) / np.float32(weight + 1)).astype(np.float32)
        self._weight[camera] = weight + 1
        self._known = None

    def bias(self) -> CameraBias:
        """Return what is to be taken off now; the same object as long as nothing was learned."""
        if self._known is None:
            self._known = self._compute_bias()
        return self._known

    def _compute_bias(self) -> CameraBias:
        if not self._weight:
            return CameraBias({}, 0.0)
        trust = {camera: weight / (weight + PRIOR_VECTORS) for camera, weight in self._weight.items()}
        total = np.float32(sum(trust.values()))
        common = np.sum([self._mean[camera] * np.float32(share) for camera, share in trust.items()], axis=0) / total
        seen = sum(self._weight.values())
        share = seen / (seen + PRIOR_COMMON)
        shifts = {
            camera: (common * share + (self._mean[camera] - common) * own).astype(np.float32)
            for camera, own in trust.items()
        }
        return CameraBias(shifts, float(common @ common) * (2 * share - share**2))

    def state(self) -> dict[str, CameraBiasState]:
        """Return all that `restore` needs."""
        return {str(c): CameraBiasState(self._weight[c], self._mean[c].tobytes()) for c in self._weight}

    def restore(self, state: dict[str, CameraBiasState]) -> None:
        """Go on from an earlier `state`."""
        self._known = None
        self._weight = {CameraId(name): camera.weight for name, camera in state.items()}
        self._mean = {CameraId(n): np.frombuffer(c.mean, dtype=np.float32).copy() for n, c in state.items()}


def shifted(vectors: Floats, shift: Floats | None) -> Floats:
    """Move unit vectors (..., d) and scale them to unit length again."""
    if shift is None:
        return vectors
    moved = vectors - shift
    length = np.linalg.norm(moved, axis=-1, keepdims=True)
    return np.asarray(moved / np.maximum(length, np.float32(1e-6)), dtype=np.float32)
