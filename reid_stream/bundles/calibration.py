"""Convert verification margins to P(same person), by the same formulas in training and serving (pure).

    margins (n,) -> log_odds at the prior of the calibration -> prior correction -> probability

Source of the prior correction: Saerens, Latinne & Decaestecker, "Adjusting the outputs of a classifier to new a priori
probabilities", Neural Computation 14(1), 2002.
"""

from typing import cast

import numpy as np
import numpy.typing as npt

from reid_stream.bundles.bundle import Calibration

Doubles = npt.NDArray[np.float64]
_MAX_LOG_ODDS = 16.0
"""Bound of log odds: greater ones are extrapolation from some thousand pairs and must not outweigh all other
evidence."""


def log_odds(calibration: Calibration, margins: npt.ArrayLike, prior: float | None = None) -> Doubles:
    """Return the log odds of "same person" of margins of any shape.

    Args:
        calibration: calibration of the bundle that made the vectors.
        margins: b - |d f1 - d f2|^2.
        prior: expected share of same-person pairs among those asked about; default: that of the calibration.
    """
    values = np.asarray(margins, dtype=np.float64)
    if calibration.kind in ("platt", "default"):
        slope, intercept = (cast(float, calibration.parameters[name]) for name in ("slope", "intercept"))
        odds = slope * values + intercept
    elif calibration.kind == "isotonic":
        odds = logit(np.interp(values, calibration.parameters["margin"], calibration.parameters["probability"]))
    else:
        odds = values
    if prior is not None:
        odds = odds + prior_shift(calibration.prior, prior)
    return np.asarray(np.minimum(np.maximum(odds, -_MAX_LOG_ODDS), _MAX_LOG_ODDS), dtype=np.float64)


def margin_at(calibration: Calibration, odds: float) -> float:
    """Return the margin with given log odds at the prior of the calibration: the inverse of `log_odds`.

    Beyond the fitted range of an isotonic calibration the nearest margin is returned.
    """
    if calibration.kind in ("platt", "default"):
        slope, intercept = (cast(float, calibration.parameters[name]) for name in ("slope", "intercept"))
        return (odds - intercept) / slope if slope else float("inf")
    if calibration.kind == "isotonic":
        fitted = calibration.parameters["probability"], calibration.parameters["margin"]
        return float(np.interp(float(sigmoid(odds)), *fitted))
    return odds


def probability(calibration: Calibration, margins: npt.ArrayLike, prior: float | None = None) -> Doubles:
    """Return P(same person); arguments as in `log_odds`."""
    return sigmoid(log_odds(calibration, margins, prior))


def prior_shift(fitted: float, serving: float) -> float:
    """Return the change of log odds when the share of same-person pairs changes from `fitted` to `serving`.

    Raises:
        ValueError: a share is not in (0, 1).
    """
    if not (0 < fitted < 1 and 0 < serving < 1):
        raise ValueError(f"priors must lie between 0 and 1, got {fitted} and {serving}")
    return float(np.log(serving / (1 - serving)) - np.log(fitted / (1 - fitted)))


def logit(probabilities: npt.ArrayLike) -> Doubles:
    """Return the log odds of probabilities, which are clipped to [1e-12, 1 - 1e-12]."""
    values = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-12, 1 - 1e-12)
    return np.asarray(np.log(values / (1 - values)), dtype=np.float64)


def sigmoid(odds: npt.ArrayLike) -> Doubles:
    """Return the probabilities of log odds, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(odds, dtype=np.float64))), dtype=np.float64)
