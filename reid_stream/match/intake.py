"""Which vectors can be compared at all (pure)."""

from reid_stream.records import Floats, Observation, unpack_vector


class Intake:
    """Refuse vectors of another model or length, and those that are no numbers; count them by cause."""

    def __init__(self, model: str, dim: int | None) -> None:
        self._model = model
        self.dim = dim
        """Length of the vectors; none until the first one tells."""
        self.rejected: dict[str, int] = {}

    def vector(self, seen: Observation) -> Floats | None:
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
