"""The first losses of the papers' recipes on synthetic persons: a change that moves them changes the recipe.

Rewritten by `REID_STREAM_WRITE_GOLDEN=1 pytest tests/trainer/train/test_recipe_losses.py`.
"""

import json
import os
from pathlib import Path

import pytest

from trainer.train.loop import train
from trainer.train.recipe import recipe

GOLDEN = Path(__file__).parents[2] / "golden"
SMALL = (
    "data.sets=['synthetic:12']", "data.validation_ids=4", "data.height=32", "data.width=32", "model.backbone=res2net",
    "model.layers=[1, 1, 1, 1]", "model.width=0.125", "model.base_width=32", "model.dim=16", "sampler.persons=4",
    "sampler.images=2", "sampler.pairs=4", "optimiser.epochs=null", "optimiser.nominal_epochs=256",
    "optimiser.backbone_lr=1", "optimiser.steps=10", "ranking.triplets=4", "ranking.every=2", "ranking.pool=60",
    "run.precision=fp32", "run.accelerator=cpu", "run.threads=1",
)  # fmt: skip


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["paper", "done_right", "strong"])
def test_the_first_ten_losses_of_a_recipe_are_the_golden_ones(name: str, tmp_path: Path) -> None:
    train(recipe(name, SMALL), tmp_path)
    found = [json.loads(line)["loss"] for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    golden = GOLDEN / f"losses_{name}.json"
    if os.environ.get("REID_STREAM_WRITE_GOLDEN"):
        golden.write_text(json.dumps(found, indent=1) + "\n")
    assert found == pytest.approx(json.loads(golden.read_text()), rel=0.05)  # other CPUs round differently
