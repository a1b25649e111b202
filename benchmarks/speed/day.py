"""Run a day of many cameras through the matcher in minutes: memory and time must stay flat.

    a simulated day (simulator/) -> matcher, presence -> per hour: CPU time of an update, memory, people known

Time is that of updates which bring a vector; the others cost next to nothing and would hide them. Where people come
all day and are forgotten after `retention_s`, the number known settles, and with it time and memory must.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.simulator.looks import drawn
from benchmarks.simulator.replay import MatcherSpec
from benchmarks.simulator.scenario import Scenario
from benchmarks.simulator.world import BEGINS_AT, SimulatedWorld, simulate
from benchmarks.speed.memory import give_back, resident_bytes
from reid_stream.bundles.bundle import EmbedderBundle
from reid_stream.config.settings import Match, Publish
from reid_stream.console import plotting
from reid_stream.match.presence import Presence

_HOUR_S = 3600.0


class Hour(msgspec.Struct, frozen=True, kw_only=True):
    """One hour of the day; CPU time in milliseconds, memory in MB."""

    hour: int
    observations: int
    updates: int
    """Updates with a vector."""
    p50_ms: float
    p99_ms: float
    worst_ms: float
    known: int
    """People at its end."""
    events: int
    rss_mb: float
    """Memory at its end."""


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """The whole day."""

    cameras: int
    people: int
    observations: int
    match: dict[str, object]
    simulated_s: float
    """Wall time of the simulation."""
    matched_s: float
    """Wall time of matching."""
    observations_per_s: float
    hours: list[Hour]
    growth_mb_per_hour: float
    """Slope of memory over the second half of the day."""
    p99_change: float
    """p99 of the last quarter over that of the second one."""


def measure(
    bundle: EmbedderBundle,
    cameras: int,
    hours: float,
    people_per_hour: float,
    match: Match,
    progress: Callable[[str], None],
) -> Day:
    """Simulate a day and match it."""
    scenario = Scenario(
        cameras=cameras,
        people=max(1, round(hours * people_per_hour)),
        arrivals_per_hour=people_per_hour,
        look_alikes=0,
        return_share=0,
    )
    began = time.perf_counter()
    looks = drawn(scenario.people, min(cameras, 6), 3, bundle.dim, np.random.default_rng(1), bundle.hash)
    world = simulate(scenario, looks)
    made = time.perf_counter()
    progress(f"{world.observations} observations of {len(looks)} people simulated in {made - began:.1f} s")
    found = _hours(world, bundle, match, math.ceil(hours), progress)
    matched_s = time.perf_counter() - made
    late = found[len(found) // 2 :]
    quarter = max(1, len(found) // 4)
    slope = np.polyfit([one.hour for one in late], [one.rss_mb for one in late], 1)[0] if len(late) > 1 else 0.0
    return Day(
        cameras=cameras,
        people=len(looks),
        observations=world.observations,
        match=match.model_dump(mode="json"),
        simulated_s=made - began,
        matched_s=matched_s,
        observations_per_s=world.observations / matched_s,
        hours=found,
        growth_mb_per_hour=float(slope),
        p99_change=float(
            np.median([one.p99_ms for one in found[-quarter:]])
            / np.median([one.p99_ms for one in found[quarter : 2 * quarter] or found])
        ),
    )


def _hours(
    world: SimulatedWorld, bundle: EmbedderBundle, match: Match, hours: int, progress: Callable[[str], None]
) -> list[Hour]:
    matcher = MatcherSpec(match, bundle.verifier, bundle.calibrated).matcher(bundle.hash, bundle.dim)
    presence = Presence(Publish())
    found: list[Hour] = []
    times: list[float] = []
    observations = events = 0

    def close() -> None:
        give_back()
        found.append(
            Hour(
                hour=len(found) + 1,
                observations=observations,
                updates=len(times),
                p50_ms=float(np.quantile(times or [0.0], 0.5) * 1e3),
                p99_ms=float(np.quantile(times or [0.0], 0.99) * 1e3),
                worst_ms=max(times, default=0.0) * 1e3,
                known=len(matcher),
                events=events,
                rss_mb=resident_bytes() / 2**20,
            )
        )
        one = found[-1]
        progress(f"hour {one.hour}: {one.known} known, p99 {one.p99_ms:.2f} ms, {one.rss_mb:.0f} MB")

    for now, records in world.batches():
        while now - BEGINS_AT >= _HOUR_S * (len(found) + 1):
            if len(found) == hours:
                return found  # those who came late in the day are still walking
            close()
            times.clear()
            observations = events = 0
        began = time.process_time()
        decisions = matcher.update(records, now)
        passed = time.process_time() - began
        if any(getattr(record, "vector", None) is not None for record in records):
            times.append(passed)
        observations += len(records)
        events += len(presence.update(decisions, now))
    close()
    return found


def plot(day: Day, file: Path) -> None:
    """Draw time, memory and people known over the day."""
    figure, axes = plotting.stack()
    top, middle, bottom = axes
    hours = [one.hour for one in day.hours]
    top.plot(hours, [one.p99_ms for one in day.hours], "o-", color="#e0762f", label="p99")
    top.plot(hours, [one.p50_ms for one in day.hours], "o-", color="#2a6fdb", label="p50")
    top.set_ylabel("update with a vector, ms")
    top.legend(frameon=False, ncols=2)
    middle.plot(hours, [one.rss_mb for one in day.hours], "o-", color="#22303c")
    middle.set_ylabel("memory (RSS), MB")
    bottom.plot(hours, [one.known for one in day.hours], "o-", color="#3a9a5b")
    bottom.set(ylabel="people known", xlabel="hour of the day")
    for axis in axes:
        axis.set_ylim(bottom=0)
    plotting.plain(axes)
    plotting.finish(
        figure,
        f"{day.cameras} cameras, {day.people} people, {day.observations:,} observations in {day.matched_s:.0f} s "
        f"({day.observations_per_s:,.0f} per second)",
        file,
    )
