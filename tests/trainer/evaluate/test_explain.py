"""Explaining from the trainer: equal to automatic differentiation, and the command."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner, Result

from reid_stream.bundles import catalog
from reid_stream.embed.preprocess import prepare
from reid_stream.explain import Explainer
from reid_stream.explain.attention import Attention
from tests.trainer.checkpoints import small_settings, write_checkpoint
from trainer.cli import app
from trainer.data.test_sets import read_test_set
from trainer.errors import DataError, TrainerError
from trainer.evaluate.explain import choose
from trainer.evaluate.network import named_bundle, open_network
from trainer.export.bundle import export
from trainer.model.branch import Branch
from trainer.model.siamese import Siamese, load_branch


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights, exported."""
    torch.manual_seed(0)
    settings = small_settings()
    siamese = Siamese(settings.model, (5,))
    siamese.branch.train()(torch.randn(16, 3, 64, 32))  # so that normalisation has seen something
    folder = tmp_path_factory.mktemp("explain")
    export(write_checkpoint(folder / "best.pt", settings, siamese), folder / "bundle", "f32")
    return folder / "bundle"


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def by_differentiation(branch: Branch, images: Tensor, dimension: int) -> tuple[Tensor, Tensor]:
    """Return the last map of images and the mean of its gradient, as Grad-CAM is written down."""
    maps = branch.backbone(images).detach().requires_grad_()
    vectors = branch.neck(branch.projection(branch.pool(maps)))
    (gradient,) = torch.autograd.grad(vectors[:, dimension].sum(), maps)
    return maps.detach(), gradient.mean(dim=(2, 3))


def test_differences_through_the_head_are_the_gradients(bundle: Path) -> None:
    explainer, loaded = Explainer(bundle, threads=1), load_branch(bundle)
    crops = [np.random.default_rng(seed).integers(0, 256, (64, 32, 3)).astype(np.uint8) for seed in (0, 1)]
    inputs = prepare(crops, explainer.spec)
    looked = Attention(bundle / "model.onnx", 64, 32, threads=1)(inputs)
    for dimension in (0, 7, 31):
        maps, weights = by_differentiation(loaded.branch, torch.from_numpy(inputs), dimension)
        assert np.allclose(looked.maps[0], maps, atol=1e-4)
        alive = maps.amax(dim=(2, 3)).numpy() > 0  # the others add no heat, and are not asked
        highest = maps.amax(dim=(2, 3)).numpy()[alive]
        error = np.abs(looked.weights[0][:, :, dimension][alive] - weights.numpy()[alive])
        assert (error * highest).max() < 1e-3 * (np.abs(weights.numpy()[alive]) * highest).max()
        sign = torch.sign(loaded.branch(torch.from_numpy(inputs))[:, dimension]).detach()
        heat = torch.relu(torch.einsum("nchw,nc->nhw", maps, weights) * sign[:, None, None])
        found = looked.heat(0, dimension, (4, 2))
        assert np.allclose(found, heat[0] / heat[0].max(), atol=0.02)


def test_two_files_become_a_page(bundle: Path, tmp_path: Path) -> None:
    for name, colour in (("a", (200, 30, 30)), ("b", (30, 30, 200))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((80, 40, 3), colour, np.uint8))
    result = run("explain", tmp_path / "a.png", tmp_path / "b.png", "--bundle", bundle, "--out", tmp_path / "why.png",
                 "--threads", 1)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "P(same person) " in result.output
    assert cv2.imread(str(tmp_path / "why.png")) is not None


@pytest.mark.slow
def test_pairs_of_a_set_show_mistakes_first(bundle: Path, tmp_path: Path) -> None:
    words = ("--bundle", bundle, "--set", "synthetic:30", "--pairs", 3, "--mistakes", 1, "--threads", 1)
    result = run("explain", *words, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in tmp_path.iterdir()) == ["01-different.png", "02-same.png", "03-same.png"]


def test_mistakes_are_of_two_persons_once_and_the_surest_first(bundle: Path) -> None:
    network = open_network(bundle, "f32", 1)
    tested = read_test_set("synthetic:30", None, network.spec)
    chosen = choose(network, tested, 6, 4)
    persons, cameras = tested.images.persons, tested.images.cameras
    assert [pair.is_same for pair in chosen] == [False] * 4 + [True] * 2
    assert len({frozenset((int(persons[pair.query]), int(persons[pair.answer]))) for pair in chosen[:4]}) == 4
    for pair in chosen:
        assert (persons[pair.query] == persons[pair.answer]) == pair.is_same
        assert not pair.is_same or cameras[pair.query] != cameras[pair.answer]
    with pytest.raises(DataError, match=r"must give 500 wrong and 0 right first answers, got \d+ and \d+; ask for"):
        choose(network, tested, 500, 500)
    with pytest.raises(DataError, match="at most the 2 pairs, got 3"):
        choose(network, tested, 2, 3)


def test_what_is_missing_is_named(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"an image must be decodable, .*text.jpg"):
        run("explain", tmp_path / "text.jpg", tmp_path / "text.jpg", "--bundle", bundle)
    with pytest.raises(DataError, match=r"an image must be readable, .*none.jpg: No such file"):
        run("explain", tmp_path / "none.jpg", tmp_path / "none.jpg", "--bundle", bundle)
    with pytest.raises(TrainerError, match="needs two images, or --set"):
        run("explain", tmp_path / "text.jpg", "--bundle", bundle)
    with pytest.raises(TrainerError, match="takes two images or --set, got both"):
        run("explain", tmp_path / "text.jpg", tmp_path / "text.jpg", "--set", "synthetic:12", "--bundle", bundle)


def test_a_bundle_is_found_by_its_name_and_a_path_stays_one(tmp_path: Path) -> None:
    shipped, _ = catalog.embedder("default")
    assert named_bundle(Path("default")) == shipped
    assert named_bundle(Path(shipped.name)) == shipped
    assert named_bundle(Path("detector")) == catalog.detector("default")[0]
    with pytest.raises(TrainerError, match="two bundles.* embedder or detector"):
        run("quantise", "default", tmp_path / "out")
    for path in (tmp_path, tmp_path / "default", Path("run.pt"), Path("no-such-bundle")):
        assert named_bundle(path) == path
    with pytest.raises(TrainerError, match="a bundle's folder or name, or an .onnx file, got no-such-bundle"):
        open_network(Path("no-such-bundle"))
