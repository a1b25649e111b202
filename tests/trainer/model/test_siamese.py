"""Hand-computed values of the layers and losses, and the shapes of the network."""

import math

import pytest
import torch
from torch import nn

from trainer.config import LossSettings, ModelSettings
from trainer.data.batch import Features, TrainBatch
from trainer.model.branch import Branch
from trainer.model.descriptors import GeM
from trainer.model.siamese import MetricVerifier, Siamese, square
from trainer.train.losses import Criterion, negatives_at, verification

TINY = ModelSettings(layers=(1, 1, 1, 1), width=0.125, base_width=32, dim=8)


def test_the_square_layer_squares_differences_of_unit_vectors() -> None:
    result = square(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]]))
    assert torch.allclose(result, torch.tensor([[0.36, 0.04]]))


def test_the_verification_head_is_a_margin_that_folds_into_the_vectors() -> None:
    head = MetricVerifier(2)
    with torch.no_grad():
        head.v.copy_(torch.tensor([math.log(math.e - 1), math.log(math.e**2 - 1)]))  # softplus: 1 and 2
        head.b.fill_(0.5)
    first, second = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]])
    assert head(first, second).item() == pytest.approx(0.5 - (0.36 + 2 * 0.04))
    scale = torch.nn.functional.softplus(head.v).sqrt()
    apart = scale * torch.tensor([0.6, 0.8]) - scale * torch.tensor([0.0, 1.0])
    assert head(first, second).item() == pytest.approx(0.5 - apart.square().sum().item())


def test_verification_is_the_two_way_softmax() -> None:
    margin, same = torch.tensor([0.0, 2.0, -1.0]), torch.tensor([True, True, False])
    by_hand = (math.log(2) + math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 3
    assert verification(margin, same).item() == pytest.approx(by_hand)
    logits = torch.stack([margin, torch.zeros(3)], dim=1)  # class 0 = same, as in the paper
    assert verification(margin, same).item() == pytest.approx(
        nn.functional.cross_entropy(logits, (~same).long()).item()
    )


def test_gem_is_between_average_and_maximum() -> None:
    maps = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2)
    assert GeM(1.0)(maps).item() == pytest.approx(2.5)
    assert GeM(3.0)(maps).item() == pytest.approx((100 / 4) ** (1 / 3))
    assert GeM(50.0)(maps).item() == pytest.approx(4.0, abs=0.15)


def test_identification_weighs_both_streams_by_half_and_smooths_labels() -> None:
    model = Siamese(TINY, (2, 1))
    head = model.heads[0]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.zero_()
        head.weight[0, 0] = 1.0
    vectors = torch.zeros(1, 8)
    vectors[0, 0] = 1.0
    criterion = Criterion(LossSettings(label_smoothing=0.3), (2, 1))
    logsum = math.log(math.e + 2)
    by_hand = -(0.8 * (1 - logsum) + 0.1 * -logsum + 0.1 * -logsum)
    assert criterion.identification(model, vectors, torch.tensor([0])).item() == pytest.approx(by_hand, rel=1e-5)


def test_heads_of_domains_score_their_own_persons_only() -> None:
    model = Siamese(TINY.model_copy(update={"heads": "domain"}), (2, 3))
    assert [head.out_features for head in model.heads] == [2, 3]
    criterion = Criterion(LossSettings(label_smoothing=0.0), (2, 3))
    values = criterion.identification(model, torch.zeros(2, 8), torch.tensor([1, 4]))
    assert values.tolist() == pytest.approx([math.log(2), math.log(3)])


def test_the_whole_loss_is_the_weighted_sum_of_its_terms() -> None:
    torch.manual_seed(0)
    model = Siamese(TINY, (4,))
    before, after = torch.randn(8, 8), torch.randn(8, 8)
    persons, cameras = torch.arange(4).repeat_interleave(2), torch.arange(2).repeat(4)
    for metric in ("none", "triplet", "circle"):
        criterion = Criterion(LossSettings(metric=metric, identification=0.5, verification=1.0), (4,))
        batch = TrainBatch(images=torch.zeros(0), persons=persons, cameras=cameras, progress=0.0)
        loss, terms = criterion(model, Features(before, after, {}), batch, torch.Generator().manual_seed(0))
        assert loss.item() == pytest.approx(sum(term.item() for term in terms.values()))
        assert ("metric" in terms) == (metric != "none")


def test_negatives_grow_from_one_to_four() -> None:
    assert [negatives_at((1, 4), share) for share in (0.0, 0.26, 0.51, 0.76, 1.0)] == [1, 2, 3, 4, 4]


def test_two_streams_are_one_branch_applied_twice() -> None:
    model = Siamese(TINY, (3,)).eval()
    first, second = torch.randn(2, 3, 64, 32), torch.randn(2, 3, 64, 32)
    left, right, margin = model.streams(first, second)
    both = model(torch.cat([first, second]))[1]
    assert torch.allclose(torch.cat([left, right]), both, atol=1e-5)
    assert margin.shape == (2,)


@pytest.mark.parametrize(("stride", "size"), [(1, (4, 2)), (2, (2, 1))])
def test_the_last_stride_sets_the_size_of_the_last_map_without_dilation(stride: int, size: tuple[int, int]) -> None:
    branch = Branch(TINY.model_copy(update={"last_stride": stride})).eval()
    assert branch.backbone(torch.zeros(1, 3, 64, 32)).shape[2:] == size
    assert all(conv.dilation == (1, 1) for conv in branch.modules() if isinstance(conv, nn.Conv2d))


def test_the_full_network_is_res2net_50() -> None:
    parameters = sum(p.numel() for p in Branch(ModelSettings()).backbone.parameters())
    assert parameters == pytest.approx(23.65e6, rel=0.001)  # Gao et al., table of timm


def test_instance_norm_forgets_a_change_of_contrast_in_half_of_the_channels() -> None:
    from trainer.model.backbones import HalfInstanceNorm

    layer = HalfInstanceNorm(4).eval()
    maps = torch.randn(2, 4, 8, 8)
    plain, changed = layer(maps), layer(3 * maps + 1)
    assert torch.allclose(plain[:, :2], changed[:, :2], atol=1e-3)
    assert not torch.allclose(plain[:, 2:], changed[:, 2:], atol=1e-1)


def test_dense_halves_give_the_values_and_gradients_of_the_plain_ones() -> None:
    from trainer.model.backbones import HalfInstanceNorm

    layer = HalfInstanceNorm(8).double()
    maps = torch.randn(4, 8, 6, 5).double().contiguous(memory_format=torch.channels_last).requires_grad_()
    weights = torch.randn(4, 8, 6, 5).double()
    plain = torch.cat([layer.instance(maps[:, :4]), layer.batch(maps[:, 4:])], dim=1)
    assert torch.allclose(layer(maps), plain)
    (fast,) = torch.autograd.grad((layer(maps) * weights).sum(), maps)
    (slow,) = torch.autograd.grad((plain * weights).sum(), maps)
    assert torch.allclose(fast, slow)
