"""Distillation losses: on vectors, and on pairwise similarities.

Sources: similarity-preserving distillation, Tung & Mori, ICCV 2019 (arXiv 1907.09682), on cosines; relational knowledge
distillation, Park et al., CVPR 2019 (arXiv 1904.05068).

Letters: b images, d embedding dimensions, t dimensions of a teacher.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor


def vector_loss(projected: Tensor, target: Tensor) -> Tensor:
    """Return the mean of 1 - cosine between projected student vectors (b, t) and teacher vectors (b, t)."""
    return (1 - F.cosine_similarity(projected, target, dim=1)).mean()


def pair_loss(vectors: Tensor, targets: Sequence[Tensor], weights: Sequence[float], close: float) -> Tensor:
    """Return the weighted mean squared difference of pairwise cosines, over all pairs of a batch.

    Args:
        vectors: of the student (b, d), of any length.
        targets: of each teacher (b, t), unit length.
        weights: share of each teacher's cosines in the target; they are normalised to a sum of 1.
        close: a pair of target cosine c counts 1 + close * max(0, c): the few alike pairs decide rankings.
    """
    unit = F.normalize(vectors, dim=1)
    found = unit @ unit.T  # (b, b)
    total = sum(weights)
    wanted = torch.stack(
        [weight / total * (target @ target.T) for weight, target in zip(weights, targets, strict=True)]
    )
    wanted = wanted.sum(dim=0)  # (b, b)
    different = ~torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    weight = 1 + close * wanted.clamp(min=0)
    return ((found - wanted).square() * weight)[different].mean()


def centred(vectors: Tensor, mean: Tensor) -> Tensor:
    """Return vectors (b, t) with their set's mean (t,) taken off, at unit length.

    The common part of all vectors of a teacher distinguishes no one and would hide small differences of cosines.
    """
    return F.normalize(vectors - mean, dim=1)
