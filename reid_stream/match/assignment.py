"""Rows to columns for the greatest sum of gains, where rows in conflict never share a column (pure).

Rows are tracks, columns people; tracks seen side by side, or on cameras that do not overlap, conflict; others may well
be one person, on overlapping cameras or after a break. Where no two conflicting rows want the same column, each takes
its best, and that is the optimum. Only the rows that contend go to an integer program (HiGHS, by scipy), whose
relaxation is tight for one camera: there it is the assignment problem.
"""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array


def assign(
    gains: Mapping[tuple[int, int], float], conflicts: AbstractSet[tuple[int, int]], rows: int
) -> list[int | None]:
    """Return the column of each row; none where no gain is positive or all are taken.

    Args:
        gains: of (row, column); what is not there or not positive is never chosen.
        conflicts: pairs of rows (lower, higher) that must not share a column.
        rows: how many there are.
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
    """Return all rows that a contention can touch: those in conflict over a common column, and theirs."""
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
    """Solve for some rows."""
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
    rows: Iterable[int], conflict: Callable[[int, int], bool], alike: Callable[[int, int], float], asked: float
) -> list[list[int]]:
    """Put rows that are alike by more than `asked` on average into groups, in their order, conflicts apart."""
    groups: list[list[int]] = []
    for row in rows:
        best: list[int] | None = None
        most = asked
        for group in groups:
            if any(conflict(row, other) for other in group):
                continue
            evidence = sum(alike(row, other) for other in group) / len(group)
            if evidence > most:
                best, most = group, evidence
        if best is None:
            groups.append([row])
        else:
            best.append(row)
    return groups
