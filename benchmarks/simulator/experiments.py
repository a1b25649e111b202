"""Experiments that need known identities: the obtained false-match rate, and the share of each part of the matcher.

    looks, scenario, seeds -> Experiment: figures of every seed of every variant, as JSON and as plots (plots.py)

All variants run on the same worlds, so that differences are their own.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from benchmarks.simulator.figures import WorldFigures, figures
from benchmarks.simulator.looks import Looks
from benchmarks.simulator.replay import MatcherSpec, replay
from benchmarks.simulator.scenario import Scenario
from benchmarks.simulator.world import SimulatedWorld, simulate
from reid_stream.bundles.bundle import Calibration, EmbedderBundle
from reid_stream.config.settings import Match, TopologySettings

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
COSINES = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8)
"""Thresholds tried for a matcher without a verification head."""
_MOST_RATE = 0.003
"""Highest false-match rate tried; beyond, most of a hundred new people would be matched to known ones."""
Progress = Callable[[str], None]


class MatchVariant(msgspec.Struct, frozen=True):
    """One way to match, over all seeds."""

    name: str
    requested: float | None
    """False-match rate; none where a cosine decides."""
    seeds: list[WorldFigures]

    def mean(self, figure: str) -> float:
        """Return a figure's mean over the seeds that have it."""
        return float(np.mean(self.values(figure)))

    def spread(self, figure: str) -> float:
        """Return a figure's standard deviation over seeds, 0 for one seed."""
        values = self.values(figure)
        return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0

    def values(self, figure: str) -> list[float]:
        """Return a figure of each seed; NaN alone where none has it."""
        return [float(value) for each in self.seeds if (value := getattr(each, figure)) is not None] or [float("nan")]

    def pooled(self, events: str, chances: str) -> tuple[float, float, float]:
        """Return a rate over all seeds together with its 95 % interval (Wilson, 1927)."""
        hits, tries = (sum(getattr(each, name) for each in self.seeds) for name in (events, chances))
        return _wilson(hits, tries)


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment's question and its figures."""

    name: str
    model: str
    """Hash of the bundle."""
    crops: str
    part: str
    scenario: dict[str, Any]
    seeds: list[int]
    variants: list[MatchVariant]
    notes: list[str] = []


@dataclass(frozen=True, slots=True)
class Bench:
    """Inputs that experiments share."""

    bundle: EmbedderBundle
    crops: str
    part: str
    scenario: Scenario
    seeds: Sequence[int]
    progress: Progress

    def shipped(self, match: Match) -> MatcherSpec:
        """Return the matcher that the daemon would have."""
        return MatcherSpec(match, self.bundle.verifier, self.bundle.calibrated)

    def worlds(self, looks: Looks) -> list[SimulatedWorld]:
        """Make the world of each seed."""
        began = time.process_time()
        worlds = [simulate(self.scenario, looks, seed) for seed in self.seeds]
        passed, made = time.process_time() - began, sum(world.observations for world in worlds)
        self.progress(f"{made} observations simulated, {made / passed:,.0f} a second of CPU time")
        return worlds

    def run(self, name: str, spec: MatcherSpec, worlds: Iterable[SimulatedWorld]) -> MatchVariant:
        """Run a matcher on all worlds."""
        found = [figures(world, replay(world, spec)) for world in worlds]
        by_cosine = spec.verifier is None or spec.settings.similarity is not None
        variant = MatchVariant(name, None if by_cosine else spec.settings.false_match_rate, found)
        self.progress(
            f"{name}: IDF1 {variant.mean('idf1'):.3f} ± {variant.spread('idf1'):.3f}, "
            f"wrong merges {variant.mean('wrong_merges'):.1f}, missed links {variant.mean('missed_links'):.1f}, "
            f"false matches {variant.pooled('false_matches', 'comparisons')[0]:.2g} per comparison "
            f"({variant.pooled('false_matches_at_once', 'comparisons')[0]:.2g} at once)"
        )
        return variant

    def experiment(self, name: str, variants: list[MatchVariant], notes: Sequence[str] = ()) -> Experiment:
        """Return the results with their circumstances."""
        return Experiment(
            name=name,
            model=self.bundle.hash,
            crops=self.crops,
            part=self.part,
            scenario=self.scenario.model_dump(mode="json"),
            seeds=list(self.seeds),
            variants=variants,
            notes=list(notes),
        )


def single(bench: Bench, looks: Looks, match: Match) -> Experiment:
    """Measure how well people are followed."""
    return bench.experiment("world", [bench.run("as set", bench.shipped(match), bench.worlds(looks))])


def dial(bench: Bench, looks: Looks, match: Match, rates: Sequence[float] = RATES) -> Experiment:
    """Set several false-match rates and measure what is obtained."""
    worlds = bench.worlds(looks)
    specs = [bench.shipped(match.model_copy(update={"false_match_rate": rate})) for rate in rates]
    return bench.experiment(
        "dial", [bench.run(f"{rate:g}", spec, worlds) for rate, spec in zip(rates, specs, strict=True)]
    )


def ablation(bench: Bench, looks: Looks, tuning: Looks, match: Match) -> Experiment:
    """Remove one part of the matcher at a time.

    Args:
        bench: inputs that experiments share.
        looks: of the people that are reported on.
        tuning: of other people, on whom the best cosine of a matcher without a head and the best rate are chosen.
        match: settings of all other variants.
    """
    least, by_cosine = _best(
        bench, tuning, {f"cosine {one:g}": MatcherSpec(match.model_copy(update={"similarity": one})) for one in COSINES}
    )
    asked, by_rate = _best(
        bench,
        tuning,
        {
            f"rate {rate:g}": bench.shipped(match.model_copy(update={"false_match_rate": rate}))
            for rate in RATES
            if rate <= _MOST_RATE
        },
    )
    whole, worlds = bench.shipped(match), bench.worlds(looks)
    raw = Calibration(kind="none", parameters={}, prior=bench.bundle.verifier.train_prior)
    variants = {
        f"as shipped (rate {match.false_match_rate:g})": whole,
        asked[0]: asked[1],
        f"head off ({least[0]})": least[1],
        "calibration off": replace(whole, calibration=raw),
        "topology off": replace(whole, topology=TopologySettings(learn=False)),
        **{
            f"exemplars {count}": replace(whole, settings=match.model_copy(update={"exemplars": count}))
            for count in (1, 4, 16)
            if count != match.exemplars
        },
    }
    return bench.experiment(
        "ablation", [bench.run(name, spec, worlds) for name, spec in variants.items()], [by_cosine, by_rate]
    )


def _best(bench: Bench, tuning: Looks, specs: dict[str, MatcherSpec]) -> tuple[tuple[str, MatcherSpec], str]:
    """Choose by IDF1 on the tuning people; also return the scores of all."""
    worlds = [simulate(_as_many(bench.scenario, tuning), tuning, seed) for seed in bench.seeds[:2]]
    scored = {name: bench.run(f"tuning: {name}", spec, worlds).mean("idf1") for name, spec in specs.items()}
    best = max(scored, key=lambda name: scored[name])
    listed = ", ".join(f"{name}: {value:.3f}" for name, value in scored.items())
    return (f"{best}, tuned", specs[best]), f"{best} was chosen by IDF1 on the tuning people ({listed})"


def _as_many(scenario: Scenario, looks: Looks) -> Scenario:
    return scenario.model_copy(update={"people": min(scenario.people, len(looks))})


def _wilson(hits: int, tries: int, z: float = 1.96) -> tuple[float, float, float]:
    if tries == 0:
        return float("nan"), 0.0, 1.0
    share = hits / tries
    middle = share + z * z / (2 * tries)
    half = z * float(np.sqrt(share * (1 - share) / tries + z * z / (4 * tries * tries)))
    scale = 1 + z * z / tries
    return share, max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
