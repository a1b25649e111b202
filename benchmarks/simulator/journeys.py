"""Simulate when people are in view of cameras: walks through a camera graph, all at once (pure).

    scenario, who was ever seen where, chance -> Visits

Each camera has a few cameras that can come next, with a typical transit time per path; a walk has a geometric number of
cameras. Where two cameras overlap, the end of a visit of one is the beginning of a visit of the other. A visit on a
camera that has no picture of a person passes unseen.

Letters: p people, c cameras, n visits, k neighbours.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.simulator.scenario import Scenario
from reid_stream.records import Ints

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

DAY_S = 86_400.0
_MOST_CAMERAS = 40
"""Cameras of one walk at most."""
_RETURN_GIVE_S = 900.0


@dataclass(frozen=True, slots=True, eq=False)
class CameraGraph:
    """Transitions between cameras."""

    targets: Ints
    """(c, k) cameras that can come next."""
    shares: Doubles
    """(c, k) how often each does; rows sum to 1."""
    typical_s: Doubles
    """(c, k) median transit time."""


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedVisits:
    """People in view of cameras, sorted by time; no one is twice at once on one camera."""

    person: Ints
    """(n,)."""
    camera: Ints
    """(n,)."""
    enters_at: Doubles
    """(n,) seconds since the world began."""
    leaves_at: Doubles
    """(n,)."""

    def __len__(self) -> int:
        return len(self.person)


def graph(scenario: Scenario, rng: np.random.Generator) -> CameraGraph:
    """Draw the paths between cameras; the next number is always among them, so every camera can be reached."""
    cameras = scenario.cameras
    k = max(1, min(scenario.neighbours, cameras - 1))
    targets = np.zeros((cameras, k), dtype=np.int64)
    for camera in range(cameras):
        following = (camera + 1) % cameras
        others = [other for other in range(cameras) if other not in (camera, following)]
        targets[camera] = [following, *rng.permutation(others)[: k - 1]]
    shares = rng.dirichlet(np.full(k, 3.0), cameras)
    return CameraGraph(targets, shares, rng.uniform(*scenario.transit_s, (cameras, k)))


def visits(scenario: Scenario, paths: CameraGraph, seen: Bools, rng: np.random.Generator) -> SimulatedVisits:
    """Simulate all walks.

    Args:
        scenario: settings of the world.
        paths: transitions between cameras.
        seen: (p, c) whether a camera has images of a person.
        rng: source of all chance.
    """
    begins = arrivals(scenario, rng)
    person = np.arange(scenario.people)
    back = rng.random(scenario.people) < scenario.return_share
    give = min(_RETURN_GIVE_S, scenario.return_after_s / 4)
    returns = begins[back] + scenario.return_after_s + rng.uniform(-give, give, back.sum())
    person, begins = np.concatenate([person, person[back]]), np.concatenate([begins, returns])
    rows = _walk(scenario, paths, person, begins, rng)
    rows = _merged(np.concatenate([rows, _overlapping(scenario, rows, rng)]))
    rows = rows[seen[rows["person"], rows["camera"]]]
    return SimulatedVisits(rows["person"], rows["camera"], rows["enters_at"], rows["leaves_at"])


def arrivals(scenario: Scenario, rng: np.random.Generator) -> Doubles:
    """Return when each person first comes (p,), rising: a Poisson process, its rate following the day."""
    # In units of mean arrivals; a day of changing rates is a day of changing speed of this clock.
    due = np.cumsum(rng.exponential(1.0, scenario.people)) / scenario.arrivals_per_hour * 3600
    if not scenario.rush:
        return np.asarray(due, dtype=np.float64)
    rush = np.asarray(scenario.rush) / np.mean(scenario.rush)
    edges = np.linspace(0, DAY_S, len(rush) + 1)
    passed = np.concatenate([[0], np.cumsum(rush * DAY_S / len(rush))])
    return np.asarray(due // DAY_S * DAY_S + np.interp(due % DAY_S, passed, edges), dtype=np.float64)


_ROW = np.dtype([("person", np.int64), ("camera", np.int64), ("enters_at", np.float64), ("leaves_at", np.float64)])
Rows = npt.NDArray[np.void]


def _walk(scenario: Scenario, paths: CameraGraph, person: Ints, begins: Doubles, rng: np.random.Generator) -> Rows:
    """Take one step for all who still walk, again and again."""
    camera = rng.integers(0, scenario.cameras, len(person))
    at, steps = begins.copy(), []
    walking = np.arange(len(person))
    for _ in range(_MOST_CAMERAS):
        rows = np.zeros(len(walking), dtype=_ROW)
        lasts = scenario.in_view_s * np.exp(rng.normal(0, scenario.in_view_spread, len(walking)))
        rows["person"], rows["camera"] = person[walking], camera[walking]
        rows["enters_at"], rows["leaves_at"] = at[walking], at[walking] + lasts
        steps.append(rows)
        goes_on = rng.random(len(walking)) > 1 / scenario.cameras_passed
        walking, here, left_at = walking[goes_on], rows["camera"][goes_on], rows["leaves_at"][goes_on]
        if len(walking) == 0 or scenario.cameras == 1:
            break
        way = (rng.random(len(walking))[:, None] > np.cumsum(paths.shares[here], axis=1)).sum(axis=1)
        way = np.minimum(way, paths.targets.shape[1] - 1)
        takes = paths.typical_s[here, way] * np.exp(rng.normal(0, scenario.transit_spread, len(walking)))
        pauses = rng.random(len(walking)) < scenario.pause_share
        takes += pauses * rng.exponential(scenario.pause_s, len(walking))
        camera[walking], at[walking] = paths.targets[here, way], left_at + takes
    return np.concatenate(steps)


def _overlapping(scenario: Scenario, rows: Rows, rng: np.random.Generator) -> Rows:
    """Return the visits that people have on the second camera of an overlapping pair."""
    added = []
    for a, b in scenario.overlaps:
        for first, second in ((a, b), (b, a)):
            here = rows[rows["camera"] == first].copy()
            lasts = here["leaves_at"] - here["enters_at"]
            # Half of the people come from the other camera, half go there.
            ends = rng.random(len(here)) < 0.5
            away = (1 - scenario.overlap_share) * lasts * np.where(ends, 1, -1)
            here["camera"] = second
            here["enters_at"] += away
            here["leaves_at"] += away
            added.append(here)
    return np.concatenate(added) if added else rows[:0]


def _merged(rows: Rows) -> Rows:
    """Join visits of one person on one camera that touch, and sort by time."""
    rows = rows[np.lexsort((rows["enters_at"], rows["camera"], rows["person"]))]
    person, camera, enters_at = (rows[name].tolist() for name in ("person", "camera", "enters_at"))
    leaves_at = rows["leaves_at"].tolist()
    kept: list[int] = []
    for index in range(len(rows)):
        last = kept[-1] if kept else index
        together = (person[last], camera[last]) == (person[index], camera[index])
        if kept and together and enters_at[index] <= leaves_at[last]:
            leaves_at[last] = max(leaves_at[last], leaves_at[index])
        else:
            kept.append(index)
    rows["leaves_at"] = leaves_at
    rows = rows[kept]
    return np.asarray(rows[np.argsort(rows["enters_at"], kind="stable")])
