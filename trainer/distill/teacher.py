"""Open a teacher network of any format: crops -> vectors, and a hash of its files and input settings.

Letters: n images, h and w pixels, d dimensions.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid_stream.embed.preprocess import Floats, InputSpec, UInt8, normalise, resize
from trainer.distill.settings import Teacher
from trainer.errors import TrainerError

BATCH = 32


@dataclass(frozen=True, eq=False)
class OpenTeacher:
    """A loaded teacher."""

    name: str
    """Name in messages and cards."""
    hash: str
    """Hash of its files and its input settings."""
    dim: int
    """Length of its vectors."""
    weight: float
    """Share of the losses."""
    embed: Callable[[UInt8], Floats]
    """(n, h, w, 3) RGB uint8 of any size -> (n, d) float32, not normalised."""


def open_teacher(settings: Teacher, precision: str, threads: int | None = None) -> OpenTeacher:
    """Open a bundle, a checkpoint, an ONNX file or an OpenVINO IR.

    Raises:
        TrainerError: it is none of these, or its files are broken.
    """
    path = settings.path
    if path.suffix == ".xml":
        return _openvino_ir(settings, precision, threads)
    from trainer.evaluate.network import open_network  # late: it loads the daemon's engines

    network = open_network(path, precision, threads)
    spec = network.spec

    def embed(views: UInt8) -> Floats:
        return network.embed(_sized(views, spec), False)

    probe = embed(np.zeros((1, spec.height, spec.width, 3), np.uint8))
    files = sorted(path.glob("*.onnx")) + sorted(path.glob("best.pt")) if path.is_dir() else [path]
    return OpenTeacher(network.name, _hash(files, settings), probe.shape[1], settings.weight, embed)


def _openvino_ir(settings: Teacher, precision: str, threads: int | None) -> OpenTeacher:
    import openvino

    path, weights = settings.path, settings.path.with_suffix(".bin")
    for file in (path, weights):
        if not file.is_file():
            raise TrainerError(f"an OpenVINO network must have its .xml and its .bin, {file} is missing")
    try:
        model = openvino.Core().read_model(path, weights)
        if len(model.inputs) != 1 or len(model.outputs) != 1 or model.input(0).partial_shape.rank.get_length() != 4:
            raise TrainerError(
                f"a teacher must have one image input and one output, {path} has {len(model.inputs)} and "
                f"{len(model.outputs)}"
            )
        height, width = (model.input(0).partial_shape[axis].get_length() for axis in (2, 3))
        model.reshape([BATCH, 3, height, width])
        options = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": "1"}
        if threads:
            options["INFERENCE_NUM_THREADS"] = str(threads)
        compiled = openvino.Core().compile_model(model, "CPU", options)
    except RuntimeError as error:
        raise TrainerError(
            f"an OpenVINO network must be readable, {path}: {str(error).strip().splitlines()[-1]} "
            f"({weights.name} has {weights.stat().st_size} bytes: is it whole?)"
        ) from error
    shape = [int(length) for length in compiled.output(0).shape]
    if len(shape) != 2:
        raise TrainerError(f"a teacher must give vectors (b, d), {path} gives {shape}")
    spec = InputSpec(height, width, settings.mean, settings.std, settings.colour)

    def embed(views: UInt8) -> Floats:
        parts = []
        for start in range(0, len(views), BATCH):
            batch = normalise(_sized(views[start : start + BATCH], spec), spec)
            full = np.zeros((BATCH, *batch.shape[1:]), np.float32)
            full[: len(batch)] = batch
            parts.append(np.array(compiled(full)[0][: len(batch)], dtype=np.float32))
        return np.concatenate(parts) if parts else np.empty((0, shape[1]), np.float32)

    return OpenTeacher(path.stem, _hash([path, weights], settings), shape[1], settings.weight, embed)


def _sized(views: UInt8, spec: InputSpec) -> UInt8:
    return np.stack([resize(view, spec.height, spec.width) for view in views])


def _hash(files: list[Path], settings: Teacher) -> str:
    found = hashlib.sha256(repr((settings.colour, settings.mean, settings.std)).encode())
    try:
        for file in files:
            found.update(file.read_bytes())
    except OSError as error:
        raise TrainerError(f"a teacher must be readable, {error.filename}: {error.strerror}") from error
    return found.hexdigest()[:16]
