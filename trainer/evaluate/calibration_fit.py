"""Fit a calibration, verification margin to P(same), on vectors of persons not trained on.

All pairs of images of different cameras are used, weighted so that half of the mass is same-person pairs. Platt's two
numbers are fitted always; isotonic regression replaces them where there are enough pairs and it predicts held-out
persons better.

Sources: Platt, "Probabilistic Outputs for Support Vector Machines", 1999; Zadrozny & Elkan, KDD 2002 (isotonic).

Letters: n images, p pairs, d dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reid_stream.bundles.bundle import Calibration, Verifier
from reid_stream.bundles.calibration import probability
from trainer.errors import DataError
from trainer.evaluate.network import folded
from trainer.evaluate.reliability import Bins, brier, curve, expected_error, log_loss, weights_for
from trainer.evaluate.retrieval import Bools, Doubles, Floats, Ints, squared_distances, threshold_at

# Fewer same-person pairs than this leave an isotonic curve's ends to chance (Niculescu-Mizil & Caruana, ICML 2005).
ISOTONIC_POSITIVES = 1000
_FOLDS = 5
# More steps than this describe noise, and every step is kept in bundle.json.
_ISOTONIC_POINTS = 64


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of images of different cameras."""

    margins: Doubles
    """(p,), b - |d f1 - d f2|^2."""
    same: Bools
    """(p,), same person."""
    first: Ints
    """(p,), person of the first image."""
    second: Ints
    """(p,), person of the second."""
    domains: Ints | None = None
    """(p,), data set of the pair; None: all are of one. Every data set counts as much, however many pairs it has."""

    def keep(self, chosen: Bools) -> "Pairs":
        """Return the chosen pairs."""
        domains = None if self.domains is None else self.domains[chosen]
        return Pairs(self.margins[chosen], self.same[chosen], self.first[chosen], self.second[chosen], domains)

    def weights(self, prior: float) -> Doubles:
        """Return weights (p,) that sum to 1, give same-person pairs the share `prior` and each data set an equal share.

        A data set without pairs of one of the two kinds counts for the other kind alone.
        """
        if self.domains is None:
            return weights_for(self.same, prior)
        weights = np.empty(len(self.same))
        for kind, share in ((True, prior), (False, 1 - prior)):
            chosen = self.same == kind
            names, place, counts = np.unique(self.domains[chosen], return_inverse=True, return_counts=True)
            weights[chosen] = share / len(names) / counts[place]
        return weights


def pooled(parts: Sequence[Pairs]) -> Pairs:
    """Return the pairs of several data sets as one; persons of two sets are never the same."""
    if len(parts) == 1:
        return parts[0]
    shift, first, second = 0, [], []
    for part in parts:
        first.append(part.first + shift)
        second.append(part.second + shift)
        shift += int(max(part.first.max(), part.second.max())) + 1
    return Pairs(
        np.concatenate([part.margins for part in parts]),
        np.concatenate([part.same for part in parts]),
        np.concatenate(first),
        np.concatenate(second),
        np.repeat(np.arange(len(parts)), [len(part.same) for part in parts]),
    )


def pairs_of(vectors: Floats, persons: Ints, cameras: Ints, verifier: Verifier) -> Pairs:
    """Return every pair across cameras of unit vectors (n, d), once.

    Raises:
        DataError: there is no same-person pair, or no other.
    """
    metric = folded(vectors, verifier)
    margins, first, second = [], [], []
    row = 0
    for block in squared_distances(metric, metric):
        rows = np.arange(row, row + len(block))
        across = (cameras[rows][:, None] != cameras) & (rows[:, None] < np.arange(len(vectors)))
        left, right = np.nonzero(across)
        margins.append(verifier.b - block[across].astype(np.float64))
        first.append(persons[rows][left])
        second.append(persons[right])
        row += len(block)
    one, two = np.concatenate(first), np.concatenate(second)
    same = one == two
    if same.all() or not same.any():
        raise DataError(
            f"calibration needs same-person and other pairs across cameras, got {same.sum()} and {(~same).sum()}"
        )
    return Pairs(np.concatenate(margins), same, one, two)


def fit(pairs: Pairs, precision: str, fitted_on: str, seed: int = 0) -> Calibration:
    """Fit Platt's curve, and the isotonic one where it is better on held-out persons."""
    facts = {"prior": 0.5, "at_precision": precision, "fitted_on": f"{fitted_on}: {_counts(pairs)}"}
    platt = _platt(pairs)
    if pairs.same.sum() < ISOTONIC_POSITIVES:
        return Calibration(kind="platt", parameters=platt, **facts)  # type: ignore[arg-type]
    losses = cross_validated(pairs, seed)
    if losses["isotonic"] < losses["platt"]:
        return Calibration(kind="isotonic", parameters=_isotonic(pairs), **facts)  # type: ignore[arg-type]
    return Calibration(kind="platt", parameters=platt, **facts)  # type: ignore[arg-type]


def cross_validated(pairs: Pairs, seed: int = 0) -> dict[str, float]:
    """Return the log loss of both kinds on persons that were not fitted on; no pair has a person in both parts."""
    everyone = np.unique(np.concatenate([pairs.first, pairs.second]))
    fold_of = np.random.default_rng(seed).permutation(len(everyone)) % _FOLDS
    one, two = (fold_of[np.searchsorted(everyone, persons)] for persons in (pairs.first, pairs.second))
    losses: dict[str, list[float]] = {"platt": [], "isotonic": []}
    for fold in range(_FOLDS):
        learn, test = pairs.keep((one != fold) & (two != fold)), pairs.keep((one == fold) & (two == fold))
        if not (0 < test.same.sum() < len(test.same) and 0 < learn.same.sum() < len(learn.same)):
            continue
        for kind, fitted in (("platt", _platt(learn)), ("isotonic", _isotonic(learn))):
            predicted = probability(Calibration(kind=kind, parameters=fitted), test.margins)  # type: ignore[arg-type]
            losses[kind].append(log_loss(predicted, test.same, test.weights(0.5)))
    return {kind: float(np.mean(values)) if values else np.inf for kind, values in losses.items()}


def measure(calibration: Calibration, pairs: Pairs, prior: float) -> tuple[dict[str, float], Bins]:
    """Return ECE and Brier score where same-person pairs have the share `prior`, and the reliability curve."""
    predicted = probability(calibration, pairs.margins, prior)
    weight = pairs.weights(prior)
    numbers = {"ECE": expected_error(predicted, pairs.same, weight), "Brier": brier(predicted, pairs.same, weight)}
    return numbers, curve(predicted, pairs.same, weight)


def thresholds(
    calibration: Calibration, pairs: Pairs, rates: tuple[float, ...] = (1e-2, 1e-3, 1e-4)
) -> dict[str, float]:
    """Return P(same) at even odds that other people's pairs reach with each false match rate."""
    margins = pairs.margins[~pairs.same]
    return {f"P@FMR{rate:g}": float(probability(calibration, threshold_at(margins, rate))) for rate in rates}


def _platt(pairs: Pairs) -> dict[str, float | list[float]]:
    from sklearn.linear_model import LogisticRegression

    weight = pairs.weights(0.5) * len(pairs.same)
    # Standardised: the solver converges whatever the margins' scale. C is large: two numbers need no regularisation.
    centre, spread = pairs.margins.mean(), max(float(pairs.margins.std()), 1e-12)
    model = LogisticRegression(C=1e6).fit(((pairs.margins - centre) / spread)[:, None], pairs.same, weight)
    slope = float(model.coef_[0, 0]) / spread
    if slope <= 0:
        raise DataError("same-person pairs must have larger margins than others, found the opposite; train again")
    return {"slope": slope, "intercept": float(model.intercept_[0] - slope * centre)}


def _isotonic(pairs: Pairs) -> dict[str, float | list[float]]:
    from sklearn.isotonic import IsotonicRegression

    weight = pairs.weights(0.5) * len(pairs.same)
    model = IsotonicRegression(out_of_bounds="clip").fit(pairs.margins, pairs.same, weight)
    chosen = np.unique(np.linspace(0, len(model.X_thresholds_) - 1, _ISOTONIC_POINTS).round().astype(int))
    # A curve that reaches 0 or 1 claims certainty that no finite sample gives.
    least_other, least_same = (0.5 / (count + 2) for count in ((~pairs.same).sum(), pairs.same.sum()))
    values = np.clip(model.y_thresholds_[chosen], least_other, 1 - least_same)
    return {"margin": [float(x) for x in model.X_thresholds_[chosen]], "probability": [float(y) for y in values]}


def _counts(pairs: Pairs) -> str:
    persons = len(np.unique(np.concatenate([pairs.first, pairs.second])))
    return f"{persons} persons, {pairs.same.sum()} same-person and {(~pairs.same).sum()} other pairs across cameras"
