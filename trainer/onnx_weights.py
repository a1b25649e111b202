"""A bundle's network as a place to go on from: its ONNX file names every weight and says which network they are of.

Exported without fusing, the file holds the parameters under their own names; with the settings of the run among its
properties the network can be built again, and a site can teach it its own people without any other file.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from reid_stream.bundle import MODEL_FILE, load_embedder
from reid_stream.errors import ModelError
from trainer.config import TrainSettings
from trainer.errors import CheckpointError

_SETTINGS, _FACTS = "reid_train_settings", "reid_train_facts"
_SUFFIXES = (".f16", ".int8-weights")


def describe(content: bytes, settings: TrainSettings, facts: dict[str, Any]) -> bytes:
    """Put the settings and facts of a run into an ONNX file's properties."""
    model = onnx.load_from_string(content)
    network = settings.model.model_copy(update={"weights": None})  # a path of this machine
    kept = settings.model_copy(update={"model": network}).model_dump(mode="json")
    told = {name: value for name, value in facts.items() if name != "curve"}
    onnx.helper.set_model_props(model, {_SETTINGS: json.dumps(kept), _FACTS: json.dumps(told)})
    return bytes(model.SerializeToString())


def read(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint would hold, `settings`, `facts` and `averaged`, from a bundle.

    Raises:
        CheckpointError: it is no embedder of `reid-train export`, or of one that fused its weights.
    """
    try:
        bundle = load_embedder(folder)
    except ModelError as error:
        raise CheckpointError(str(error)) from error
    model = onnx.load(folder / MODEL_FILE)
    told = {item.key: item.value for item in model.metadata_props}
    if _SETTINGS not in told:
        raise CheckpointError(
            f"a bundle to go on from must name its weights, {folder / MODEL_FILE} does not; export its checkpoint again"
        )
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    averaged = {
        f"branch.{_plain(name)}": torch.from_numpy(_values(name, values, tensors))
        for name, values in tensors.items()
        if not name.endswith(".scale")
    }
    weight = np.square(np.asarray(bundle.verifier.d, dtype=np.float64))
    averaged["verifier.v"] = torch.from_numpy(weight + np.log(-np.expm1(-weight)))  # inverse of softplus
    averaged["verifier.b"] = torch.tensor(bundle.verifier.b)
    return {"settings": json.loads(told[_SETTINGS]), "facts": json.loads(told[_FACTS]), "averaged": averaged}


def _plain(name: str) -> str:
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _values(name: str, values: np.ndarray, tensors: dict[str, np.ndarray]) -> np.ndarray:
    """Return float32; an int8 tensor is scaled by output channel, the axis of the scale's length."""
    scale = tensors.get(f"{name}.scale")
    whole = values.astype(np.float32)
    if scale is None:
        return whole
    axis = whole.shape.index(len(scale))
    return np.asarray(whole * scale.reshape([-1 if index == axis else 1 for index in range(whole.ndim)]), np.float32)
