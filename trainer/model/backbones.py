"""The backbones: timm's Res2Net, ResNet and DenseNet-121 at any width, images (b, 3, h, w) -> map (b, c, h/16, w/16).

Sources: Gao et al., "Res2Net", TPAMI 2021 (arXiv 1904.01169), He et al., "Deep Residual Learning" (arXiv 1512.03385),
Huang et al., "Densely Connected Convolutional Networks" (arXiv 1608.06993), all as implemented in timm (Apache-2.0; the
"ResNet-121" of Cao & Lee's table 3 is read as DenseNet-121, since no ResNet has that depth); last stride 1 from
Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-identification", CVPRW 2019; IBN-a from Pan et al.,
"Two at Once", ECCV 2018 (arXiv 1807.09441).

Letters: b images, c channels, h and w pixels.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from timm.models.densenet import DenseNet
from timm.models.res2net import Bottle2neck
from timm.models.resnet import Bottleneck, ResNet
from torch import Tensor, nn

from trainer.config import ModelSettings
from trainer.errors import TrainerError


@dataclass(frozen=True)
class _Shape:
    """Parameters of one network of a family."""

    layers: tuple[int, ...]
    base_width: int = 26
    scale: int = 4


# timm's models/res2net.py and resnet.py.
_RES2NETS = {
    "res2net50_26w_4s": _Shape((3, 4, 6, 3)),
    "res2net101_26w_4s": _Shape((3, 4, 23, 3)),
    "res2net50_14w_8s": _Shape((3, 4, 6, 3), 14, 8),
}
_RESNETS = {"resnet50": _Shape((3, 4, 6, 3), 64), "resnet101": _Shape((3, 4, 23, 3), 64)}
_DENSENET121 = (6, 12, 24, 16)


class Backbone(nn.Module):
    """timm's Res2Net, ResNet or DenseNet without its pooling and classifier; `net` has timm's names of weights."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        if settings.backbone == "densenet121":
            growth = max(4, round(32 * settings.width))
            self.net: nn.Module = DenseNet(growth, _DENSENET121, num_classes=0, global_pool="")
            self.num_features = self.net.num_features
        else:
            self.net = _residual(settings)
            self.num_features = _channels(settings)[3] * Bottle2neck.expansion
        if settings.last_stride == 1:
            keep_last_stride(self.net)
        if settings.instance_norm:
            if isinstance(self.net, DenseNet):
                raise TrainerError("model.instance_norm must be false for densenet121, which has no bottleneck blocks")
            for stage in (self.net.layer1, self.net.layer2, self.net.layer3):
                for block in cast("list[Any]", stage):
                    block.bn1 = HalfInstanceNorm(block.bn1.num_features)

    def forward(self, images: Tensor) -> Tensor:
        """Return the last map of images (b, 3, h, w)."""
        maps: Tensor = cast("Any", self.net).forward_features(images)  # (b, c, h/16, w/16) at last stride 1
        return maps


def _channels(settings: ModelSettings) -> tuple[int, ...]:
    return tuple(max(8, round(planes * settings.width)) for planes in (64, 128, 256, 512))


def _residual(settings: ModelSettings) -> ResNet:
    channels = _channels(settings)
    own = _Shape(settings.layers, settings.base_width, settings.scale)
    shape = _RESNETS.get(settings.backbone) or _RES2NETS.get(settings.backbone, own)
    is_plain = settings.backbone in _RESNETS
    return ResNet(
        cast("Any", Bottleneck if is_plain else Bottle2neck),
        layers=cast("Any", shape.layers),
        channels=cast("Any", channels),
        base_width=shape.base_width,
        num_classes=0,
        global_pool="",
        stem_width=channels[0],
        block_args=None if is_plain else {"scale": shape.scale},
    )


class HalfInstanceNorm(nn.Module):
    """IBN-a: instance normalisation of the first half of the channels, batch normalisation of the rest."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = channels // 2
        self.instance = nn.InstanceNorm2d(self.first, affine=True)
        self.batch = nn.BatchNorm2d(channels - self.first)

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise maps (b, c, h, w)."""
        first, second = torch.split(maps, [self.first, maps.shape[1] - self.first], dim=1)
        if torch.onnx.is_in_onnx_export() or maps.device.type != "cpu":
            return torch.cat([self.instance(first), self.batch(second)], dim=1)
        # A slice of a channels-last map, and of a gradient, is strided, and strided normalisation is slow on a CPU.
        first = self.instance(_dense(first, torch.contiguous_format, torch.channels_last))
        second = self.batch(_dense(second, torch.channels_last, torch.channels_last))
        return torch.cat(
            [
                _dense(first, torch.channels_last, torch.contiguous_format),
                _dense(second, torch.channels_last, torch.channels_last),
            ],
            dim=1,
        )

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """Load a plain batch normalisation too, so that a network without IBN-a can start one with it."""
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            whole = state_dict.pop(prefix + name, None)
            if whole is None:
                continue
            if whole.ndim and name in ("weight", "bias"):
                state_dict[f"{prefix}instance.{name}"] = whole[: self.first]
            state_dict[f"{prefix}batch.{name}"] = whole[self.first :] if whole.ndim else whole
        super()._load_from_state_dict(state_dict, prefix, *rest)


class _Dense(torch.autograd.Function):
    """Identity that makes maps dense in one memory format forward and in another one backward."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, forth: torch.memory_format, back: torch.memory_format) -> Tensor:
        ctx.back = back
        return maps.contiguous(memory_format=forth)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0].contiguous(memory_format=ctx.back), None, None


def _dense(maps: Tensor, forth: torch.memory_format, back: torch.memory_format) -> Tensor:
    return cast("Tensor", _Dense.apply(maps, forth, back))


def keep_last_stride(net: nn.Module) -> None:
    """Let the last stage keep its input's resolution.

    timm's `output_stride=16` would do it with dilation 2, which re-ID's "last stride 1" has not: strides are set in
    place.
    """
    if isinstance(net, DenseNet):
        cast("Any", net.features).transition3.pool = nn.Identity()
        return
    block = cast("Any", net).layer4[0]
    for conv in getattr(block, "convs", [block.conv2] if hasattr(block, "conv2") else []):
        conv.stride = (1, 1)
    if getattr(block, "pool", None) is not None:
        block.pool.stride = 1
    if isinstance(block.downsample[0], nn.AvgPool2d):
        block.downsample[0] = nn.Identity()
    else:
        block.downsample[0].stride = (1, 1)
