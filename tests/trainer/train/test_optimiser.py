"""Learning rate, decay and moving average by hand; pairs of a real batch."""

import json
import os
from pathlib import Path

import pytest
import torch

from trainer.config import OptimiserSettings, TrainSettings, parse
from trainer.data.sampler import Sampler, pairs
from trainer.train.loop import load_images
from trainer.train.optimiser import build_optimiser, ema_update, learning_rate

DATA = os.environ.get("REID_STREAM_DATA")


def test_the_learning_rate_warms_up_and_falls_by_a_cosine() -> None:
    plan = OptimiserSettings(lr=1.0, warmup=0.1)
    assert [learning_rate(plan, at) for at in (0.0, 0.05, 0.1)] == pytest.approx([0.1, 0.55, 1.0])
    quarter = 0.01 + 0.99 * 0.5 * (1 + 0.5**0.5)  # cos 45 degrees
    assert [learning_rate(plan, at) for at in (0.325, 0.55, 1.0)] == pytest.approx([quarter, 0.505, 0.01])


def test_the_learning_rate_falls_by_steps_at_the_milestones() -> None:
    plan = OptimiserSettings(lr=1.0, warmup=0.0, schedule="step", milestones=(0.5, 0.8))
    assert [learning_rate(plan, at) for at in (0.0, 0.49, 0.5, 0.9)] == pytest.approx([1.0, 1.0, 0.1, 0.01])


def test_vectors_and_scalars_do_not_decay() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    groups = build_optimiser(model, OptimiserSettings(weight_decay=0.05)).param_groups
    decays = {tuple(weight.shape): group["weight_decay"] for group in groups for weight in group["params"]}
    assert decays == {(3, 2): 0.05, (3,): 0.0}


def test_the_average_remembers_little_at_the_start_and_its_decay_later() -> None:
    old, new = torch.zeros(1), torch.ones(1)
    ema_update(0.998)([old], [new], 1)
    assert old.item() == pytest.approx(9 / 11)  # keeps (1 + n) / (10 + n) of the old, n = 1
    ema_update(0.5)([old], [new], 10_000)
    assert old.item() == pytest.approx(10 / 11)


@pytest.mark.skipif(DATA is None, reason="REID_STREAM_DATA names no folder with people/")
@pytest.mark.timeout(300)
def test_the_150_test_persons_of_market1501_are_neither_learnt_nor_validated_on() -> None:
    folder = Path(str(DATA))
    settings = parse({"data": {"sets": ["market1501"], "height": 8, "width": 4}}, "here")
    training, held = load_images(settings, folder)
    learnt, checked = ({name.split(":")[1] for name in images.person_names} for images in (training, held))
    tested = {str(person).zfill(4) for person in json.loads(split(folder))["test_ids"]}
    assert (len(learnt), len(checked), len(tested)) == (541, 60, 150)
    assert not learnt & checked
    assert not (learnt | checked) & tested
    rows = torch.from_numpy(Sampler(training, settings.sampler, seed=1).batch(0))
    persons, cameras = torch.from_numpy(training.persons)[rows], torch.from_numpy(training.cameras)[rows]
    chance = torch.Generator().manual_seed(0)
    for negatives in range(1, 5):
        first, second, same = pairs(persons, cameras, torch.randn(64, 8), negatives, True, chance)
        assert len(same) == 64 * (1 + negatives)
        assert int(same.sum()) == 64
        across = (cameras[first] != cameras[second])[same]
        assert across.float().mean() > 0.9


def split(folder: Path) -> str:
    return (folder / "people" / "market1501_split.json").read_text()


def test_every_default_is_valid() -> None:
    assert parse({}, "nothing") == TrainSettings()
