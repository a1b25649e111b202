"""A trained network from wherever it lies -> unit vectors, and the verification head's metric.

    checkpoint or run -> torch;  bundle folder or ONNX file -> the daemon's own engine, at the daemon's precision

Letters: n images, h and w pixels, d dimensions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid_stream.bundles.bundle import BUNDLE_FILE, Calibration, EmbedderInput, Verifier, load_embedder
from reid_stream.bundles.network_file import network_file
from reid_stream.config.settings import Models
from reid_stream.embed.preprocess import Floats, InputSpec, UInt8, normalise
from reid_stream.engines.load import load_engine
from reid_stream.engines.protocol import PixelEngine
from reid_stream.errors import ModelError
from trainer.errors import TrainerError

BATCH = 64


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """Network under evaluation: images to vectors, and the score of a difference of vectors."""

    name: str
    """Name in tables."""
    spec: InputSpec
    """Size and colours of the images."""
    embed: Callable[[UInt8, bool], Floats]
    """(images (n, h, w, 3) RGB uint8, average with the mirror image) -> (n, d) float32 of unit length."""
    verifier: Verifier
    """The trained head; of a network without one, all dimensions weigh the same."""
    calibration: Calibration | None
    """Calibration of a bundle."""
    precision: str
    """Arithmetic: f32 or bf16."""


def open_network(path: Path, precision: str = "auto", threads: int | None = None) -> TrainedNetwork:
    """Open a checkpoint, a run's folder, a bundle's folder or name (`default`: the shipped one) or an ONNX file.

    Raises:
        TrainerError: it is none of these, or broken.
    """
    try:
        path = named_bundle(path)
        if (path / BUNDLE_FILE).is_file():
            return _bundle(path, precision, threads)
        if path.suffix == ".onnx":
            return _onnx(path, precision, threads)
        if path.suffix == ".pt" or (path / "best.pt").is_file():
            return _checkpoint(path, threads)
    except ModelError as error:
        raise TrainerError(str(error)) from error
    raise TrainerError(
        f"a network must be a checkpoint (.pt), a run, a bundle's folder or name, or an .onnx file, got {path}"
    )


def named_bundle(path: Path) -> Path:
    """Return the folder of a known bundle where a path is its name, or that of the embedder for `default`.

    Any other path is returned as it is.
    """
    if path.exists() or len(path.parts) != 1 or path.suffix:
        return path
    from reid_stream.bundles import catalog

    try:
        return catalog.find(str(path), "embedder")
    except ModelError:
        return path


def folded(vectors: Floats, verifier: Verifier) -> Floats:
    """Return d f: vectors (n, d) whose L2 distances rank as the verification head does."""
    return vectors * np.asarray(verifier.d, dtype=np.float32)


def unit(vectors: Floats) -> Floats:
    """Return vectors (n, d) at unit length."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)


def run_engine(engine: PixelEngine, images: UInt8, spec: InputSpec, flip: bool = False) -> Floats:
    """Return unit vectors (n, d) of images (n, h, w, 3) by an engine."""
    parts = []
    for start in range(0, len(images), BATCH):
        batch = normalise(images[start : start + BATCH], spec)
        vectors = engine(batch)
        if flip:
            vectors = vectors + engine(np.ascontiguousarray(batch[..., ::-1]))
        parts.append(unit(vectors))
    return np.concatenate(parts)


def folded_verifier(v: Floats, b: float, train_prior: float) -> Verifier:
    """Fold a trained head into factors of the vectors: d = sqrt(softplus(v))."""
    weights = np.logaddexp(0, v.astype(np.float64))
    return Verifier(d=[float(value) for value in np.sqrt(weights)], b=float(b), train_prior=train_prior)


def input_spec(found: EmbedderInput) -> InputSpec:
    """Return a bundle's input as preprocessing settings."""
    return InputSpec(found.height, found.width, found.mean, found.std, found.colour)


def _bundle(folder: Path, precision: str, threads: int | None) -> TrainedNetwork:
    bundle = load_embedder(folder)
    spec = input_spec(bundle.input)
    engine = load_engine(network_file(folder), _settings(precision, threads), size=(spec.height, spec.width))
    return TrainedNetwork(
        bundle.name,
        spec,
        lambda images, flip: run_engine(engine, images, spec, flip),
        bundle.verifier,
        bundle.calibration,
        engine.name.split()[-1],
    )


def _onnx(file: Path, precision: str, threads: int | None) -> TrainedNetwork:
    engine = load_engine(file, _settings(precision, threads))
    height, width = (engine.input_shape[2] or 256, engine.input_shape[3] or 128)
    spec, dim = InputSpec(height, width), engine.output_shape[-1]
    if dim is None or len(engine.output_shape) != 2:
        raise ModelError(f"a re-ID network must give (b, d) vectors, {file} gives {engine.output_shape}")
    uniform = Verifier(d=[10.0**0.5] * dim, b=10.0, train_prior=0.5)
    return TrainedNetwork(
        file.stem,
        spec,
        lambda images, flip: run_engine(engine, images, spec, flip),
        uniform,
        None,
        engine.name.split()[-1],
    )


def _checkpoint(path: Path, threads: int | None) -> TrainedNetwork:
    import torch

    from trainer.evaluate.embedding import embed
    from trainer.model.siamese import load_branch

    if threads:
        torch.set_num_threads(threads)
    loaded = load_branch(path)
    verifier = folded_verifier(
        loaded.verifier.v.detach().numpy(), float(loaded.verifier.b.detach()), loaded.train_prior
    )
    return TrainedNetwork(
        path.name if path.is_dir() else f"{path.parent.name}/{path.name}",
        loaded.spec,
        lambda images, flip: embed(loaded.branch, images, loaded.spec, flip=flip, batch=BATCH),
        verifier,
        None,
        "f32",
    )


def _settings(precision: str, threads: int | None) -> Models:
    return Models.model_validate({"precision": precision, **({"threads": threads} if threads else {})})
