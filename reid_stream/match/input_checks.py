"""Validate observations: reject vectors that cannot be compared, count implausible times (pure).

An observation whose vector is rejected, or whose time is implausible, still counts as a sighting of its track.
"""

from collections.abc import Collection

from reid_stream.records import CameraId, Floats, Observation, unpack_vector

_LATE_S = 60.0
"""Age from which an observation counts as late: it was held up, or its camera's clock is behind."""
_AHEAD_S = 5.0
"""Time ahead of `now` beyond which the camera's clock counts as ahead."""
_BACK_S = 1.0
"""Step back in a camera's time beyond which its clock was set back; less is reordering."""


class InputChecks:
    """Validation of the observations of one matcher, with counters by cause."""

    def __init__(self, model: str, dim: int | None, cameras: Collection[str] | None = None) -> None:
        self._model = model
        self._cameras = None if cameras is None else frozenset(cameras)
        self._latest: dict[CameraId, float] = {}
        self.dim = dim
        """Length of the vectors; None until the first one."""
        self.rejected: dict[str, int] = {}
        """Rejected vectors by cause."""
        self.odd: dict[str, int] = {}
        """Observations with an implausible time or an unknown camera, by cause; they are used all the same."""

    def change_cameras(self, cameras: Collection[str]) -> None:
        """Expect these cameras from now on."""
        self._cameras = frozenset(cameras)

    def check_times(self, seen: Observation, now: float) -> None:
        """Count what is implausible about an observation that arrives at `now` (UTC seconds)."""
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
        """Return the unit vector (d,) of an observation; None if it has none, or it is rejected and counted."""
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
