"""Reliability of probabilities: ECE, Brier score, reliability curve (pure).

Pairs are weighted, so that any share of same-person pairs is measured on all pairs there are, without drawing some.

Sources: Naeini, Cooper & Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015 (ECE);
Brier, Monthly Weather Review 78, 1950.

Letters: n pairs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.evaluate.retrieval import Bools, Doubles


@dataclass(frozen=True, eq=False)
class Bins:
    """A reliability curve; empty bins are left out."""

    predicted: Doubles
    """(bins,), mean probability."""
    observed: Doubles
    """(bins,), share of same-person pairs."""
    mass: Doubles
    """(bins,), share of all pairs."""


def weights_for(same: Bools, prior: float) -> Doubles:
    """Return weights (n,) that sum to 1 and give same-person pairs the share `prior`."""
    count = int(same.sum())
    if not 0 < count < len(same):
        raise ValueError(f"both same-person and other pairs are needed, got {count} of {len(same)}")
    return np.where(same, prior / count, (1 - prior) / (len(same) - count))


def curve(probability: Doubles, same: Bools, weight: Doubles, bins: int = 15) -> Bins:
    """Sort pairs into bins of equal width in probability; 15 is the custom (Guo et al., ICML 2017)."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    mass = np.bincount(place, weight, bins)
    some = mass > 0
    predicted = np.bincount(place, weight * probability, bins)[some] / mass[some]
    observed = np.bincount(place, weight * same, bins)[some] / mass[some]
    return Bins(predicted, observed, mass[some] / mass.sum())


def expected_error(probability: Doubles, same: Bools, weight: Doubles, bins: int = 15) -> float:
    """Return the expected calibration error: |predicted - observed|, averaged over pairs."""
    found = curve(probability, same, weight, bins)
    return float(np.sum(found.mass * np.abs(found.predicted - found.observed)))


def brier(probability: Doubles, same: npt.NDArray[np.bool_], weight: Doubles) -> float:
    """Return the weighted mean of (probability - truth)^2."""
    return float(np.sum(weight * (probability - same) ** 2) / weight.sum())


def log_loss(probability: Doubles, same: Bools, weight: Doubles) -> float:
    """Return the weighted negative log likelihood, in nats."""
    clipped = np.clip(probability, 1e-12, 1 - 1e-12)
    return float(-np.sum(weight * np.where(same, np.log(clipped), np.log1p(-clipped))) / weight.sum())
