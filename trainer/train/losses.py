"""Training losses: 0.5 + 0.5 identification, 1.0 verification, and a metric loss before the neck.

Sources: Cao & Lee (arXiv 1910.04061), section 3, for the three terms and their weights; Luo et al., CVPRW 2019, for
label smoothing and the metric loss before the neck; pytorch-metric-learning for batch-hard triplet (Hermans et al.,
arXiv 1703.07737) and circle loss (Sun et al., CVPR 2020, arXiv 2002.10857).

Letters: b images, d embedding dimensions, p pairs.
"""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from pytorch_metric_learning import distances, losses, miners
from torch import Tensor

from trainer.config import LossSettings
from trainer.data.batch import Features, TrainBatch
from trainer.data.sampler import pairs
from trainer.model.siamese import Siamese

Metric = Callable[[Tensor, Tensor], Tensor]


class Criterion:
    """The weighted sum of all terms, and the value of each term."""

    def __init__(self, settings: LossSettings, persons_per_domain: tuple[int, ...]) -> None:
        self.settings = settings
        ends = torch.tensor(persons_per_domain).cumsum(0)
        self._ranges = [(int(end) - size, int(end)) for end, size in zip(ends, persons_per_domain, strict=True)]
        self._metric = metric_loss(settings)

    def __call__(
        self, model: Siamese, features: Features, batch: TrainBatch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its terms; progress of the run sets the share of negatives where pairs are made here."""
        settings, after, persons = self.settings, features.after, batch.persons
        if batch.pairs is not None:
            first, second = batch.pairs
            same = persons[first] == persons[second]
        else:
            ratio = negatives_at(settings.negatives, batch.progress)
            first, second, same = pairs(persons, batch.cameras, after, ratio, settings.mining == "hard", generator)
        each = self.identification(model, after, persons)  # (b,)
        terms = {"identification": settings.identification * (each[first].mean() + each[second].mean())}
        if settings.verification:
            margin = model.verifier(after[first], after[second])
            terms["verification"] = settings.verification * verification(margin, same)
        if self._metric is not None:
            terms["metric"] = settings.metric_weight * self._metric(features.before, persons)
        if model.own is not None:
            terms |= model.own(features, batch)
        return torch.stack(list(terms.values())).sum(), terms

    def identification(self, model: Siamese, vectors: Tensor, persons: Tensor) -> Tensor:
        """Return the cross-entropy (b,) of each image, over all persons or over those of its domain."""
        smoothing, vectors = self.settings.label_smoothing, model.dropout(vectors)
        if len(model.heads) == 1:
            return F.cross_entropy(model.heads[0](vectors), persons, label_smoothing=smoothing, reduction="none")
        result = torch.zeros(len(vectors), device=vectors.device)
        for head, (start, end) in zip(model.heads, self._ranges, strict=True):
            rows = torch.nonzero((persons >= start) & (persons < end)).flatten()
            if len(rows):
                values = F.cross_entropy(
                    head(vectors[rows]), persons[rows] - start, label_smoothing=smoothing, reduction="none"
                )
                result = result.index_put((rows,), values)
        return result


def verification(margin: Tensor, same: Tensor) -> Tensor:
    """Return the mean cross-entropy of margins (p,) against same (p,) bool: the two-way softmax as a sigmoid."""
    return F.binary_cross_entropy_with_logits(margin, same.float())


def negatives_at(negatives: tuple[int, int], progress: float) -> int:
    """Return how many negatives a positive has at a point of the run; from first to last in equal parts.

    >>> [negatives_at((1, 4), progress) for progress in (0.0, 0.3, 0.6, 1.0)]
    [1, 2, 3, 4]
    """
    first, last = negatives
    return min(last, first + int(progress * (last - first + 1))) if last >= first else first


def metric_loss(settings: LossSettings) -> Metric | None:
    """Return the loss on vectors before the neck (b, d) with persons (b,)."""
    if settings.metric == "none":
        return None
    if settings.metric == "circle":
        # Sun et al., section 4.1: gamma 64 for person re-ID.
        return cast("Metric", losses.CircleLoss(m=settings.margin, gamma=64))
    if settings.metric == "soft-triplet":
        # Hermans et al., section 2: the soft margin on plain Euclidean distances. On unit vectors before a batch
        # normalisation all distances are alike, because their common part is large, and the loss stays at its margin.
        triplet = losses.TripletMarginLoss(
            margin=0.0, smooth_loss=True, distance=distances.LpDistance(normalize_embeddings=False)
        )
        miner = miners.BatchHardMiner(distance=distances.LpDistance(normalize_embeddings=False))
    else:
        triplet = losses.TripletMarginLoss(margin=settings.margin)
        miner = miners.BatchHardMiner()
    return lambda vectors, persons: triplet(vectors, persons, miner(vectors, persons))
