"""Describe the origin of weights in words: teachers, data sets, hours, images seen, command, start.

checkpoint -> describe, learned_from -> `source` and `data` of bundle.json, and the model card
"""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from reid_stream.bundles.bundle import BUNDLE_FILE, load_embedder
from reid_stream.errors import ModelError
from trainer.config import ModelSettings, TrainSettings, parse
from trainer.distill.settings import Teacher
from trainer.errors import CheckpointError
from trainer.train.recipe import run_length
from trainer.train.run_state import RunState

_LOCAL_OPTIONS = frozenset({"--out", "--data"})
# An absolute or home path, within a word too: `distill.teachers=[{path: /data/0277.xml}]`.
_LOCAL_PATH = re.compile(r"(?<![\w.~-])~?/(?:[^\s,:;'\"\]})/]+/)*([^\s,:;'\"\]})/]*)")


def recorded_command(words: Sequence[str] | None = None) -> str:
    """Return the command line for a record: without `--out` and `--data`, absolute paths cut to their last part.

    >>> recorded_command(["fit", "--out", "/home/me/run", "--set", "model.weights=/home/me/best.pt", "--resume"])
    'reid-train fit --set model.weights=best.pt --resume'
    """
    kept, given = ["reid-train"], list(sys.argv[1:] if words is None else words)
    for previous, word in zip(["", *given], given, strict=False):
        if previous not in _LOCAL_OPTIONS and word.split("=")[0] not in _LOCAL_OPTIONS:
            kept.append(_LOCAL_PATH.sub(r"\1", word))
    return shlex.join(kept)


def describe(settings: TrainSettings, state: RunState, run: str) -> str:
    """Return how a network was made, in one paragraph for bundle.json and the model card.

    Args:
        settings: of the run.
        state: of the run at the checkpoint.
        run: name of the run.
    """
    if state.mixed:
        return state.mixed
    sets = ", ".join(_LOCAL_PATH.sub(r"\1", name) for name in settings.data.sets)
    persons, seen = sum(state.persons_per_domain), state.step * settings.batch_size
    parts = [
        f"reid-train fit, run {run}: {network_of(settings.model)}",
        run_length(settings),
        f"{state.images:,} images{f' of {persons:,} persons' if persons else ''} in {sets}",
        f"teachers {', '.join(map(teacher_name, settings.distill.teachers))}" if settings.distill.teachers else "",
        f"{state.step:,} steps of {settings.batch_size} images, {seen:,} images seen",
        f"{state.seconds / 3600:.2f} hours",
        f"seed {state.seed}",
        f"command `{state.command}`" if state.command else "",
        f"started from {_start_of(settings, state)[0]}",
    ]
    return "; ".join(part for part in parts if part)


def learned_from(settings: TrainSettings, state: RunState) -> list[str]:
    """Return the data sets and teachers of a network, those of its start included, each once."""
    teachers = [f"teacher {teacher_name(teacher)}" for teacher in settings.distill.teachers]
    return list(dict.fromkeys([*state.domains, *teachers, *_start_of(settings, state)[1]]))


def origin(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return what a bundle, a checkpoint or a run is, in words, and what it learned from.

    A plain state dict, as timm publishes, is known by its file name alone.

    Raises:
        CheckpointError: it cannot be read.
    """
    from trainer.model.siamese import read_weights  # late: torch

    if (path / BUNDLE_FILE).is_file():
        try:
            bundle = load_embedder(path)
        except ModelError as error:
            raise CheckpointError(str(error)) from error
        return f"the bundle {bundle.name} {bundle.hash[:12]} ({bundle.source})", tuple(bundle.data)
    try:
        saved = read_weights(path)
    except OSError as error:
        raise CheckpointError(f"a checkpoint must be readable, {path}: {error.strerror or error}") from error
    if "facts" not in saved or not saved.get("settings"):
        return f"the weights {path.name}", ()
    settings, state = parse(saved["settings"], str(path)), RunState.of(saved["facts"], str(path))
    return f"[{describe(settings, state, run_name(path))}]", tuple(learned_from(settings, state))


def run_name(checkpoint: Path) -> str:
    """Return the name of the run that a checkpoint, a file or the run's folder, belongs to."""
    return checkpoint.name if checkpoint.is_dir() else checkpoint.resolve().parent.name


def teacher_name(teacher: Teacher) -> str:
    """Return a teacher's name and its weight."""
    name = teacher.path.name if teacher.path.name != "best.pt" else teacher.path.parent.name
    return f"{Path(name).stem if Path(name).suffix in ('.xml', '.onnx', '.pt') else name} (weight {teacher.weight:g})"


def network_of(settings: ModelSettings) -> str:
    """Return backbone, width and descriptor in words."""
    blocks = f" {settings.layers}" if settings.backbone == "res2net" else ""
    regions = f" over {settings.regions}" if settings.descriptor == "magnifier" else ""
    return f"{settings.backbone}{blocks} at width {settings.width:g}, descriptor {settings.descriptor}{regions}"


def _start_of(settings: TrainSettings, state: RunState) -> tuple[str, tuple[str, ...]]:
    """Return the start as recorded, or of runs of older versions, which recorded none, as read from its file."""
    start = settings.model.weights
    if state.start or state.mixed or start is None:
        return state.start or "random weights", state.start_data
    return origin(start) if start.exists() else (f"{start.parent.name}/{start.name}", ())
