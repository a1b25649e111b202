"""Pairwise similarities of the views of one identity, from which distances of any groups of them follow (pure).

The squared distance of two groups of views is the mean over their pairs (scoring.py), so everything that the review of
an identity needs follows from the inner products of its views, computed once and cached until a view changes.

Letters: m views of an identity.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from reid_stream.match.scoring import Template


@dataclass(frozen=True, slots=True, eq=False)
class ViewSimilarities:
    """Views of one identity and their inner products; plain lists, since m is small."""

    sources: list[int]
    """(m,) serials of the tracks of the views."""
    weights: list[float]
    """(m,) weight of each view."""
    squares: list[float]
    """(m,) mean squared lengths, see `Template.square`."""
    products: list[list[float]]
    """(m, m) inner products of the templates."""
    templates: list[Template]
    """(m,) templates of the views."""

    def apart(self, one: Collection[int], other: Collection[int]) -> float:
        """Return the weighted mean squared distance of two groups of views, given by index."""
        weights, squares = self.weights, self.squares
        whole, rest = sum(weights[i] for i in one), sum(weights[j] for j in other)
        own = sum(weights[i] * squares[i] for i in one) / whole + sum(weights[j] * squares[j] for j in other) / rest
        shared = sum(weights[i] * weights[j] * self.products[i][j] for i in one for j in other)
        return max(0.0, own - 2 * shared / (whole * rest))

    def fits(self) -> list[float]:
        """Return the mean squared distance (m,) of each view to all others; needs two views or more."""
        places = range(len(self.sources))
        return [self.apart([i], [j for j in places if j != i]) for i in places]

    def halves(self, places: Sequence[int]) -> tuple[list[int], list[int]]:
        """Split views, given by index, into two groups by average-linkage clustering; needs two views or more."""
        groups = [[place] for place in places]
        alike = [[self.products[i][j] for j in places] for i in places]
        while len(groups) > 2:
            _, i, j = max((alike[i][j], -i, -j) for i in range(len(groups)) for j in range(i + 1, len(groups)))
            i, j = -i, -j
            a, b = len(groups[i]), len(groups[j])
            mixed = [(a * x + b * y) / (a + b) for x, y in zip(alike[i], alike[j], strict=True)]
            alike[i] = mixed
            for row, value in zip(alike, mixed, strict=True):
                row[i] = value
            del alike[j]
            for row in alike:
                del row[j]
            groups[i] += groups.pop(j)
        return groups[0], groups[1]


def view_similarities(sources: list[int], weights: list[float], templates: list[Template]) -> ViewSimilarities:
    """Compute the similarities of views."""
    rows = np.stack([template.vector for template in templates])
    return ViewSimilarities(
        sources, weights, [template.square for template in templates], (rows @ rows.T).tolist(), templates
    )
