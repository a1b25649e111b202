"""Perception output of one site, kept for daemons that are killed and restarted: recorded or simulated.

Every daemon of the drill reads this file; decoding and networks are not tested here.
"""

from pathlib import Path

import msgspec
import numpy as np
from pydantic import SecretStr

from benchmarks.faults.redis_feed import RUN, RecordedFeed
from benchmarks.simulator.looks import drawn
from benchmarks.simulator.recorded import recording
from benchmarks.simulator.scenario import Scenario
from benchmarks.simulator.world import simulate
from reid_stream.bundles import catalog
from reid_stream.config.settings import Camera, Match, Publish, Redis, Settings, SpoolSettings, StateSettings
from reid_stream.evaluation.recording import Recording, load
from reid_stream.records import CameraId

SITE = "drill"


def made_up(people: int, cameras: int = 3) -> Recording:
    """Simulate people who walk through a few cameras in quick succession."""
    bundle = catalog.embedder("default")[1]
    scenario = Scenario(
        cameras=cameras,
        people=people,
        arrivals_per_hour=3600,
        cameras_passed=2,
        in_view_s=4,
        transit_s=(2, 6),
        pause_share=0,
        return_share=0,
        look_alikes=0.3,
    )
    looks = drawn(people, cameras, 3, bundle.dim, np.random.default_rng(1), bundle.hash)
    return recording(simulate(scenario, looks), bundle, "made up")


def feed(file: Path) -> RecordedFeed:
    """Read the recording that all daemons of the drill are fed with."""
    kept = load(file)
    # The daemon's own run: it continues tracks of that run, and ends those of others.
    batches = [[msgspec.structs.replace(record, run=RUN) for record in batch.records] for batch in kept.batches]
    return RecordedFeed(tuple(CameraId(name) for name in kept.cameras), kept.embedder, batches)


def settings(fed: RecordedFeed, url: str, spool: Path, snapshot_s: float) -> Settings:
    """Return the settings of a daemon that is fed with it."""
    return Settings(
        site=SITE,
        redis=Redis(url=SecretStr(url)),
        cameras=tuple(Camera(id=str(name), url=SecretStr(f"{name}.memory")) for name in fed.cameras),
        match=Match(),
        # Frequent events, so that a loss shows.
        publish=Publish(seen_interval_s=0.4),
        spool=SpoolSettings(directory=spool),
        state=StateSettings(snapshot_s=snapshot_s),
    )


__all__ = ["RUN", "SITE", "feed", "made_up", "settings"]
