"""Compare a compiled plan with float32 on its GPU before it serves.

The reference is the same ONNX file run by the CPU engine in float32. Images are the bundle's probe with many seeds
and, where there are any, real crops or frames: of the cameras themselves when a daemon swaps engines.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from reid_stream.bundles.bundle import MODEL_FILE, Bundle, EmbedderBundle, probe_input
from reid_stream.config.settings import Models
from reid_stream.engines.accuracy_check import Kind, Parity, compare, worst
from reid_stream.engines.openvino import OpenVinoEngine
from reid_stream.engines.plan_cache import PlanCache, PlanKey
from reid_stream.engines.protocol import Engine, Floats, Pixels, to_numbers
from reid_stream.images import UInt8

_SEEDS = {"embedder": 16, "detector": 2}


def pixels_of(bundle: Bundle) -> Pixels:
    """Return the pixel format that a bundle's network expects."""
    if isinstance(bundle, EmbedderBundle):
        mean, std = (tuple(255 * value for value in values) for values in (bundle.input.mean, bundle.input.std))
        return Pixels(mean=(mean[0], mean[1], mean[2]), scale=(std[0], std[1], std[2]), colour=bundle.input.colour)
    scale = 255.0 / bundle.input.scale
    return Pixels(scale=(scale, scale, scale), colour=bundle.input.colour)


def compare_engines(bundle: Bundle, folder: Path, engine: Engine, pictures: Sequence[UInt8] = ()) -> Parity:
    """Compare an engine with float32 on probes and on real images, RGB (n, h, w, 3) of one size per item.

    Raises:
        ModelError: an engine refuses an image.
    """
    reference = OpenVinoEngine(folder / MODEL_FILE, Models(engine="openvino", precision="f32"))
    pixels = pixels_of(bundle)
    probes = np.concatenate([probe_input(bundle, seed) for seed in range(_SEEDS[bundle.kind])])
    found = [_compare(bundle, reference, engine, probes, is_ranked=False)]
    for batch in pictures:
        found.append(_compare(bundle, reference, engine, to_numbers(batch, pixels), is_ranked=True))
    return worst(found)


def check_plan(
    bundle: Bundle, folder: Path, key: PlanKey, plan: bytes, plans: PlanCache, pictures: Sequence[UInt8] = ()
) -> Parity:
    """Load a plan on this machine's GPU, compare it with float32 and remember how it did.

    Raises:
        ModelError: the plan cannot be loaded or run here.
    """
    from reid_stream.engines.tensorrt_engine import TensorRtEngine

    engine = TensorRtEngine(plan, key, folder / MODEL_FILE, pixels=pixels_of(bundle), runtime_cache=plans.kernels(key))
    parity = compare_engines(bundle, folder, engine, pictures)
    engine.keep_kernels()
    with suppress(OSError):  # looked at again at the next start
        plans.remember(key, plan, parity)
    return parity


def _compare(bundle: Bundle, reference: Engine, engine: Engine, batch: Floats, *, is_ranked: bool) -> Parity:
    kind: Kind = "embedder" if isinstance(bundle, EmbedderBundle) else "detector"
    return compare(kind, reference(batch), engine(batch), is_ranked=is_ranked)
