"""Count identity errors: purity, fragmentation, wrong merges, missed links (pure).

HOTA and IDF1 count boxes; an operator counts people. Here a *visit* is one true person on one camera without a gap
(`visits`), and an identity *holds* a person when it was given to at least a quarter of the matched boxes of one of the
person's visits. A share, so that frame rates do not matter; of a visit, so that one short visit under a wrong name is
seen beside long right ones; a quarter, so that a swap for a few frames while two people cross is not taken for a belief
about who is who.
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
    """What became of the people of a set."""

    people: int
    """Of the truth."""
    found: int
    """People of whom at least one box was matched."""
    identities: int
    """Published."""
    ghosts: int
    """Identities none of whose boxes is anybody's."""
    visits: int
    """Of the truth."""
    visits_unseen: int
    """Of which no box was matched."""
    purity: float
    """Share of matched boxes that belong to the person that their identity mostly is, as in clustering; 1 if no one was
    ever taken for another. [0, 1]."""
    fragmentation: float
    """Identities that hold a person, mean over the people found; 1 is ideal."""
    wrong_merges: int
    """Identities that hold two people or more."""
    wrong_pairs: int
    """Pairs of people that some identity holds both of."""
    links: int
    """Links to be made: for each person the visits found, less one."""
    missed_links: int
    """Links not made: for each person the different identities that the visits found have (each its most frequent
    one), less one; so many merges would put everything right."""
    switches: int
    """Changes of identity between one matched box and the next of a visit."""
    mixed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The wrong merges: identity -> the people it holds, as the truth names them; those of most people first."""


def count_identity_errors(aligned: Alignment, visits: Visits) -> IdentityErrors:
    """Count what went wrong with whom."""
    rows, columns = matched(aligned)
    person, identity, visit = aligned.true.people[rows], aligned.told.people[columns], visits.of[rows]
    # A table of visits by identities would be large and empty; what is in it is listed instead.
    cells, counts = _count(visit, identity)
    share = counts / np.bincount(visit, minlength=len(visits))[cells[:, 0]] if len(cells) else np.empty(0)
    holders: dict[int, set[int]] = defaultdict(set)
    """Person -> identities."""
    held: dict[int, set[int]] = defaultdict(set)
    """Identity -> people."""
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
        identities=len(aligned.told.names),
        ghosts=len(aligned.told.names) - len(np.unique(identity)),
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
            str(aligned.told.names[name]): tuple(str(aligned.true.names[each]) for each in sorted(together))
            for name, together in sorted(held.items(), key=lambda item: (-len(item[1]), item[0]))
            if len(together) > 1
        },
    )


def _count(a: Ints, b: Ints) -> tuple[Ints, Ints]:
    """Distinct pairs (c, 2) and how often each is there (c,)."""
    cells, counts = np.unique(np.stack([a, b], axis=1), axis=0, return_counts=True)
    return cells, counts


def _main(cells: Ints, counts: Ints) -> dict[int, int]:
    """Return the most frequent second number of each first one; of equals, the lowest."""
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
