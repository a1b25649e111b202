"""Training weights in a bundle's ONNX file: every weight under its own name, and the settings of the run.

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
from torch import nn

from reid_stream.bundles.bundle import MODEL_FILE, load_embedder
from reid_stream.errors import ModelError
from trainer.config import TrainSettings
from trainer.errors import CheckpointError
from trainer.train.run_state import RunState

_SETTINGS, _FACTS, _SHARED = "reid_train_settings", "reid_train_facts", "reid_train_shared"
_SUFFIXES = (".f16", ".int8-weights")


def describe(content: bytes, branch: nn.Module, run: TrainSettings, state: RunState) -> bytes:
    """Write the settings and facts of a run into the properties of its branch as ONNX, float32."""
    model = onnx.load_from_string(content)
    network = run.model.model_copy(update={"weights": None})  # paths of this machine stay out
    data = run.data
    data = data.model_copy(update={"regions": data.regions and Path(data.regions.name)})
    plan = run.distill
    teachers = tuple(teacher.model_copy(update={"path": Path(teacher.path.name)}) for teacher in plan.teachers)
    folders = tuple(Path(folder.name) for folder in plan.unlabelled)
    plan = plan.model_copy(update={"teachers": teachers, "unlabelled": folders, "cache": None})
    kept = run.model_copy(update={"model": network, "data": data, "distill": plan})
    settings = kept.model_dump(mode="json")
    facts = {name: value for name, value in state.facts().items() if name != "curve"}
    properties = {_SETTINGS: settings, _FACTS: facts, _SHARED: _shared(model, branch)}
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in properties.items()})
    return bytes(model.SerializeToString())


def _shared(model: onnx.ModelProto, branch: nn.Module) -> dict[str, str]:
    """Return which parameters the exporter left out because others are equal: name -> the other's name.

    The shifts of a block's last normalisation and of its shortcut are added up, so both learn the same values.
    """
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    left_out = {
        name: value.numpy()
        for name, value in branch.state_dict().items()
        if name not in kept and not name.endswith("num_batches_tracked")
    }
    return {
        name: next(other for other, values in kept.items() if np.array_equal(values, value))
        for name, value in left_out.items()
    }


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
    properties = {item.key: item.value for item in model.metadata_props}
    if _SETTINGS not in properties:
        raise CheckpointError(
            f"a bundle to train from must name its weights, {folder / MODEL_FILE} does not; export its checkpoint again"
        )
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    averaged = {
        f"branch.{_plain(name)}": torch.from_numpy(_values(name, values, tensors))
        for name, values in tensors.items()
        if not name.endswith(".scale")
    }
    for name, other in json.loads(properties[_SHARED]).items():
        averaged[f"branch.{name}"] = averaged[f"branch.{other}"].clone()
    weight = np.square(np.asarray(bundle.verifier.d, dtype=np.float64))
    averaged["verifier.v"] = torch.from_numpy(weight + np.log(-np.expm1(-weight)))  # inverse of softplus
    averaged["verifier.b"] = torch.tensor(bundle.verifier.b)
    return {
        "settings": json.loads(properties[_SETTINGS]),
        "facts": json.loads(properties[_FACTS]),
        "averaged": averaged,
    }


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
