"""Initial weights: from a checkpoint of `reid-train fit`, or from a timm or official Res2Net state dict."""

import pickle
import re
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from trainer.errors import TrainerError
from trainer.model.siamese import REDUCTION, Siamese, read_weights

_BLOCK = re.compile(r"(?P<stage>(?:.*\.)?layer\d)\.(?P<block>\d+)\.(?P<rest>.+)")


def warm_start(model: Siamese, path: Path, backbone_only: bool = False) -> list[str]:
    """Load the weights that `path` holds for `model` and return the names of the parts that keep random weights.

    A checkpoint, or a bundle, gives its averaged weights: branch, verification head, and identification
    heads where the persons are as many. A state dict gives the backbone; its classifier is dropped.
    With `backbone_only` a checkpoint gives no more than that, either. Blocks that a deeper network has beyond those of
    `path` start as identities, so that it answers as the shallower one did (Chen et al., "Net2Net", arXiv 1511.05641).

    Raises:
        TrainerError: the file cannot be read, or does not fit the network.
    """
    try:
        saved: object = read_weights(path)
    except OSError as error:
        raise TrainerError(f"model.weights must be readable, {path}: {error.strerror or error}") from error
    except (RuntimeError, EOFError, ValueError, LookupError, pickle.UnpicklingError) as error:  # any bytes are possible
        raise TrainerError(f"model.weights must be a checkpoint or a state dict, {path}: {error}") from error
    if not isinstance(saved, dict):
        raise TrainerError(f"model.weights must be a checkpoint or a state dict, {path} holds {type(saved).__name__}")
    if "averaged" not in saved:
        backbone = {name: value for name, value in saved.items() if not name.startswith(("fc.", "classifier."))}
        _fit(model.branch.backbone.net, _deepened(backbone, model.branch.backbone.net), (), path)
        return ["projection", "neck", "heads", "verifier"]
    own = cast("nn.Module", model).state_dict()
    state = cast("dict[str, Tensor]", saved["averaged"])
    if backbone_only:
        prefix = "branch.backbone."
        kept = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        _fit(model.branch.backbone, _deepened(kept, model.branch.backbone), (), path)
        return ["pool", "projection", "neck", "heads", "verifier"]
    heads = [name for name in own if name.startswith("heads.")]
    fresh = [name for name in heads if name not in state or state[name].shape != own[name].shape]
    # A learned projection is for service; see trainer/model/reduction.py.
    # Projections belong to the teachers of a distillation, and are added later.
    state = {name: value for name, value in state.items() if name != REDUCTION and not name.startswith("projections.")}
    state = {name: value for name, value in state.items() if not name.startswith("heads.") or name in heads}
    state = _deepened(state, cast("nn.Module", model))
    _fit(model, {name: value for name, value in state.items() if name not in fresh}, tuple(fresh), path)
    return fresh


def _deepened(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Return `state` with the blocks that only `module` has: copies of the last block whose residual is scaled by 0.

    Inputs of a block are not negative, so ReLU(x + 0) = x: the copy changes nothing until it is trained.
    """
    blocks: dict[str, int] = {}
    for name in state:
        if found := _BLOCK.fullmatch(name):
            blocks[found["stage"]] = max(blocks.get(found["stage"], 0), int(found["block"]))
    added = {}
    for name in module.state_dict():
        found = _BLOCK.fullmatch(name)
        if not found or int(found["block"]) <= blocks.get(found["stage"], 0) or not blocks.get(found["stage"]):
            continue  # A stage of one block has none to copy: its first block changes size.
        last = state.get(f"{found['stage']}.{blocks[found['stage']]}.{found['rest']}")
        if last is not None:
            added[name] = last * 0 if found["rest"] in ("bn3.weight", "bn3.bias") else last.clone()
    return {**state, **added}


def _fit(module: nn.Module, state: dict[str, Tensor], fresh: tuple[str, ...], path: Path) -> None:
    try:
        missing, unexpected = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise TrainerError(f"model.weights must fit the network, {path}: {error}") from error
    missing = [name for name in missing if name not in fresh and not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise TrainerError(
            f"model.weights must name the network's parameters, {path} lacks {missing[:3]} and adds {unexpected[:3]}"
        )
