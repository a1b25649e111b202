"""The part of the siamese network that is deployed: images -> embedding.

Source of the neck: Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-identification", CVPRW 2019.

Letters: b images, d embedding dimensions, r reduced ones.
"""

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor, nn

from trainer.config import ModelSettings
from trainer.data.batch import Features
from trainer.model.backbones import Backbone
from trainer.model.descriptors import descriptor


class Branch(nn.Module):
    """One stream: images -> embedding; the only part that is deployed."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.backbone = Backbone(settings)
        self.pool, self.projection, self.dim = descriptor(settings, self.backbone.num_features)
        self.neck = bn_neck(self.dim) if settings.neck else nn.Identity()
        self.reduction: nn.Linear | None = None

    def features(self, images: Tensor) -> Features:
        """Return the vectors before and after the neck of images (b, 3, h, w)."""
        before = self.projection(self.pool(self.backbone(images))).float()  # (b, d)
        return Features(before, self.neck(before), {})

    def forward(self, images: Tensor) -> Tensor:
        """Return the embedding (b, d), not normalised, of images (b, 3, h, w); reduced, where that was learned."""
        found = self.features(images).after
        return found if self.reduction is None else self.reduction(F.normalize(found, dim=1))

    def reduce(self, axes: Tensor) -> None:
        """Project the embedding from now on to axes (r, d); trainer/model/reduction.py."""
        self.reduction = nn.Linear(axes.shape[1], axes.shape[0], bias=False)
        with torch.no_grad():
            self.reduction.weight.copy_(axes)
        self.dim = axes.shape[0]


def bn_neck(dim: int) -> nn.Module:
    """Return a batch normalisation without a shift: classes stay around the origin (Luo et al. 2019, section 3.5)."""
    neck = nn.BatchNorm1d(dim)
    neck.bias.requires_grad = False
    return neck
