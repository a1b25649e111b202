"""Measure how well the people of a simulated world were followed (pure).

HOTA, IDF1 and what became of people are the evaluation's, over all boxes of the world, second boxes of one person left
out. The rate that `match.false_match_rate` sets is measured on *newcomers*, people seen for the very first time, where
every match is wrong and nothing else plays a part.

- False matches per comparison: newcomers who became a given known person, over all (newcomer, known person) pairs.
  This is what `match.false_match_rate` promises.
- False matches per arrival: the share of newcomers who became any known person; it grows with how many are known.
"""

import msgspec
import numpy as np

from benchmarks.simulator.journeys import Bools, Doubles
from benchmarks.simulator.replay import ReplayResult
from benchmarks.simulator.world import SimulatedWorld
from reid_stream.evaluation.align import Boxes, align
from reid_stream.evaluation.identity_errors import count_identity_errors
from reid_stream.evaluation.score import score_aligned
from reid_stream.evaluation.visits import visits
from reid_stream.records import Ints

_AWAY_S = 3600.0


class WorldFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one world; shares and rates in [0, 1], times in milliseconds."""

    people: int
    """Seen at least once."""
    tracks: int
    observations: int
    identities: int
    """Identities at the end."""
    idf1_at_once: float
    """IDF1 with the identity first published of each box."""
    idf1: float
    """IDF1 after corrections, like all that follows up to `missed_links`."""
    hota: float
    ass_pr: float
    ass_re: float
    purity: float
    """Share of boxes whose identity is mostly that of the same person."""
    wrong_merges: int
    """Identities that hold two people or more."""
    missed_links: int
    """Number of merges that would correct everything."""
    links_to_make: int
    """Visits beyond each person's first."""
    newcomers: int
    """First tracks of people."""
    comparisons: int
    """(newcomer, known person) pairs."""
    false_matches_at_once: int
    """Newcomers who were first published as a known person."""
    false_matches: int
    """Newcomers who are, at the end, a person known before."""
    false_match_rate: float
    """False matches at the end, per comparison: the rate that `match.false_match_rate` sets."""
    false_arrivals: float
    """False matches in the end, per newcomer."""
    known: int
    """Later tracks: of people known already."""
    links_at_once: float
    """Share of them that were first published as that very person."""
    links: float
    """Share of them that are, in the end, the same as the person's first track, and no one else's."""
    returned: float | None
    """The same for tracks of people after more than an hour's absence; none where none came back."""
    merges: int
    splits: int
    update_p50_ms: float
    update_p99_ms: float
    observations_per_s: float


def figures(world: SimulatedWorld, result: ReplayResult) -> WorldFigures:
    """Score one world."""
    rows = np.flatnonzero((world.ends == 0) & ~world.rows.duplicate)
    truth = boxes_named(world, world.rows.person, rows)
    at_once, final = (align(truth, boxes_named(world, ids, rows)) for ids in (result.at_once, result.in_the_end))
    one = count_identity_errors(final, visits(final, dict.fromkeys(truth, world.scenario.fps)))
    each = np.arange(0, len(final.steps), max(1, round(world.scenario.fps * world.scenario.vector_every_s)))
    across = score_aligned(final, each)  # identities change no oftener than vectors come
    first = result.arrivals
    end = result.in_the_end[first.row]
    owner = np.asarray([result.owner.get(int(number), -1) for number in end], dtype=np.int64)
    false = int((owner != first.person)[first.is_first].sum())
    newcomers, comparisons = int(first.is_first.sum()), int(first.strangers[first.is_first].sum())
    linked = (owner == first.person) & (end == _home(first.person, end))
    back = ~first.is_first & (_away_s(world, first.row, first.person) > _AWAY_S)
    return WorldFigures(
        people=one.people,
        tracks=len(first.row),
        observations=world.observations,
        identities=one.identities,
        idf1_at_once=score_aligned(at_once, each).idf1,
        idf1=across.idf1,
        hota=across.hota,
        ass_pr=across.ass_pr,
        ass_re=across.ass_re,
        purity=one.purity,
        wrong_merges=one.wrong_merges,
        missed_links=one.missed_links,
        links_to_make=one.links,
        newcomers=newcomers,
        comparisons=comparisons,
        false_matches_at_once=int(first.is_wrong[first.is_first].sum()),
        false_matches=false,
        false_match_rate=false / max(1, comparisons),
        false_arrivals=false / max(1, newcomers),
        known=len(first.row) - newcomers,
        links_at_once=_share((first.is_bound & ~first.is_wrong)[~first.is_first]) or 0.0,
        links=_share(linked[~first.is_first]) or 0.0,
        returned=_share(linked[back]),
        merges=result.merges,
        splits=result.splits,
        update_p50_ms=float(np.quantile(result.update_s, 0.5) * 1e3),
        update_p99_ms=float(np.quantile(result.update_s, 0.99) * 1e3),
        observations_per_s=world.observations / result.seconds,
    )


def boxes_named(world: SimulatedWorld, names: Ints, rows: Ints) -> dict[str, Boxes]:
    """Return boxes under their names by camera; of two of one name in one frame the first counts."""
    found = {}
    rows = rows[names[rows] >= 0]
    for number, camera in enumerate(world.names):
        here = rows[world.rows.camera[rows] == number]
        here = here[np.unique(np.stack([world.rows.frame[here], names[here]]), axis=1, return_index=True)[1]]
        found[str(camera)] = Boxes(world.rows.frame[here], tuple(names[here].tolist()), world.rows.box[here])
    return found


def _home(person: Ints, end: Ints) -> Ints:
    """Return, for each track (t,), the final identity of the earliest track of the same person."""
    home: dict[int, int] = {}
    return np.asarray(
        [home.setdefault(who, identity) for who, identity in zip(person.tolist(), end.tolist(), strict=True)],
        dtype=np.int64,
    )


def _away_s(world: SimulatedWorld, row: Ints, person: Ints) -> Doubles:
    """Return how long each track's person had been away (t,), in seconds; 0 for the first track."""
    visit = world.rows.visit[row]
    last: dict[int, float] = {}
    away = []
    columns = (person.tolist(), world.visits.enters_at[visit].tolist(), world.visits.leaves_at[visit].tolist())
    for who, begins, ends in zip(*columns, strict=True):
        away.append(begins - last.get(who, begins))
        last[who] = max(ends, last.get(who, ends))
    return np.asarray(away, dtype=np.float64)


def _share(values: Bools) -> float | None:
    return float(values.mean()) if len(values) else None
