"""Checkpoints: written whole or not at all, so that a kill or a full disk costs no earlier one.

`last.pt` holds everything that a resumed run needs; `best.pt` only the averaged weights that validated best. Both
hold `settings`, `facts` (step, seconds, persons, validation curve) and `averaged`, which `siamese.load_branch` reads.
"""

import errno
import io
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from trainer.errors import CheckpointError


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace `path` by `state` in one step."""
    memory = io.BytesIO()
    torch.save(state, memory)
    part = path.with_suffix(".part")
    try:
        with part.open("wb") as file:
            file.write(memory.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        kept = f"the earlier {path} is intact" if path.exists() else "there is no earlier one"
        size = memory.getbuffer().nbytes / 2**20
        raise CheckpointError(
            f"a checkpoint needs {size:.0f} MiB in {path.parent}, {error.strerror}; {kept}; make room, then --resume"
        ) from error


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote into last.pt.

    Raises:
        CheckpointError: it is missing, damaged, or no last.pt.
    """
    state = _read(path)
    if not {"settings", "facts", "model", "averaged", "optimiser"} <= set(state):
        raise CheckpointError(f"{path} must be a last.pt of reid-train fit, it holds something else")
    return state


def load_facts(path: Path) -> dict[str, Any]:
    """Read the `facts` of a last.pt or best.pt.

    Raises:
        CheckpointError: it is missing, damaged, or no checkpoint of a run.
    """
    facts = _read(path, mmap=True).get("facts")
    if not isinstance(facts, dict):
        raise CheckpointError(f"{path} must be a checkpoint of reid-train fit, it holds something else")
    return facts


def _read(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Read what `save` wrote, as a dict; with `mmap` no tensor is read before it is used."""
    try:
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "no regular file")  # a pipe may never give anything
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except OSError as error:
        raise CheckpointError(
            f"--resume needs a checkpoint, {path}: {error.strerror or error}; without one start without --resume"
        ) from error
    except (
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        pickle.UnpicklingError,
    ) as error:  # a damaged file can raise any of these
        raise CheckpointError(f"{path} must be a whole checkpoint: {error}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} must be a checkpoint of reid-train fit, it holds something else")
    return state
