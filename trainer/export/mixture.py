"""Mix two networks of one architecture by interpolating their weights: a fine-tuned one with its start.

The mixture keeps much of what both have learned: .65 of a distilled network and .35 of its start brought the
shipped embedder .02 to .04 mAP.

Source: WiSE-FT, Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022 (arXiv 2109.01903).
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.config import TrainSettings, parse
from trainer.errors import TrainerError
from trainer.model.siamese import REDUCTION, load_branch, read_weights
from trainer.provenance import learned_from, origin, recorded_command
from trainer.train import checkpoint
from trainer.train.run_state import RunState

CITATION = "weight interpolation as in WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903"


def mix(first: Path, second: Path, share: float, out: Path) -> Path:
    """Write `share` * first + (1 - share) * second as a checkpoint and return its file.

    Branch and verification head are mixed, running statistics of normalisation included; identification heads are left
    out, since they are not deployed. Settings are those of `first`.

    Args:
        first: a checkpoint, a run's folder, or a bundle's.
        second: another one of the same architecture and input size.
        share: weight of `first`, in [0, 1].
        out: a .pt file, or a folder, into which best.pt is written.

    Raises:
        CheckpointError: one of them cannot be read, or cannot be built from its weights.
        TrainerError: the share is out of range, the networks differ, or `out` exists.
    """
    if not 0 <= share <= 1:
        raise TrainerError(f"--share must be in [0, 1], got {share:g}")
    file = out if out.suffix == ".pt" else out / "best.pt"
    if file.exists():
        raise TrainerError(f"OUT must be new, {file} exists")
    sides = [_Side(path) for path in (first, second)]
    for side in sides:
        if REDUCTION in side.weights:
            raise TrainerError(
                f"networks whose vectors are projected ({REDUCTION}) cannot be mixed, {side.path} is: each has its own "
                "axes; mix networks with descriptors of at most 512 numbers"
            )
    _must_fit(*sides)
    one, other = sides
    mixed = {name: _interpolated(value, other.weights[name], share) for name, value in one.weights.items()}
    text = (
        f"mixture of {share:g} x {one.words} and {1 - share:g} x {other.words}, {CITATION}; "
        f"command `{recorded_command()}`"
    )
    state = replace(
        one.state, best=-1.0, stale=0, curve=(), stopped="", mixed=text,
        start_data=tuple(dict.fromkeys([*learned_from(one.settings, one.state), *one.data, *other.data])),
    )  # fmt: skip
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainerError(f"OUT must be writable, {file.parent}: {error.strerror}") from error
    saved = {"settings": one.settings.model_dump(mode="json"), "facts": state.facts(), "averaged": mixed}
    checkpoint.save(file, saved)
    load_branch(file)
    return file


class _Side:
    """One of the two networks."""

    def __init__(self, path: Path) -> None:
        load_branch(path)  # raises for a broken file
        saved: dict[str, Any] = read_weights(path)
        self.path = path
        self.settings: TrainSettings = parse(saved["settings"], str(path))
        self.state = RunState.of(saved["facts"], str(path))
        self.words, self.data = origin(path)
        self.weights: dict[str, Tensor] = {
            name: value
            for name, value in saved["averaged"].items()
            if name.startswith(("branch.", "verifier.")) and not name.endswith("num_batches_tracked")
        }


def _must_fit(one: _Side, other: _Side) -> None:
    faults = [
        f"data.{key} is {mine} and {theirs}"
        for key in ("height", "width")
        if (mine := getattr(one.settings.data, key)) != (theirs := getattr(other.settings.data, key))
    ]
    shapes, others = ({name: tuple(value.shape) for name, value in side.weights.items()} for side in (one, other))
    different = sorted(name for name in shapes.keys() | others.keys() if shapes.get(name) != others.get(name))
    if different:
        name = different[0]
        faults.append(
            f"{len(different)} weights differ in shape, {name} is {shapes.get(name, 'missing')} and "
            f"{others.get(name, 'missing')}"
        )
    if faults:
        raise TrainerError(
            f"two networks to mix must have one architecture, {one.path} and {other.path} do not: {'; '.join(faults)}"
        )


def _interpolated(first: Tensor, second: Tensor, share: float) -> Tensor:
    if not first.is_floating_point():
        return first
    return torch.lerp(second.float(), first.float(), share)
