"""State of a training run that is neither weights nor optimiser: progress, validation curve, data.

A checkpoint holds it under the key `facts`, as a dict of plain values.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from trainer.errors import CheckpointError


@dataclass(frozen=True)
class RunState:
    """Progress of a run, and what it learns from."""

    step: int = 0
    """Batches learned from."""
    seconds: float = 0.0
    """Training time, over all resumptions."""
    best: float = -1.0
    """Highest validation mAP, averaged with that of the development sets; -1 before the first validation."""
    stale: int = 0
    """Validations since `best` last rose."""
    curve: tuple[dict[str, int | float], ...] = ()
    """One entry per validation: step, seconds, mAP, rank1, and `SET.mAP` of each development set."""
    stopped: str = ""
    """Reason why the run ended before its last step; empty while it runs or if it did not."""
    seed: int = 0
    """Seed of the run's settings."""
    persons_per_domain: tuple[int, ...] = ()
    """Persons learned from, set by set."""
    domains: tuple[str, ...] = ()
    """Names of the sets."""
    images: int = 0
    """Training images."""
    validation_persons: tuple[str, ...] = ()
    """Held out; calibration uses the same ones."""
    command: str = ""
    """Command line of the first start, without local folders; see trainer/provenance.py."""
    start: str = ""
    """Origin of the initial weights, in words; empty for random weights."""
    start_data: tuple[str, ...] = ()
    """Training data of those weights."""
    mixed: str = ""
    """Networks and shares of a mixture, in words; see trainer/export/mixture.py."""

    def facts(self) -> dict[str, Any]:
        """Return the state as a checkpoint stores it: lists, not tuples, as always."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def of(cls, facts: Mapping[str, Any], origin: str) -> "RunState":
        """Read the `facts` of a checkpoint; keys that an older version lacks take their defaults.

        Args:
            facts: as stored.
            origin: file name, for the message.

        Raises:
            CheckpointError: a value has another type.
        """
        try:
            return msgspec.convert(facts, cls)
        except msgspec.ValidationError as error:
            raise CheckpointError(
                f"{origin} must be a checkpoint of reid-train fit, its facts are not: {error}"
            ) from error
