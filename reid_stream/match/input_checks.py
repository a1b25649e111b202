"""What comes in: which vectors can be compared at all, and which observations are odd (pure).

Whatever is odd is counted by cause and used as well as can be: its times still order a track, its box is still told of.
"""

from collections.abc import Collection

from reid_stream.records import CameraId, Floats, Observation, unpack_vector

_LATE_S = 60.0
"""An observation so much older than now was held up, or its camera's clock is behind."""
_AHEAD_S = 5.0
"""One so far in the future is of a camera whose clock is ahead."""
_BACK_S = 1.0
"""A camera's time that goes back by more was set back; less is a matter of order."""


class InputChecks:
    """Refuse vectors of another model or length, and those that are no numbers; count them, and what is odd."""

    def __init__(self, model: str, dim: int | None, cameras: Collection[str] | None = None) -> None:
        self._model = model
        self._cameras = None if cameras is None else frozenset(cameras)
        self._latest: dict[CameraId, float] = {}
        self.dim = dim
        """Length of the vectors; none until the first one tells."""
        self.rejected: dict[str, int] = {}
        """Vectors that cannot be used, by cause."""
        self.odd: dict[str, int] = {}
        """Observations that are used though something is odd about them, by cause."""

    def check_times(self, seen: Observation, now: float) -> None:
        """Count what is odd about an observation that arrives at `now`."""
        latest = self._latest.get(seen.camera, seen.seen_at)
        self._latest[seen.camera] = seen.seen_at if seen.seen_at < latest - _BACK_S else max(latest, seen.seen_at)
        for cause, is_so in (
            ("camera not in the settings", self._cameras is not None and seen.camera not in self._cameras),
            ("time went back", seen.seen_at < latest - _BACK_S),
            ("late by a minute or more", now - seen.seen_at >= _LATE_S),
            ("from the future", seen.seen_at - now > _AHEAD_S),
        ):
            if is_so:
                self.odd[cause] = self.odd.get(cause, 0) + 1

    def usable_vector(self, seen: Observation) -> Floats | None:
        """Return an observation's unit vector (d,); none where it has none that can be used."""
        if seen.vector is None:
            return None
        if seen.model != self._model:
            return self._reject("vector of another model")
        try:
            vector = unpack_vector(seen.vector)
        except ValueError:
            return self._reject("vector not finite")
        self.dim = self.dim or len(vector)
        return vector if len(vector) == self.dim else self._reject("vector of another dimension")

    def _reject(self, cause: str) -> Floats | None:
        self.rejected[cause] = self.rejected.get(cause, 0) + 1
        return None
