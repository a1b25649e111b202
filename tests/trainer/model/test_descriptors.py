"""Hand-computed values of the descriptors, of the paper's verification head, and of what a bundle makes of both."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from reid_stream.bundles.bundle import load_embedder
from tests.trainer.checkpoints import write_checkpoint
from trainer.config import LossSettings, ModelSettings, TrainSettings
from trainer.data.batch import Features, TrainBatch
from trainer.data.crops import assemble
from trainer.data.sets import read
from trainer.errors import TrainerError
from trainer.evaluate.network import folded, open_network
from trainer.export.bundle import export
from trainer.model.descriptors import AverageAndMaximum, Maximum, descriptor
from trainer.model.reduction import add_reduction, principal_axes
from trainer.model.siamese import MetricVerifier, Siamese, SoftmaxVerifier, load_branch, reduced
from trainer.train.losses import Criterion
from trainer.train.recipe import recipe

MAPS = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, -4.0], [0.0, 0.0]]]])  # (1, 2, 2, 2)


def test_average_beside_maximum_is_the_paper_s_descriptor() -> None:
    assert AverageAndMaximum()(MAPS).tolist() == [[3.0, -1.0, 6.0, 0.0]]
    assert Maximum()(MAPS).tolist() == [[6.0, 0.0]]


@pytest.mark.parametrize(
    ("name", "dim"), [("fc", 512), ("gap+gmp", 4096), ("proj", 512), ("gap", 2048), ("gmp", 2048), ("gem", 2048)]
)
def test_descriptors_have_the_length_they_promise(name: str, dim: int) -> None:
    settings = ModelSettings.model_validate({"descriptor": name})
    pool, projection, length = descriptor(settings, 2048)
    assert length == dim
    assert projection.eval()(pool(torch.rand(2, 2048, 2, 1))).shape == (2, dim)


def test_proj_of_4096_has_the_parameters_of_a_square_layer_and_its_normalisation() -> None:
    _, projection, dim = descriptor(ModelSettings(descriptor="proj", dim=4096), 2048)
    assert dim == 4096
    assert sum(p.numel() for p in projection.parameters()) == 8_388_608 + 8_192


def test_the_paper_s_verification_head_is_a_two_way_softmax_on_the_square_layer() -> None:
    head = SoftmaxVerifier(2)
    with torch.no_grad():
        head.classes.weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 1.0]]))
        head.classes.bias.copy_(torch.tensor([0.5, -0.25]))
    first, second = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]])  # squares of differences: 0.36, 0.04
    same, different = 0.36 - 2 * 0.04 + 0.5, 3 * 0.36 + 0.04 - 0.25
    assert head(first, second).item() == pytest.approx(same - different)
    probability = math.exp(same) / (math.exp(same) + math.exp(different))
    assert torch.sigmoid(head(first, second)).item() == pytest.approx(probability)


def test_both_heads_start_as_cosine_with_even_odds_at_a_half() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(5, 8), dim=1), torch.nn.functional.normalize(torch.randn(5, 8))
    assert torch.allclose(SoftmaxVerifier(8)(*vectors), MetricVerifier(8)(*vectors), atol=1e-4)
    apart = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, math.sqrt(0.75)]])
    assert SoftmaxVerifier(2)(*apart).item() == pytest.approx(0, abs=1e-5)


def test_dropout_falls_on_the_squared_differences_while_learning_only() -> None:
    torch.manual_seed(0)
    head = SoftmaxVerifier(64, dropout=0.75)
    first, second = torch.randn(9, 64), torch.randn(9, 64)
    assert not torch.equal(head(first, second), head(first, second))
    head.eval()
    assert torch.equal(head(first, second), head(first, second))


def test_a_head_with_weights_of_any_sign_folds_to_the_nearest_distance() -> None:
    head = SoftmaxVerifier(3)
    with torch.no_grad():
        head.classes.weight.copy_(torch.tensor([[-1.0, 0.0, 2.0], [1.0, 3.0, 1.0]]))
        head.classes.bias.copy_(torch.tensor([2.0, 0.5]))
    folded_head = head.folded()
    weights = torch.nn.functional.softplus(folded_head.v).tolist()
    assert weights == pytest.approx([2.0, 3.0, 0.0], abs=1e-5)  # the last one spoke for "same": it counts nothing
    assert folded_head.b.item() == pytest.approx(1.5)


def test_pairs_that_were_drawn_as_such_are_the_ones_that_count() -> None:
    model = Siamese(ModelSettings(layers=(1, 1, 1, 1), width=0.125, dim=8, neck=False), (2,)).eval()
    after = torch.randn(4, 8)
    batch = TrainBatch(
        images=torch.zeros(0), persons=torch.tensor([0, 1, 0, 0]), cameras=torch.zeros(4, dtype=torch.long),
        progress=0.0, pairs=(torch.tensor([0, 1]), torch.tensor([2, 3])),
    )  # fmt: skip
    criterion = Criterion(LossSettings(metric="none", label_smoothing=0.0), (2,))
    loss, terms = criterion(model, Features(after, after, {}), batch, torch.Generator())
    each = nn.functional.cross_entropy(model.heads[0](after), batch.persons, reduction="none")
    margin = model.verifier(after[:2], after[2:])
    verification = nn.functional.binary_cross_entropy_with_logits(margin, torch.tensor([1.0, 0.0]))
    assert terms["identification"].item() == pytest.approx(0.5 * each[:2].mean().item() + 0.5 * each[2:].mean().item())
    assert terms["verification"].item() == pytest.approx(verification.item(), rel=1e-5)
    assert loss.item() == pytest.approx(sum(term.item() for term in terms.values()), rel=1e-5)


def test_the_first_axes_keep_cosines() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(200, 4)) @ random.normal(size=(4, 40)) + 0.01 * random.normal(size=(200, 40))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    axes, kept = principal_axes(vectors, 4)
    assert axes.shape == (4, 40)
    assert kept > 0.999
    assert np.allclose(axes @ axes.T, np.eye(4), atol=1e-5)
    assert np.abs(vectors @ vectors.T - (vectors @ axes.T) @ (vectors @ axes.T).T).max() < 0.01


def test_the_verification_head_goes_along_with_the_projection() -> None:
    head = MetricVerifier(3)
    with torch.no_grad():
        head.v.copy_(torch.log(torch.expm1(torch.tensor([1.0, 2.0, 4.0]))))
        head.b.fill_(0.7)
    small = reduced(head, torch.tensor([[0.0, 0.0, 1.0], [0.6, 0.8, 0.0]]))
    weights = torch.nn.functional.softplus(small.v).tolist()
    assert weights == pytest.approx([4.0, 0.36 * 1 + 0.64 * 2])
    assert small.b.item() == pytest.approx(0.7)


def paper_run(folder: Path, width: float = 0.25) -> tuple[Path, TrainSettings]:
    """A checkpoint of the paper's network at random weights, 1024 numbers at a quarter of the width."""
    torch.manual_seed(0)
    settings = recipe(
        "paper",
        (
            "model.backbone=res2net",
            "model.layers=[1, 1, 1, 1]",
            f"model.width={width}",
            "data.height=64",
            "data.width=32",
        ),
    )
    write_checkpoint(folder / "best.pt", settings, Siamese(settings.model, (5,)), step=1, images=60)
    return folder, settings


def test_a_long_descriptor_is_served_through_its_projection(tmp_path: Path) -> None:
    run, settings = paper_run(tmp_path)
    with pytest.raises(TrainerError, match=r"a bundle holds at most 512 numbers, .* gives 1024 and no projection"):
        export(run, tmp_path / "refused", "f16")
    images = assemble(read("synthetic:60"), settings.data.height, settings.data.width)
    full = open_network(run).embed(images.pixels[:40], False)
    kept = add_reduction(run / "best.pt", images)
    assert kept > 0.99
    bundle, agreement = export(run, tmp_path / "bundle", "f16")
    assert (bundle.dim, load_embedder(tmp_path / "bundle").dim) == (512, 512)
    assert agreement["cosine"] > 0.9999
    assert "paper at budget 1: 256 of 256 epochs" in bundle.source
    served = open_network(tmp_path / "bundle", "f32").embed(images.pixels[:40], False)
    assert np.abs(served @ served.T - full @ full.T).max() < 0.02
    margins = 10 - np.square(folded(served, bundle.verifier)[:, None] - folded(served, bundle.verifier)).sum(-1)
    loaded = load_branch(run)
    vectors = torch.from_numpy(served)
    expected = loaded.verifier(vectors[:1], vectors[1:]).detach().numpy()
    assert np.allclose(margins[0, 1:], expected, atol=0.01)
    # Learned again from the full descriptor, it is the same.
    assert add_reduction(run / "best.pt", images) == pytest.approx(kept)
