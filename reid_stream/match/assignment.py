"""Assign rows to columns with the greatest sum of gains, where rows in conflict never share a column (pure).

Rows are tracks, columns are identities. Tracks seen side by side, or at once on cameras that do not overlap, conflict;
all others may share an identity, as on overlapping cameras or after a break. Where no two conflicting rows have the
same best column, each row takes its best, which is the optimum. Only the contending rows go to an integer program
(HiGHS through `scipy.optimize.milp`). If all of them conflict, as on a single camera, that is the linear assignment
problem, whose relaxation is integral.
"""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array


def assign(
    gains: Mapping[tuple[int, int], float], conflicts: AbstractSet[tuple[int, int]], rows: int
) -> list[int | None]:
    """Return the column of each row, None where no gain is positive or every column with a gain is taken.

    Args:
        gains: gain by (row, column); absent or non-positive entries are never chosen.
        conflicts: pairs of rows (lower, higher) that must not share a column.
        rows: number of rows.
    """
    wanted: list[dict[int, float]] = [{} for _ in range(rows)]
    for (row, column), gain in gains.items():
        if gain > 0:
            wanted[row][column] = gain
    chosen: list[int | None] = [max(w, key=lambda c: (w[c], -c)) if w else None for w in wanted]
    contending = [(a, b) for a, b in conflicts if chosen[a] is not None and chosen[a] == chosen[b]]
    if not contending:
        return chosen
    group = _reach({row for pair in contending for row in pair}, conflicts, wanted)
    for row, found in _optimum(group, conflicts, wanted).items():
        chosen[row] = found
    return chosen


def _reach(seed: set[int], conflicts: AbstractSet[tuple[int, int]], wanted: list[dict[int, float]]) -> list[int]:
    """Return all rows connected to `seed` by conflicts over a common column."""
    group, edge = set(seed), set(seed)
    while edge:
        reached = set()
        for a, b in conflicts:
            for row, other in ((a, b), (b, a)):
                if row in edge and other not in group and wanted[row].keys() & wanted[other].keys():
                    reached.add(other)
        group |= reached
        edge = reached
    return sorted(group)


def _optimum(
    group: list[int], conflicts: AbstractSet[tuple[int, int]], wanted: list[dict[int, float]]
) -> dict[int, int | None]:
    """Return the optimal column of each row of a group."""
    places = [(row, column) for row in group for column in sorted(wanted[row])]
    number = {place: index for index, place in enumerate(places)}
    limits: list[list[int]] = [[number[row, column] for column in wanted[row]] for row in group if wanted[row]]
    inside = set(group)
    for a, b in conflicts:
        if a in inside and b in inside:
            limits.extend([number[a, column], number[b, column]] for column in wanted[a].keys() & wanted[b].keys())
    entries = np.asarray([(at, place) for at, limit in enumerate(limits) for place in limit]).reshape(-1, 2)
    matrix = coo_array((np.ones(len(entries)), (entries[:, 0], entries[:, 1])), shape=(len(limits), len(places)))
    found = milp(
        [-wanted[row][column] for row, column in places],
        integrality=np.ones(len(places), dtype=np.int64),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(matrix.tocsr(), ub=1.0),
    )
    answer: dict[int, int | None] = dict.fromkeys(group)
    if found.x is not None:
        for (row, column), value in zip(places, found.x, strict=True):
            if value > 0.5:
                answer[row] = column
    return answer


def grouped(
    rows: Iterable[int], conflict: Callable[[int, int], bool], llr: Callable[[int, int], float], threshold: float
) -> list[list[int]]:
    """Group rows greedily, in their order, by average linkage.

    Args:
        rows: in the order in which they are placed.
        conflict: whether two rows must not share a group.
        llr: log likelihood ratio of two rows being one person.
        threshold: a row joins the group with the greatest mean `llr` above it, else it starts a group.
    """
    groups: list[list[int]] = []
    for row in rows:
        best: list[int] | None = None
        most = threshold
        for group in groups:
            if any(conflict(row, other) for other in group):
                continue
            mean = sum(llr(row, other) for other in group) / len(group)
            if mean > most:
                best, most = group, mean
        if best is None:
            groups.append([row])
        else:
            best.append(row)
    return groups
