"""Learning curves of runs: what their files hold, drawn and summed up."""

import json
from pathlib import Path

import pytest

from trainer.config import dump
from trainer.errors import DataError
from trainer.evaluate import plots
from trainer.evaluate.learning_curves import read_curve, summary
from trainer.train import checkpoint
from trainer.train.recipe import recipe
from trainer.train.run_state import RunState


def run(folder: Path, steps: int, written: int, terms: tuple[str, ...] = ("metric",)) -> Path:
    """A run whose last checkpoint is at `steps`, with losses up to `written`."""
    folder.mkdir()
    settings = recipe("strong")
    (folder / "settings.yaml").write_text(dump(settings))
    lines = [{"step": n, "loss": 10.0 / n, **dict.fromkeys(terms, 1.0)} for n in range(1, written + 1)]
    (folder / "losses.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 99, "lo')
    curve = ({"step": steps, "seconds": 1800.0, "mAP": 0.4, "rank1": 0.5, "cuhk03-pair4.mAP": 0.3},)
    state = RunState(step=steps, seconds=1800.0, curve=curve)
    checkpoint.save(folder / "last.pt", {"settings": settings.model_dump(mode="json"), "facts": state.facts()})
    return folder


def test_a_curve_ends_at_the_last_checkpoint_and_leaves_out_what_a_kill_tore(tmp_path: Path) -> None:
    curve = read_curve(run(tmp_path / "a", steps=5, written=7))
    assert curve.losses["loss"].tolist() == [10.0 / n for n in range(1, 6)]
    assert (curve.steps, curve.images, curve.hours) == (5, 5 * 64, 0.5)


def test_runs_are_summed_up_and_drawn_one_after_another(tmp_path: Path) -> None:
    curves = [
        read_curve(run(tmp_path / "a", 5, 5)),
        read_curve(run(tmp_path / "b", 3, 3, ("metric", "pairs"))),
    ]
    assert summary(curves)[-1] == "together: 8 steps, 512 images, 1.0 h"
    plots.learning_curves(curves, tmp_path / "curves.svg", window=2)
    drawn = (tmp_path / "curves.svg").read_text()
    assert drawn.startswith("<?xml")
    assert drawn.count("<path") > 20


def test_a_run_without_losses_is_named(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", 5, 5)
    (folder / "losses.jsonl").unlink()
    with pytest.raises(DataError, match=r"must have its losses, .*losses.jsonl"):
        read_curve(folder)
    (folder / "losses.jsonl").write_text("")
    with pytest.raises(DataError, match="has none up to step 5"):
        read_curve(folder)
