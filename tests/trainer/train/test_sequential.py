"""Sequential passes give the gradients of one joint pass; mined triplets are hard."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from tests.trainer.train.test_recipe import people
from trainer.config import RankingSettings, TrainSettings
from trainer.data.crops import StoredCrop, assemble
from trainer.errors import DataError
from trainer.train import checkpoint
from trainer.train.learner import Learner
from trainer.train.loop import load_images, train
from trainer.train.recipe import recipe
from trainer.train.sequential import by_size, freeze_normalisation, identify, mine, rank, triplet_loss


def crop(name: str, height: int, width: int) -> StoredCrop:
    pixels = np.full((height, width, 3), 7, np.uint8)
    return StoredCrop(name, name[:4], name[6], "made up", cv2.imencode(".png", pixels)[1].tobytes())


def tiny(*changes: str) -> TrainSettings:
    common = (
        "data.sets=['synthetic:12']", "data.validation_ids=4", "data.height=32", "data.width=32",
        "model.backbone=res2net", "model.layers=[1, 1, 1, 1]", "model.width=0.125", "model.dim=16",
        "sampler.persons=4", "sampler.images=2", "ranking.triplets=4", "ranking.every=3", "ranking.pool=60",
        "optimiser.steps=8", "run.precision=fp32", "run.threads=1", "run.checkpoint_every=5", "run.accelerator=cpu",
    )  # fmt: skip
    return recipe("done_right", (*common, *changes))


def test_the_triplet_loss_is_half_of_what_is_missing_to_the_margin() -> None:
    query, same = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    other = torch.tensor([[0.0, 3.0]])
    # |q - s|^2 = 0.16 + 0.64 = 0.8 and |q - o|^2 = 2 on unit vectors.
    assert triplet_loss(query, same, other, 0.1).item() == 0
    assert triplet_loss(query, other, same, 0.1).item() == pytest.approx(0.5 * (0.1 + 2.0 - 0.8))


def test_images_keep_their_aspect_up_to_the_larger_side() -> None:
    crops = [crop("0001_c1", 40, 20), crop("0002_c1", 30, 60), crop("0003_c1", 10, 5)]
    images = assemble(crops, 80, 40, undistorted=True)
    assert images.sizes is not None
    assert images.sizes.tolist() == [[80, 40], [40, 80], [80, 40]]
    assert images.pixels.shape == (3, 80, 80, 3)
    groups = [places.tolist() for places in by_size(np.array([0, 1, 2]), images, most=8)]
    assert groups == [[1], [0, 2]]
    assert [len(places) for places in by_size(np.array([0, 1, 2]), images, most=1)] == [1, 1, 1]


@pytest.mark.parametrize("most", [1, 3, 8])
def test_gradients_one_after_another_are_those_of_the_whole_batch(most: int) -> None:
    torch.manual_seed(0)
    images, layer = people(2, shots=2), nn.Linear(3, 1)
    values = torch.randn(8, 3)
    torch.autograd.backward(layer(values).square().mean())
    assert layer.weight.grad is not None
    whole = layer.weight.grad.clone()
    layer.zero_grad()
    rows = np.arange(8)
    mean = identify(rows, images, most, lambda chosen: layer(values[chosen]).square()[:, 0], torch.autograd.backward)
    assert torch.allclose(layer.weight.grad, whole, atol=1e-6)
    assert mean == pytest.approx(layer(values).square().mean().item(), rel=1e-5)


@pytest.mark.parametrize("together", [1, 2, 4])
def test_the_gradients_of_triplets_do_not_depend_on_who_goes_together(together: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4))
    freeze_normalisation(network)
    values = torch.randn(12, 3)
    triplets = np.random.default_rng(0).permutation(12).reshape(4, 3)
    query, same, other = network(values[triplets.reshape(-1)]).view(4, 3, 4).unbind(1)
    torch.autograd.backward(triplet_loss(query, same, other, 2.0).mean())
    whole = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    settings = RankingSettings(together=together, margin=2.0)
    rank(triplets, people(2), settings, lambda rows: network(values[rows]), torch.autograd.backward)
    for parameter, expected in zip(network.parameters(), whole, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, expected, atol=1e-6)


def test_mining_takes_the_farthest_of_the_same_and_the_nearest_of_the_others() -> None:
    images = people(3, cameras=2, shots=1)  # rows 0, 1: person 0; 2, 3: person 1; 4, 5: person 2
    angles = np.radians([0, 40, 10, 170, 90, 100])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = mine(vectors, np.arange(6), images, 6, 1, np.random.default_rng(0))
    hardest = {int(query): (int(same), int(other)) for query, same, other in found}
    assert hardest[0] == (1, 2)
    assert hardest[2] == (3, 0)
    assert hardest[4] == (5, 1)
    pool = np.array([0, 1, 4])  # person 2 alone has no other picture
    assert {int(row) for row in mine(vectors[pool], pool, images, 6, 5, np.random.default_rng(0))[:, 0]} == {0, 1}


def test_a_pool_without_a_positive_pair_gives_no_triplet() -> None:
    pool = np.array([0, 2, 4])
    found = mine(np.eye(3, dtype=np.float32), pool, people(3, cameras=2, shots=1), 6, 5, np.random.default_rng(0))
    assert found.shape == (0, 3)


def test_a_run_identifies_then_ranks(tmp_path: Path) -> None:
    train(tiny(), tmp_path / "run")
    lines = (tmp_path / "run" / "losses.jsonl").read_text().splitlines()
    assert ["ranking" in line for line in lines] == [False] * 4 + [True] * 4


def test_mined_triplets_outlive_a_kill(tmp_path: Path) -> None:
    settings = tiny()
    training, _ = load_images(settings, None)
    whole = Learner(settings, training)
    for step in range(5):  # triplets are mined at steps 4 and 6: a kill between them must not lose them
        whole.step(step, step / 8)
    checkpoint.save(tmp_path / "last.pt", {"settings": {}, "facts": {}, **whole.state()})
    after = Learner(settings, training)
    after.restore(checkpoint.load(tmp_path / "last.pt"))
    for step in range(5, 8):
        assert after.step(step, step / 8)[0] == whole.step(step, step / 8)[0]


def test_a_pool_without_a_positive_pair_is_refused() -> None:
    settings = tiny("ranking.pool=2", "ranking.start=0", "run.seed=5")
    training, _ = load_images(settings, None)
    with pytest.raises(DataError, match="ranking.pool must hold two images of someone, 2 drawn images do not"):
        Learner(settings, training).step(0, 0.0)


def test_a_batch_of_one_image_size_each_goes_through_the_network(tmp_path: Path) -> None:
    folder = tmp_path / "people"
    for person in range(8):
        (folder / f"{person:04d}").mkdir(parents=True)
        for camera in (1, 2):
            pixels = np.random.default_rng(person).integers(0, 256, (40 + 3 * person, 20, 3)).astype(np.uint8)
            cv2.imwrite(str(folder / f"{person:04d}" / f"c{camera}.png"), pixels)
    sets = (f"data.sets=['folder:{folder}']", "data.validation_ids=3", "ranking.identify_together=1")
    report = train(tiny(*sets, "data.height=64", "optimiser.steps=4"), tmp_path / "run")
    assert report["steps"] == 4
    with pytest.raises(DataError, match="data.height must leave more than one place on the last map for an image"):
        train(tiny(*sets), tmp_path / "small")
