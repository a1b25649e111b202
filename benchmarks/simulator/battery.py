"""Battery of simulated sites that the matcher's constants were not tuned on: half to develop on, half to report.

    group of people, half ─▶ crops ─▶ seen by the world's cameras ─▶ vectors ─▶ world ─▶ matcher ─▶ BatteryFigures

Three groups: Market-1501's validation persons (6 cameras), CUHK03's camera pairs 4 and 5 (held back from training) and
CUHK01, unknown to all shipped networks. No person is in both halves. Constants may be chosen on the development half;
the reported half is run, never searched.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from benchmarks.simulator import crops as images
from benchmarks.simulator.battery_lanes import draw
from benchmarks.simulator.camera_views import seen_by
from benchmarks.simulator.crops import PersonCrop
from benchmarks.simulator.figures import boxes_named, figures
from benchmarks.simulator.looks import Looks
from benchmarks.simulator.looks import read as read_looks
from benchmarks.simulator.replay import MatcherSpec, replay
from benchmarks.simulator.scenario import load as load_scenario
from benchmarks.simulator.world import SimulatedWorld, simulate
from reid_stream.errors import ConfigError
from reid_stream.evaluation.align import align
from reid_stream.evaluation.score import mean, score_aligned, score_cameras
from reid_stream.records import Ints

Group = Literal["market", "cuhk03", "cuhk01"]
Half = Literal["development", "reported"]
HALVES: tuple[Half, ...] = ("development", "reported")
GROUPS: tuple[Group, ...] = ("market", "cuhk03", "cuhk01")

_ARCHIVES = {"cuhk03": "cuhk03_pairs2to5.tar.gz", "cuhk01": "cuhk01.tar.gz"}
_PAIRS = {"development": ("7", "8"), "reported": ("9", "10")}
"""Cameras of CUHK03 by half: people may come again in another pair, under another number."""
_VARIANTS, _MOST = 2, 3
"""Variants of each crop; crops per person and camera."""
_COLOUR = 0.3
"""Strength of the differences between cameras where the world is not about them."""


@dataclass(frozen=True, slots=True)
class BatteryWorld:
    """One site."""

    name: str
    group: Group
    half: Half
    seed: int
    changes: dict[str, Any] = field(default_factory=dict)
    """Scenario settings that differ from the defaults."""
    colour: float = _COLOUR
    """Strength of the cameras' differences, see `camera_views.camera_look`."""


_CROWD = {"arrivals_per_hour": 3000, "mixed_share": 0.2, "swaps_per_min": 0.6, "occlusions_per_min": 6}
_RETURN = {"return_share": 0.6, "return_after_s": 600}
_UNIFORM = {"uniform_share": 0.5}

WORLDS = (
    BatteryWorld("sparse", "market", "development", 1, {"people": 30, "cameras": 4, "arrivals_per_hour": 200}),
    BatteryWorld("crowd", "market", "development", 2, {"people": 30, "cameras": 6, **_CROWD}),
    BatteryWorld("colours", "cuhk03", "development", 3, {"people": 50, "cameras": 5}, colour=1.0),
    BatteryWorld("returners", "cuhk03", "development", 4, {"people": 40, "cameras": 3, **_RETURN}),
    BatteryWorld("overlap", "cuhk03", "development", 5, {"people": 45, "cameras": 4, "overlaps": ((0, 1), (2, 3))}),
    BatteryWorld(
        "rates", "cuhk01", "development", 6, {"people": 50, "cameras": 4, "fps": 25, "camera_fps": (25, 10, 5, 2)}
    ),
    BatteryWorld("uniform", "cuhk01", "development", 7, {"people": 50, "cameras": 3, **_UNIFORM}),
    BatteryWorld("crowd", "cuhk01", "development", 8, {"people": 80, "cameras": 8, **_CROWD}),
    BatteryWorld("overlap", "market", "reported", 11, {"people": 30, "cameras": 2, "overlaps": ((0, 1),)}),
    BatteryWorld("returners", "market", "reported", 12, {"people": 30, "cameras": 5, **_RETURN}),
    BatteryWorld("crowd", "cuhk03", "reported", 13, {"people": 32, "cameras": 6, **_CROWD}),
    BatteryWorld("rates", "cuhk03", "reported", 14, {"people": 32, "cameras": 3, "fps": 25, "camera_fps": (25, 8, 3)}),
    BatteryWorld("uniform", "cuhk03", "reported", 15, {"people": 32, "cameras": 4, **_UNIFORM}),
    BatteryWorld("sparse", "cuhk01", "reported", 16, {"people": 32, "cameras": 5, "arrivals_per_hour": 200}),
    BatteryWorld("colours", "cuhk01", "reported", 17, {"people": 36, "cameras": 8}, colour=1.0),
    BatteryWorld("returners", "cuhk01", "reported", 18, {"people": 40, "cameras": 4, "overlaps": ((1, 2),), **_RETURN}),
)


class BatteryFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one world, or means over several; shares in [0, 1]."""

    name: str
    hota: float
    hota_at_once: float
    idf1: float
    """IDF1 after corrections."""
    idf1_at_once: float
    ass_pr: float
    ass_re: float
    oracle: float
    """IDF1 with each track named after the person that it is on most often."""
    true_tracks: float
    """IDF1 after corrections where tracks neither break, nor change to another person, nor double."""
    corrections: float
    """Merges and splits for each person."""
    single: float
    """Mean IDF1 within a camera, under global IDs."""
    single_tracks: float
    """The same under track numbers."""
    false_matches: float
    """Newcomers taken for a known person in the end."""
    comparisons: float
    """(newcomer, known person) pairs."""

    @property
    def share(self) -> float:
        """IDF1 as a share of the oracle's."""
        return self.idf1 / self.oracle

    @property
    def share_at_once(self) -> float:
        """IDF1 as first published, as a share of the oracle's."""
        return self.idf1_at_once / self.oracle

    @property
    def false_match_rate(self) -> float:
        """Obtained, per comparison."""
        return self.false_matches / max(1.0, self.comparisons)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedWorld:
    """A world with observations, and the same with true tracks."""

    spec: BatteryWorld
    world: SimulatedWorld
    true_tracks: SimulatedWorld


def prepare(spec: BatteryWorld, data: Path, embedder: str, cache: Path, threads: int = 0) -> PreparedWorld:
    """Make a world; its vectors are kept in `cache`, by bundle and images.

    Raises:
        ConfigError: the people's images are not there, or are broken.
        ModelError: the bundle is missing or broken.
    """
    scenario = load_scenario(None, **spec.changes)
    found = people_of(spec.group, spec.half, data)
    names = sorted({crop.person for crop in found})
    drawn = set(np.random.default_rng(spec.seed).permutation(names)[: scenario.people].tolist())
    shown = seen_by(
        [crop for crop in found if crop.person in drawn], scenario.cameras, spec.colour, _VARIANTS, _MOST, spec.seed
    )
    looks: Looks = read_looks(shown, embedder, cache, threads)
    perfect = {"occlusions_per_min": 0, "swaps_per_min": 0, "duplicates_per_min": 0}
    return PreparedWorld(
        spec,
        simulate(scenario, looks, spec.seed),
        simulate(load_scenario(None, **{**spec.changes, **perfect}), looks, spec.seed),
    )


def people_of(group: Group, half: Half, data: Path) -> list[PersonCrop]:
    """Return the crops of one half of a group; no person of the data set is in both.

    Raises:
        ConfigError: the files are missing below `data`/people.
    """
    if group == "market":
        found = images.read(images.MARKET, data, "validation")
    else:
        archive = data / "people" / _ARCHIVES[group]
        if not archive.is_file():
            raise ConfigError(f"the battery needs {archive}, which is not there; set REID_STREAM_DATA")
        found = images.read(str(archive), data, "test")
    if group == "cuhk03":
        return [crop for crop in found if crop.camera.lstrip("0") in _PAIRS[half]]
    place = {person: number for number, person in enumerate(sorted({crop.person for crop in found}))}
    return [crop for crop in found if HALVES[place[crop.person] % 2] == half]


def run(prepared: PreparedWorld, matcher_spec: MatcherSpec, lanes: Path | None = None) -> BatteryFigures:
    """Run a matcher on a world, and again with true tracks; `lanes`: folder for a drawing of the first run."""
    world, spec = prepared.world, prepared.spec
    replayed = replay(world, matcher_spec)
    found = figures(world, replayed)
    rows = np.flatnonzero((world.ends == 0) & ~world.rows.duplicate)
    truth = boxes_named(world, world.rows.person, rows)
    step = max(1, round(world.scenario.fps * world.scenario.vector_every_s))
    at_once, end, tracks, oracle = (
        align(truth, boxes_named(world, names, rows))
        for names in (replayed.at_once, replayed.in_the_end, world.rows.track, _majority(world, rows))
    )
    if lanes is not None:
        name = f"{spec.group}-{spec.name}"
        draw(world, replayed, rows, lanes / f"{name}.png", name)
    each = np.arange(0, len(end.steps), step)
    perfect = prepared.true_tracks
    return BatteryFigures(
        name=f"{spec.group}-{spec.name}",
        hota=found.hota,
        hota_at_once=score_aligned(at_once, each).hota,
        idf1=found.idf1,
        idf1_at_once=found.idf1_at_once,
        ass_pr=found.ass_pr,
        ass_re=found.ass_re,
        oracle=score_aligned(oracle, each).idf1,
        true_tracks=figures(perfect, replay(perfect, matcher_spec)).idf1,
        corrections=(replayed.merges + replayed.splits) / max(1, found.people),
        single=mean(list(score_cameras(end).values())).idf1,
        single_tracks=mean(list(score_cameras(tracks).values())).idf1,
        false_matches=found.false_matches,
        comparisons=found.comparisons,
    )


def _majority(world: SimulatedWorld, rows: Ints) -> Ints:
    """Return for each row (n,) the person that its track is on most often."""
    tracks, persons = world.rows.track, world.rows.person
    counts = np.zeros((int(tracks.max(initial=0)) + 1, int(persons.max(initial=0)) + 1), dtype=np.int64)
    np.add.at(counts, (tracks[rows], persons[rows]), 1)
    return np.asarray(counts.argmax(axis=1)[tracks], dtype=np.int64)


def average(name: str, found: Iterable[BatteryFigures]) -> BatteryFigures:
    """Return the means over worlds."""
    several: Sequence[BatteryFigures] = list(found)
    values = {
        item: float(np.mean([getattr(each, item) for each in several]))
        for item in BatteryFigures.__struct_fields__
        if item != "name"
    }
    return BatteryFigures(name=name, **values)
