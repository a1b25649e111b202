"""Crops of many cameras -> unit vectors, in few calls of the network."""

from collections.abc import Sequence

import numpy as np

from reid_stream.bundles.bundle import EmbedderInput
from reid_stream.config.settings import Embed
from reid_stream.embed.preprocess import InputSpec, resize
from reid_stream.engines.protocol import Engine, Pixels, device_engine, run_images
from reid_stream.errors import ModelError
from reid_stream.images import Picture, host
from reid_stream.records import Floats


def spec_of(bundle_input: EmbedderInput) -> InputSpec:
    """Return a bundle's input section as what `preprocess` takes."""
    return InputSpec(
        height=bundle_input.height,
        width=bundle_input.width,
        mean=bundle_input.mean,
        std=bundle_input.std,
        colour=bundle_input.colour,
    )


def pixels_of(spec: InputSpec) -> Pixels:
    """Return what an engine should do to resized crops, for `load_engine`; the same as `preprocess.normalise`."""
    mean, scale = (tuple(value * 255 for value in values) for values in (spec.mean, spec.std))
    return Pixels(mean=(mean[0], mean[1], mean[2]), scale=(scale[0], scale[1], scale[2]), colour=spec.colour)


class Embedder:
    """Turn crops into vectors. Not thread-safe: one buffer is used again and again."""

    def __init__(self, engine: Engine, spec: InputSpec, dim: int, settings: Embed) -> None:
        """Check that network and spec belong together.

        Raises:
            ModelError: they do not.
        """
        self._engine, self._spec, self._dim = engine, spec, dim
        self._pixels = pixels_of(spec)
        height, width = engine.input_shape[2:]
        if height not in (None, spec.height) or width not in (None, spec.width):
            raise ModelError(
                f"the embedder must take {spec.width}x{spec.height} as its bundle says, its network takes "
                f"{width}x{height}; make the bundle again"
            )
        if len(engine.output_shape) != 2 or engine.output_shape[1] not in (None, dim):
            raise ModelError(
                f"the embedder must answer (b, {dim}) as its bundle says, its network answers {engine.output_shape}; "
                "make the bundle again"
            )
        self._images = np.empty((settings.max_batch, spec.height, spec.width, 3), dtype=np.uint8)

    def __call__(self, crops: Sequence[Picture]) -> Floats:
        """Return unit vectors (n, d) float32 of RGB crops (h, w, 3) of any size; n may be 0.

        Raises:
            ModelError: the network's answer has another width, no length, or a NaN.
        """
        vectors = np.empty((len(crops), self._dim), dtype=np.float32)
        step, engine = len(self._images), device_engine(self._engine, self._pixels)
        there = [] if engine is None else [row for row, crop in enumerate(crops) if not isinstance(crop, np.ndarray)]
        here = [row for row in range(len(crops)) if engine is None or isinstance(crops[row], np.ndarray)]
        for rows in (some[start : start + step] for some in (there, here) for start in range(0, len(some), step)):
            chunk = [crops[row] for row in rows]
            devices = [crop for crop in chunk if not isinstance(crop, np.ndarray)]
            if engine is not None and len(devices) == len(chunk):
                answer = engine.vectors(devices, (self._spec.height, self._spec.width))
            else:
                answer = self._run(chunk)
            if answer.shape != (len(chunk), self._dim):
                raise ModelError(f"the embedder must answer ({len(chunk)}, {self._dim}), got {answer.shape}")
            vectors[rows] = answer
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.all(np.isfinite(lengths) & (lengths > 0)):
            raise ModelError("the embedder's vectors must be finite and not zero; try models.precision f32")
        return np.asarray(vectors / lengths, dtype=np.float32)

    def _run(self, crops: Sequence[Picture]) -> Floats:
        for index, crop in enumerate(crops):
            self._images[index] = resize(host(crop), self._spec.height, self._spec.width)
        return run_images(self._engine, self._images[: len(crops)], self._pixels)
