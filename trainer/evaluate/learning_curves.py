"""Learning curves of runs that continue one another: losses, validation, hours, images seen.

    RUN (settings.yaml, losses.jsonl, last.pt) ... -> LearningCurve ... -> plots.learning_curves, summary

Letters: s steps.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.config import load
from trainer.errors import DataError
from trainer.evaluate.retrieval import Doubles
from trainer.train import checkpoint
from trainer.train.run_state import RunState


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Course of one run."""

    name: str
    losses: dict[str, Doubles]
    """Term -> (s,), weighted as in their sum, which is `loss`; NaN at steps that lack the term."""
    validation: tuple[dict[str, int | float], ...]
    """See `RunState.curve`."""
    hours: float
    """Training time by the clock."""
    images: int
    """Images seen in training, repeats counted."""

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.losses["loss"])


def read_curve(run: Path) -> LearningCurve:
    """Read the course of a run, ended or not; steps after the last checkpoint are left out.

    Raises:
        DataError: losses.jsonl is missing, empty or broken.
        CheckpointError: last.pt is missing or broken.
    """
    state = RunState.of(checkpoint.load_facts(run / "last.pt"), str(run / "last.pt"))
    file = run / "losses.jsonl"
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[: state.step]]
        names = dict.fromkeys(name for line in lines for name in line if name != "step")
        losses = {name: np.array([line.get(name, np.nan) for line in lines], dtype=np.float64) for name in names}
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"a run must have its losses, one JSON object per line, {file}: {error}") from error
    if "loss" not in losses:
        raise DataError(f"a run must have its losses, {file} has none up to step {state.step}")
    settings = load(run / "settings.yaml")
    return LearningCurve(run.name, losses, state.curve, state.seconds / 3600, state.step * settings.batch_size)


def summary(curves: Sequence[LearningCurve]) -> list[str]:
    """Return one line per run, and one for their sum."""
    lines = [f"{each.name}: {each.steps:,} steps, {each.images:,} images, {each.hours:.1f} h" for each in curves]
    steps, images, hours = (sum(values) for values in zip(*((c.steps, c.images, c.hours) for c in curves), strict=True))
    return [*lines, f"together: {steps:,} steps, {images:,} images, {hours:.1f} h"]


def smoothed(values: Doubles, window: int) -> Doubles:
    """Return the mean of the last `window` values (s,) at every step, of fewer at the start; NaN where there are none.

    >>> smoothed(np.array([1.0, 3.0, 5.0]), 2).tolist()
    [1.0, 2.0, 4.0]
    """
    known = np.isfinite(values)
    totals = np.cumsum(np.where(known, values, 0.0))
    counts = np.cumsum(known)
    totals[window:] -= totals[:-window].copy()
    counts[window:] -= counts[:-window].copy()
    return np.asarray(np.divide(totals, counts, out=np.full(len(values), np.nan), where=counts > 0))
