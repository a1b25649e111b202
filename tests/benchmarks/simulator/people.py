"""Synthetic looks: unit vectors around a direction per person and a smaller one per view."""

import numpy as np

from benchmarks.simulator.journeys import Doubles
from benchmarks.simulator.looks import Looks, looks_of
from benchmarks.simulator.scenario import CALM, Scenario
from reid_stream.records import Floats

MODEL = "bundle-a"


def looks(people: int = 12, views: int = 3, crops: int = 3, dim: int = 32, noise: float = 0.3, seed: int = 0) -> Looks:
    rng = np.random.default_rng(seed)

    def unit(vectors: Doubles) -> Floats:
        return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)

    true = unit(rng.normal(size=(people, 1, 1, dim)))
    vectors = unit(true + noise * unit(rng.normal(size=(people, views, crops, dim))))
    names = [(f"{p:03}", f"{v}") for p in range(people) for v in range(views) for _ in range(crops)]
    return looks_of(vectors.reshape(-1, dim), [p for p, _ in names], [v for _, v in names], MODEL)


def calm(**changes: object) -> Scenario:
    """Few people, nothing that spoils observations."""
    return Scenario.model_validate({**CALM, "people": 12, "cameras": 3, "dropped_frames": 0, **changes})
