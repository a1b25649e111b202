"""Count identity errors: purity, fragmentation, wrong merges, missed links (pure).

HOTA and IDF1 count boxes; an operator counts people. A *visit* is one true person on one camera without a gap
(`visits`). An identity *holds* a person if it has at least a quarter of the matched boxes of one of the person's
visits: a share, to be independent of frame rates; of one visit, so that a short wrong visit counts beside long right
ones; a quarter, so that a swap for a few frames while two people cross does not count.
"""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from reid_stream.evaluation.align import Alignment, Ints, matched
from reid_stream.evaluation.visits import Visits

HOLDS = 0.25
"""Least share of a visit's matched boxes."""


@dataclass(frozen=True, slots=True)
class IdentityErrors:
    """Counts of identity errors of a set."""

    people: int
    """True people."""
    found: int
    """People with at least one matched box."""
    identities: int
    """Published identities."""
    ghosts: int
    """Identities without any matched box."""
    visits: int
    """True visits."""
    visits_unseen: int
    """Visits without any matched box."""
    purity: float
    """Share of matched boxes whose person is the most frequent one of their identity, in [0, 1] (cluster purity:
    Manning, Raghavan & Schütze, "Introduction to Information Retrieval", 2008, section 16.3)."""
    fragmentation: float
    """Identities that hold a person, mean over the people found; 1 is ideal."""
    wrong_merges: int
    """Identities that hold two people or more."""
    wrong_pairs: int
    """Pairs of people held by one identity."""
    links: int
    """Links to be made: visits found less one, summed over people."""
    missed_links: int
    """Links not made: different identities of a person's visits (the most frequent one of each) less one, summed over
    people; the number of merges that would correct them."""
    switches: int
    """Changes of identity between successive matched boxes of a visit."""
    mixed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Wrong merges: identity -> the people it holds, by their names in the truth; those of most people first."""


def count_identity_errors(aligned: Alignment, visits: Visits) -> IdentityErrors:
    """Count the identity errors of an alignment; `visits` are of its truth."""
    rows, columns = matched(aligned)
    person, identity, visit = aligned.true.people[rows], aligned.predicted.people[columns], visits.of[rows]
    # Sparse: a table of visits by identities would be large and mostly empty.
    cells, counts = _count(visit, identity)
    share = counts / np.bincount(visit, minlength=len(visits))[cells[:, 0]] if len(cells) else np.empty(0)
    holders: dict[int, set[int]] = defaultdict(set)
    """Person -> identities that hold it."""
    held: dict[int, set[int]] = defaultdict(set)
    """Identity -> people that it holds."""
    for (number, name), part in zip(cells.tolist(), share.tolist(), strict=True):
        if part >= HOLDS:
            holders[int(visits.people[number])].add(name)
            held[name].add(int(visits.people[number]))
    pairs = {(a, b) for together in held.values() for a in together for b in together if a < b}
    main = _main(cells, counts)
    mains: dict[int, list[int]] = defaultdict(list)
    for number, name in main.items():
        mains[int(visits.people[number])].append(name)
    return IdentityErrors(
        people=len(aligned.true.names),
        found=len(np.unique(person)),
        identities=len(aligned.predicted.names),
        ghosts=len(aligned.predicted.names) - len(np.unique(identity)),
        visits=len(visits),
        visits_unseen=len(visits) - len(main),
        purity=_purity(person, identity),
        fragmentation=float(np.mean([len(each) for each in holders.values()])) if holders else 0.0,
        wrong_merges=sum(len(together) > 1 for together in held.values()),
        wrong_pairs=len(pairs),
        links=sum(len(each) - 1 for each in mains.values()),
        missed_links=sum(len(set(each)) - 1 for each in mains.values()),
        switches=_switches(visit, identity, aligned.true.frames[rows]),
        mixed={
            str(aligned.predicted.names[name]): tuple(str(aligned.true.names[each]) for each in sorted(together))
            for name, together in sorted(held.items(), key=lambda item: (-len(item[1]), item[0]))
            if len(together) > 1
        },
    )


def _count(a: Ints, b: Ints) -> tuple[Ints, Ints]:
    """Return the distinct pairs (c, 2) of two columns and their counts (c,)."""
    cells, counts = np.unique(np.stack([a, b], axis=1), axis=0, return_counts=True)
    return cells, counts


def _main(cells: Ints, counts: Ints) -> dict[int, int]:
    """Return the most frequent second number of each first one; the lowest of equally frequent ones."""
    order = np.lexsort((cells[:, 1], -counts))
    main: dict[int, int] = {}
    for first, second in cells[order].tolist():
        main.setdefault(first, second)
    return main


def _purity(person: Ints, identity: Ints) -> float:
    cells, counts = _count(identity, person)
    if not len(counts):
        return 0.0
    most = np.zeros(int(cells[:, 0].max()) + 1, dtype=np.int64)
    np.maximum.at(most, cells[:, 0], counts)
    return float(most.sum() / counts.sum())


def _switches(visit: Ints, identity: Ints, frames: Ints) -> int:
    order = np.lexsort((frames, visit))
    return int(np.count_nonzero((np.diff(visit[order]) == 0) & (np.diff(identity[order]) != 0)))
