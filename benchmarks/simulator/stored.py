"""Write a simulated site as a tracklet store with ground truth.

    crops, scenario, seed ─▶ world ─▶ STORE/<camera>/<day>/<run>-<track>/…  and  STORE/truth.json

Every image is shown once: a track that would have to show one again is left out, so that no one is recognized by the
very same image. Tracks hold no vectors; they are labelled only on request.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.simulator.crops import PersonCrop
from benchmarks.simulator.looks import Looks, looks_of
from benchmarks.simulator.scenario import Scenario
from benchmarks.simulator.world import RUN, SimulatedWorld, simulate
from reid_stream import store
from reid_stream.errors import ConfigError
from reid_stream.records import GlobalId, Ints, TrackId
from reid_stream.store import StoredTrack

STILL = {"look_alikes": 0.0, "mixed_share": 0.0, "duplicates_per_min": 0.0, "return_share": 0.0}
"""Settings that images cannot show: they cannot be mixed as vectors can, and returns would repeat images."""
ALL_AT_ONCE = {"cameras": 2, "neighbours": 1, "cameras_passed": 8.0}
"""Two cameras, both of which nearly all people pass."""
_SITE, _NO_BUNDLE = "site", "none"
_DIGITS = 2048
"""Integers that float16 holds exactly."""


def draw(crops: Sequence[PersonCrop], begin: int, end: int, seed: int = 0) -> list[PersonCrop]:
    """Return the crops of some persons: from the `begin`th to before the `end`th of a seeded order.

    Raises:
        ConfigError: there are not so many.
    """
    people = sorted({crop.person for crop in crops})
    if not 0 <= begin < end <= len(people):
        raise ConfigError(f"--persons must be BEGIN:END within 0:{len(people)}, got {begin}:{end}")
    order = np.random.default_rng(seed).permutation(len(people))[begin:end]
    wanted = {people[place] for place in order.tolist()}
    return [crop for crop in crops if crop.person in wanted]


def build(
    crops: Sequence[PersonCrop], scenario: Scenario, seed: int, out: Path, *, named: bool = False
) -> dict[str, str]:
    """Write the store of a simulated site and return the truth: folder of a track -> person.

    Args:
        crops: JPEG, of all people.
        scenario: as `reid-stream simulate world` takes it, with `STILL` in it.
        seed: of the world.
        out: a new folder.
        named: give each track the global ID of its true person, as if all were reviewed.

    Raises:
        ConfigError: the scenario needs what images cannot show, there are too few people, or `out` is there.
    """
    if wrong := [key for key, value in STILL.items() if getattr(scenario, key) != value]:
        raise ConfigError(f"a store shows each image as it is and once: {wrong[0]} must be {STILL[wrong[0]]}")
    if out.exists():
        raise ConfigError(f"the store must be a new folder, {out} exists")
    looks = _numbered(crops)
    if scenario.people > len(looks):
        raise ConfigError(f"people must be at most the {len(looks)} that the crops show, got {scenario.people}")
    world = simulate(scenario, looks, seed)
    people, shown = {}, set[int]()
    ids = {person: number for number, person in enumerate(sorted({crop.person for crop in crops}), 1)}
    for track in np.unique(world.rows.track).tolist():
        rows = np.flatnonzero((world.rows.track == track) & (world.vector >= 0))
        numbers = _numbers(world, rows)
        first = [place for place, number in enumerate(numbers) if number not in shown and number not in numbers[:place]]
        if not first:
            continue
        kept = [numbers[place] for place in first]
        shown.update(kept)
        person = GlobalId(f"{_SITE}-{ids[crops[kept[0]].person]}") if named else None
        stored = _stored(world, track, rows[first], person)
        folder = store.write(out, stored, [crops[number].data for number in kept], None)
        # Where the tracker swapped two people a track holds both; it counts for the first.
        people[str(folder.relative_to(out))] = crops[kept[0]].person
    if not people:
        raise ConfigError("the world must show at least one person, it shows none; raise `people`")
    store.write_truth(out, people)
    return people


def _numbered(crops: Sequence[PersonCrop]) -> Looks:
    """Return looks whose `vectors` are the crops' own numbers, in two digits."""
    digits = np.stack(np.divmod(np.arange(len(crops)), _DIGITS), axis=1).astype(np.float16)
    return looks_of(digits, [crop.person for crop in crops], [crop.camera for crop in crops], _NO_BUNDLE)


def _numbers(world: SimulatedWorld, rows: Ints) -> list[int]:
    digits = world.looks.vectors[world.vector[rows]].astype(np.int64)
    return [int(high) * _DIGITS + int(low) for high, low in digits]


def _stored(world: SimulatedWorld, track: int, rows: Ints, person: GlobalId | None) -> StoredTrack:
    boxes = world.rows.box[rows].round(2).tolist()
    return StoredTrack(
        camera=world.names[int(world.rows.camera[rows[0]])],
        run=RUN,
        track=TrackId(track),
        times=world.seen_at[rows].tolist(),
        boxes=[(x1, y1, x2, y2) for x1, y1, x2, y2 in boxes],
        qualities=world.quality[rows].round(4).tolist(),
        clock="rtcp",
        global_id=person,
        bundle=_NO_BUNDLE,
    )
