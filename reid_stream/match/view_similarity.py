"""A person's views side by side: how alike any parts of them are, without touching a vector again (pure).

The margin of two groups of views is the mean of their views' (evidence.py), so all that second thoughts ask of a person
follows from the products of its views, which are made once and kept until a view changes.

Letters: m views of a person.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from reid_stream.match.scoring import Template


@dataclass(frozen=True, slots=True, eq=False)
class ViewSimilarities:
    """The views of one person; plain lists, since m is a handful."""

    sources: list[int]
    """(m,) serials of the tracks they come from."""
    weights: list[float]
    """(m,)."""
    squares: list[float]
    """(m,) mean squared lengths."""
    products: list[list[float]]
    """(m, m)."""
    templates: list[Template]
    """(m,)."""

    def apart(self, one: Collection[int], other: Collection[int]) -> float:
        """Return the mean squared distance of two groups of views, given by their places."""
        weights, squares = self.weights, self.squares
        whole, rest = sum(weights[i] for i in one), sum(weights[j] for j in other)
        own = sum(weights[i] * squares[i] for i in one) / whole + sum(weights[j] * squares[j] for j in other) / rest
        shared = sum(weights[i] * weights[j] * self.products[i][j] for i in one for j in other)
        return max(0.0, own - 2 * shared / (whole * rest))

    def fits(self) -> list[float]:
        """Return the mean squared distance (m,) of each view to all the others; two views at least."""
        everybody = range(len(self.sources))
        return [self.apart([i], [j for j in everybody if j != i]) for i in everybody]

    def halves(self, places: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return two halves of some views, least like each other, by average linkage; two views at least."""
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
    """Lay views side by side."""
    rows = np.stack([template.vector for template in templates])
    return ViewSimilarities(
        sources, weights, [template.square for template in templates], (rows @ rows.T).tolist(), templates
    )
