"""Descriptors: pooling of the last map to one vector, chosen by `model.descriptor`.

| descriptor | vector | numbers with Res2Net-50 |
| --- | --- | --- |
| fc | pooled (`model.pool`), projected to `model.dim` | 512 |
| gap+gmp | average beside maximum | 4096 (Cao & Lee) |
| proj | average, projected to `model.dim`, batch-normalised | `model.dim` |
| gap, gmp, gem | one pooling | 2048 |

Cao & Lee name a descriptor of 1x1x4096 and no layer that makes it; the number comes from fc7 of the networks of
Zheng et al. (arXiv 1611.05666). `gap+gmp` has it without a parameter, `proj` is the literal reading, `gap` theirs with
ResNet-50. Sources of the rest: maximum: Almazan et al. (arXiv 1801.05339); GeM: Radenovic et al., TPAMI 2019
(arXiv 1711.02512).

Letters: b images, c channels, d dimensions, h and w of the map.
"""

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor, nn

from trainer.config import ModelSettings


class GeM(nn.Module):
    """Generalised mean pooling, (mean x^p)^(1/p) with a learned p: 1 is the average, infinity the maximum."""

    def __init__(self, power: float = 3.0) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(power))

    def forward(self, maps: Tensor) -> Tensor:
        """Pool maps (b, c, h, w) to (b, c); in fp32, because powers lose bf16's few bits."""
        positive = maps.float().clamp(min=1e-6)
        return positive.pow(self.power).mean(dim=(2, 3)).pow(1 / self.power)  # (b, c)


class Average(nn.Module):
    """Global average pooling."""

    def forward(self, maps: Tensor) -> Tensor:
        """Pool maps (b, c, h, w) to (b, c)."""
        return F.adaptive_avg_pool2d(maps, 1).flatten(1)


class Maximum(nn.Module):
    """Global max pooling."""

    def forward(self, maps: Tensor) -> Tensor:
        """Pool maps (b, c, h, w) to (b, c)."""
        return F.adaptive_max_pool2d(maps, 1).flatten(1)


class AverageAndMaximum(nn.Module):
    """Average and maximum, concatenated."""

    def forward(self, maps: Tensor) -> Tensor:
        """Pool maps (b, c, h, w) to (b, 2c)."""
        return torch.cat([F.adaptive_avg_pool2d(maps, 1), F.adaptive_max_pool2d(maps, 1)], dim=1).flatten(1)


_POOLS: dict[str, type[nn.Module]] = {"gem": GeM, "average": Average, "max": Maximum}
_PLAIN: dict[str, type[nn.Module]] = {"gap": Average, "gmp": Maximum, "gem": GeM, "gap+gmp": AverageAndMaximum}


def descriptor(settings: ModelSettings, features: int) -> tuple[nn.Module, nn.Module, int]:
    """Return the pooling, the projection after it, and the length of the vector, for maps of `features` channels."""
    if settings.descriptor == "fc":
        return _POOLS[settings.pool](), _linear(features, settings.dim), settings.dim
    if settings.descriptor == "proj":
        return Average(), nn.Sequential(_linear(features, settings.dim), nn.BatchNorm1d(settings.dim)), settings.dim
    doubled = 2 if settings.descriptor == "gap+gmp" else 1
    return _PLAIN[settings.descriptor](), nn.Identity(), doubled * features


def _linear(features: int, dim: int) -> nn.Linear:
    layer = nn.Linear(features, dim, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="linear")
    return layer
