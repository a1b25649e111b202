"""Find the dimensions that decide whether two crops show the same person, and their image regions.

Two exact sums over the d dimensions of unit vectors f1 and f2, of which the largest terms are shown:

    cosine = sum_k f1_k f2_k                              similarity
    margin = b - sum_k D_k^2 (f1_k - f2_k)^2              differences as weighted by the verification head

Source: the five dimensions with the largest products, Almazan et al., "Re-ID done right" (arXiv 1801.05339).

Letters: d dimensions, h and w pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reid_stream.bundles.bundle import EmbedderBundle, Verifier, load_embedder
from reid_stream.bundles.calibration import probability
from reid_stream.bundles.default_calibration import TYPICAL_SQUARE
from reid_stream.bundles.network_file import network_file
from reid_stream.embed.preprocess import Floats, InputSpec, UInt8, prepare
from reid_stream.errors import ModelError
from reid_stream.explain.attention import Activations, Attention

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Dimension:
    """One dimension of a pair's vectors."""

    index: int
    """Number of the dimension, from 0."""
    values: tuple[float, float]
    """Value in either unit vector."""
    term: float
    """Term of the cosine or of the margin."""
    heats: tuple[Floats, Floats]
    """(h, w) of either crop's size, 0 to 1: see `Activations.heat`."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Decomposition of the similarity of two crops."""

    crops: tuple[UInt8, UInt8]
    """(h, w, 3) RGB of any size."""
    cosine: float
    """Cosine of the unit vectors."""
    margin: float
    """Margin of the verification head: log odds before calibration."""
    same: float
    """P(same person) by the bundle's calibration, at its own prior."""
    dim: int
    """Length of the vectors."""
    alike: tuple[Dimension, ...]
    """Dimensions that add most to the cosine, the largest first."""
    unlike: tuple[Dimension, ...]
    """Dimensions that reduce the margin most, the largest first."""
    bundle: str
    """Name and hash of the bundle."""


class Explainer:
    """Explains pairs of crops by one bundle."""

    def __init__(self, bundle: Path, threads: int | None = None) -> None:
        """Open a bundle's folder.

        Raises:
            ModelError: it is no embedder, or its vector is not pooled from feature maps.
        """
        self.bundle: EmbedderBundle = load_embedder(bundle)
        found = self.bundle.input
        self.spec = InputSpec(found.height, found.width, found.mean, found.std, found.colour)
        self.attention = Attention(network_file(bundle), found.height, found.width, threads)

    def __call__(self, first: UInt8, second: UInt8, count: int = 5) -> Explanation:
        """Explain RGB crops (h, w, 3) of any size by `count` dimensions for and `count` against.

        Raises:
            ModelError: the network gives a vector that is zero or not finite.
        """
        looked, units = self.activations(first, second)
        products, costs = terms(units[0], units[1], self.bundle.verifier)
        margin = self.bundle.verifier.b + float(costs.sum())
        crops = (first, second)
        return Explanation(
            crops,
            float(products.sum()),
            margin,
            self.same(margin),
            self.bundle.dim,
            _chosen(np.argsort(-products, kind="stable")[:count], products, units, looked, crops),
            _chosen(np.argsort(costs, kind="stable")[:count], costs, units, looked, crops),
            f"{self.bundle.name} {self.bundle.hash[:12]}",
        )

    def activations(self, first: UInt8, second: UInt8) -> tuple[Activations, Doubles]:
        """Return the activations of two RGB crops (h, w, 3) and their unit vectors (2, d)."""
        looked = self.attention(prepare([first, second], self.spec))
        return looked, self._unit(looked.vectors)

    def same(self, margin: float) -> float:
        """Return P(same person) of a margin, by the bundle's calibration at its own prior."""
        return float(probability(self.bundle.calibration, self._centred(margin)))

    def vectors(self, crops: Sequence[UInt8]) -> Doubles:
        """Return the unit vectors (n, d) of RGB crops (h, w, 3) of any size, n at least 1."""
        return self._unit(self.attention.vectors(prepare(crops, self.spec)))

    def _centred(self, margin: float) -> float:
        """Return a margin on the scale of the calibration."""
        if not self.bundle.calibration.is_default:
            return margin
        return self.bundle.verifier.b + (margin - self.bundle.verifier.b) / (1 - TYPICAL_SQUARE)

    def _unit(self, vectors: Floats) -> Doubles:
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        if vectors.shape[1] != self.bundle.dim or not (np.isfinite(lengths).all() and lengths.min() > 0):
            raise ModelError(
                f"bundle {self.bundle.name} must give {self.bundle.dim} finite numbers, not all 0, for a crop, got "
                f"{vectors.shape[1]} of length {lengths.ravel().tolist()}"
            )
        return np.asarray(vectors / lengths, np.float64)


def terms(first: Doubles, second: Doubles, verifier: Verifier) -> tuple[Doubles, Doubles]:
    """Return the terms of the cosine (d,) and of the margin (d,), the latter at most 0, of unit vectors (d,).

    >>> head = Verifier(d=[1.0, 2.0], b=1.0, train_prior=0.5)
    >>> products, costs = terms(np.array([0.6, 0.8]), np.array([0.0, 1.0]), head)
    >>> products.round(6).tolist(), costs.round(6).tolist()
    ([0.0, 0.8], [-0.36, -0.16])
    """
    factors = np.asarray(verifier.d, np.float64)
    return first * second, -np.square(factors * (first - second))


def _chosen(
    dimensions: npt.NDArray[np.intp], values: Doubles, units: Doubles, looked: Activations, crops: tuple[UInt8, UInt8]
) -> tuple[Dimension, ...]:
    """Return `dimensions` with their terms, taken from `values` (d,), and their maps in either crop."""
    first, second = ((crop.shape[0], crop.shape[1]) for crop in crops)
    return tuple(
        Dimension(
            int(index),
            (float(units[0, index]), float(units[1, index])),
            float(values[index]),
            (looked.heat(0, int(index), first), looked.heat(1, int(index), second)),
        )
        for index in dimensions
    )
