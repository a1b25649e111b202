"""Starting from earlier weights: all that fits is loaded, the rest is reported."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from trainer.config import ModelSettings
from trainer.errors import TrainerError
from trainer.model.siamese import Siamese
from trainer.model.warm_start import warm_start

TINY = ModelSettings(layers=(1, 1, 1, 1), width=0.125, base_width=26, dim=16)


def network(*persons: int, **changes: object) -> Siamese:
    return Siamese(TINY.model_copy(update=changes), persons)


def backbone(model: Siamese) -> Any:
    return model.branch.backbone.net


def checkpoint(model: Siamese, path: Path) -> Path:
    torch.save({"settings": {}, "facts": {}, "averaged": cast("nn.Module", model).state_dict()}, path)
    return path


def test_a_checkpoint_gives_everything_where_persons_are_as_many(tmp_path: Path) -> None:
    first, second = network(5), network(5)
    assert warm_start(second, checkpoint(first, tmp_path / "best.pt")) == []
    images = torch.randn(2, 3, 64, 32)
    assert torch.equal(first.branch.eval()(images), second.branch.eval()(images))
    assert torch.equal(cast("Any", first.heads[0]).weight, cast("Any", second.heads[0]).weight)


def test_other_persons_start_with_fresh_heads_and_say_so(tmp_path: Path) -> None:
    first, second = network(5), network(7)
    before = cast("Any", second.heads[0]).weight.detach().clone()
    assert warm_start(second, checkpoint(first, tmp_path / "best.pt")) == ["heads.0.weight"]
    assert torch.equal(cast("Any", second.heads[0]).weight, before)
    assert torch.equal(cast("Any", first.branch.projection).weight, cast("Any", second.branch.projection).weight)


def test_a_deeper_network_starts_with_the_answers_of_the_shallower_one_and_learns_in_its_new_blocks(
    tmp_path: Path,
) -> None:
    first = network(5, layers=(2, 2, 2, 2), instance_norm=True)
    second = network(5, layers=(3, 4, 2, 3), instance_norm=True)
    for block in [*backbone(first).layer1, *backbone(first).layer4]:
        nn.init.normal_(block.bn3.weight)
        nn.init.normal_(block.bn3.bias)

    assert warm_start(second, checkpoint(first, tmp_path / "best.pt")) == []

    images = torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(first.branch.eval()(images), second.branch.eval()(images))
    second.branch.train()(images)[1].square().sum().backward()
    assert float(backbone(second).layer2[3].bn3.weight.grad.abs().max()) > 0


def test_a_plain_network_starts_one_with_instance_normalisation(tmp_path: Path) -> None:
    first, second = network(5), network(5, instance_norm=True)
    for block in backbone(first).layer1:
        nn.init.normal_(block.bn1.weight)
        nn.init.normal_(block.bn1.running_mean)
    assert warm_start(second, checkpoint(first, tmp_path / "best.pt")) == []
    plain = backbone(first).layer1[0].bn1
    half = backbone(second).layer1[0].bn1
    assert torch.equal(half.instance.weight, plain.weight[: half.first])
    assert torch.equal(half.batch.weight, plain.weight[half.first :])
    assert torch.equal(half.batch.running_mean, plain.running_mean[half.first :])


def test_a_state_dict_gives_the_backbone_without_its_classifier(tmp_path: Path) -> None:
    first, second = network(5), network(5)
    state = backbone(first).state_dict()
    torch.save(state | {"fc.weight": torch.zeros(3, 3)}, tmp_path / "res2net.pth")
    assert "projection" in warm_start(second, tmp_path / "res2net.pth")
    assert torch.equal(backbone(first).conv1.weight, backbone(second).conv1.weight)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"conv1.weight": torch.zeros(1)}, "fit the network"),
        ({"other.weight": torch.zeros(1)}, "name the network's parameters"),
        ([1, 2], "holds list"),
        (b"no checkpoint", "checkpoint or a state dict"),
        (None, "readable"),
    ],
)
def test_weights_that_do_not_fit_are_refused(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(TrainerError, match=message):
        warm_start(network(5), path)


def test_the_backbone_alone_starts_another_recipe(tmp_path: Path) -> None:
    first, second = network(5, neck=True), network(7, neck=False, descriptor="gap+gmp", verifier="softmax")
    fresh = warm_start(second, checkpoint(first, tmp_path / "best.pt"), backbone_only=True)
    assert fresh == ["pool", "projection", "neck", "heads", "verifier"]
    assert torch.equal(backbone(first).layer4[0].conv1.weight, backbone(second).layer4[0].conv1.weight)
    with pytest.raises(TrainerError, match="model.weights must"):
        warm_start(network(7, neck=False, descriptor="gap+gmp"), tmp_path / "best.pt")


def test_a_dense_network_s_classifier_is_dropped_too(tmp_path: Path) -> None:
    first, second = network(5, backbone="densenet121"), network(5, backbone="densenet121")
    torch.save({**backbone(first).state_dict(), "classifier.weight": torch.zeros(2, 2)}, tmp_path / "imagenet.pth")
    warm_start(second, tmp_path / "imagenet.pth")
    name = "features.denseblock1.denselayer1.conv1.weight"
    assert torch.equal(backbone(first).state_dict()[name], backbone(second).state_dict()[name])
