"""Measure every installed engine on the same images: images per second and difference from float32.

Engines are called in rotation, so that all meet the same load; a rate is that of the median call. Images go in as bytes
and answers come out in main memory, as in the daemon.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid_stream.bundles.bundle import Bundle, EmbedderBundle
from reid_stream.bundles.network_file import is_openvino_only, network_file
from reid_stream.config.settings import Models
from reid_stream.engines.accuracy_check import Kind, compare
from reid_stream.engines.load import load_engine
from reid_stream.engines.plan_check import pixels_of
from reid_stream.engines.protocol import PixelEngine
from reid_stream.engines.tensorrt_library import gpu_arch, library_for
from reid_stream.errors import ModelError
from reid_stream.images import UInt8

BATCHES = {"detector": (1, 4, 16), "embedder": (1, 16, 64)}
_WARM_UP = 3
_LEAST_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class EngineSpeed:
    """One engine with one batch size."""

    network: str
    engine: str
    batch: int
    pictures_per_s: float
    share: float
    """Rate as a share of that of the fastest engine with this batch."""
    difference: float
    """Largest |found - float32| / |float32| of an image."""


def engines_of(bundle: Bundle, folder: Path, threads: int) -> Iterator[PixelEngine]:
    """Yield the engines that run a bundle here, float32 on the CPU first."""
    model, pixels = network_file(folder), pixels_of(bundle)
    wanted = [("openvino", "f32"), ("openvino", "bf16"), ("onnx", "f32"), ("torch", "auto")]
    for engine, precision in wanted:
        try:
            settings = Models.model_validate({"engine": engine, "precision": precision, "threads": threads})
            yield load_engine(model, settings, pixels=pixels)
        except ModelError:
            if (engine, precision) == wanted[0]:
                raise
    arch = gpu_arch()
    if arch is None or is_openvino_only(folder):
        return
    from reid_stream.engines.build import get_plan, key_of
    from reid_stream.engines.plan_cache import PlanCache
    from reid_stream.engines.tensorrt_engine import TensorRtEngine

    try:
        key = key_of(bundle, folder, library_for(arch, arch), arch, "f16")
        plan = get_plan(key, model, PlanCache(), report=lambda _text: None).plan
        yield TensorRtEngine(plan, key, model, pixels=pixels)
    except ModelError:
        return


def measure(
    bundle: Bundle, folder: Path, *, seconds: float, threads: int = 0, batches: Sequence[int] = ()
) -> list[EngineSpeed]:
    """Measure a bundle's engines, `seconds` for each batch size of all of them.

    Raises:
        ModelError: float32 on the CPU does not run.
    """
    engines = list(engines_of(bundle, folder, threads))
    kind: Kind = "embedder" if isinstance(bundle, EmbedderBundle) else "detector"
    rows: list[EngineSpeed] = []
    for batch in batches or BATCHES[kind]:
        pictures = _pictures(bundle, batch, engines[0].input_shape[2:])
        answers = [engine.images(pictures) for engine in engines]
        differences = [compare(kind, answers[0], answer).difference for answer in answers]
        rates = [batch / taken for taken in _times(engines, pictures, seconds)]
        rows += [
            EngineSpeed(kind, engine.name, batch, rate, rate / max(rates), difference)
            for engine, rate, difference in zip(engines, rates, differences, strict=True)
        ]
    return rows


def _times(engines: Sequence[PixelEngine], pictures: UInt8, seconds: float) -> list[float]:
    """Return the median seconds per call of each engine."""
    taken: list[list[float]] = [[] for _ in engines]
    for _ in range(_WARM_UP):
        for engine in engines:
            engine.images(pictures)
    until = time.perf_counter() + seconds
    while len(taken[0]) < _LEAST_ROUNDS or time.perf_counter() < until:
        for times, engine in zip(taken, engines, strict=True):
            began = time.perf_counter()
            engine.images(pictures)
            times.append(time.perf_counter() - began)
    return [float(np.median(times)) for times in taken]


def _pictures(bundle: Bundle, count: int, fixed: tuple[int | None, ...]) -> UInt8:
    """Return blocks of colour at the usual size of the network: crops, or wide frames where it takes any size."""
    height, width = bundle.input.height, bundle.input.width
    if not isinstance(bundle, EmbedderBundle) and fixed[0] is None:
        height = min(height, -(-width * 9 // 16 // 32) * 32)
    blocks = np.random.default_rng(7).integers(0, 256, (count, -(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return np.ascontiguousarray(blocks.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width])
