"""Losses of MagnifierNet beside those that every network has.

| term | of | weight |
| --- | --- | --- |
| global | identification and batch-hard triplet of the whole | 1 |
| sab | identification with regions erased, weighed by what is left | 1 |
| sfb | identification and batch-hard triplet of the fused regions | 1 |
| parts | identification by each region alone, weighed by its size | model.parts_weight, 0.0125 |
| segmentation | cross-entropy of the regions, each class the same | model.segmentation_weight, 2 |
| diversity | Semantic Diversity Loss, in the last part of the run | model.diversity_weight, 0.01 |

With stripes in place of regions `sab` and `sfb` are called `sab_stripes` and `sfb_stripes`, and nothing is segmented.

Source: Lan et al. (arXiv 2002.10979), after the code that `trainer.model.magnifier` names: `loss.py`,
`layers/seg_loss.py`, `layers/div_loss.py`; weights of its configuration for CUHK03-L and Market-1501.

Letters: b images, n persons, r regions, c channels, h and w of a map.
"""

from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from pytorch_metric_learning import distances, losses, miners, reducers
from torch import Tensor, nn

from trainer.data.batch import Features, TrainBatch
from trainer.errors import TrainerError
from trainer.model.branch import bn_neck
from trainer.model.magnifier import (
    ERASED_LOWER,
    ERASED_UPPER,
    LOWER,
    REGIONS,
    UPPER,
    AdversarialBranch,
    MagnifierBranch,
    one_hot,
    stripes,
)

SMOOTHING, MARGIN = 0.1, 0.3
"""Label smoothing and triplet margin (reid-strong-baseline, Luo et al. 2019)."""


class MagnifierLosses(nn.Module):
    """The classifiers of all branches, and the terms they give; not deployed."""

    def __init__(self, branch: MagnifierBranch, persons: int) -> None:
        super().__init__()
        self._branch = (branch,)  # in a tuple: its weights are the branch's own, not ours
        settings, fine = branch.settings, branch.backbone.num_features // 2
        self.settings = settings
        self.whole = _classifier(2 * fine, persons)
        self.adversarial = _classifier(fine, persons) if settings.adversarial else None
        self.fusion = _classifier(fine, persons) if settings.fusion else None
        count = REGIONS if settings.fusion else 0
        self.part_necks = nn.ModuleList(bn_neck(fine) for _ in range(count))
        self.parts = nn.ModuleList(_classifier(fine, persons) for _ in range(count))
        plain = distances.LpDistance(normalize_embeddings=False)
        self._mine = miners.BatchHardMiner(distance=plain)
        self._hinge = losses.TripletMarginLoss(margin=MARGIN, distance=plain, reducer=reducers.MeanReducer())

    def forward(self, features: Features, batch: TrainBatch) -> dict[str, Tensor]:
        """Return the terms, weighed."""
        branch, settings, extra, persons = self._branch[0], self.settings, features.extra, batch.persons
        name = "_stripes" if settings.regions == "stripes" else ""
        terms = {"global": _identification(self.whole(extra["whole_after"]), persons).mean()}
        terms["global"] = terms["global"] + self.triplet(extra["whole"], persons)
        if branch.adversarial is not None and self.adversarial is not None:
            maps = extra["adversarial"].float()
            term = self.erased(branch.adversarial, maps, self.masks(maps, batch), persons)
            terms[f"sab{name}"] = term
        if branch.fusion is not None and self.fusion is not None:
            maps = extra["fusion"].float()
            masks = self.masks(maps, batch)
            fused, parts, present = branch.fusion(maps, masks)
            logits = self.fusion(branch.fusion.neck(fused))
            terms[f"sfb{name}"] = _identification(logits, persons).mean() + self.triplet(fused, persons)
            terms["parts"] = settings.parts_weight * self.by_part(parts, present, masks, persons)
            if batch.progress >= settings.diversity_start and settings.diversity_weight > 0:
                terms["diversity"] = settings.diversity_weight * semantic_diversity(parts, present)
        if branch.segmentation is not None:
            labels = resized(_labels(batch), extra["segmentation"].shape[2:])
            terms["segmentation"] = settings.segmentation_weight * balanced_cross_entropy(extra["segmentation"], labels)
        return terms

    def erased(self, branch: AdversarialBranch, maps: Tensor, masks: Tensor, persons: Tensor) -> Tensor:
        """Return the identification loss of maps (b, c, h, w) from which two upper and one lower region are taken.

        The choice is one for the whole batch, from torch's own chance, whose state a checkpoint keeps.
        """
        kept = kept_of(masks, drawn_regions())
        logits = cast("nn.Module", self.adversarial)(branch.neck(branch(maps, kept)))
        left = torch.sigmoid(kept.mean(dim=(1, 2, 3))).expand(len(maps))  # (b,)
        return (left * _identification(logits, persons)).mean()

    def by_part(self, parts: Tensor, present: Tensor, masks: Tensor, persons: Tensor) -> Tensor:
        """Return the sum over regions of the identification losses of those (b, r, c) that are `present` (b, r).

        Each image's loss is weighed by sigmoid(share of its pixels); an absent region teaches nothing.
        """
        size = torch.sigmoid(masks.mean(dim=(2, 3))).expand(len(parts), REGIONS)  # (b, r)
        total = parts.new_zeros(())
        for region, (neck, head) in enumerate(zip(self.part_necks, self.parts, strict=True)):
            rows = torch.nonzero(present[:, region]).flatten()
            if len(rows) > 1:  # a batch normalisation needs two
                each = _identification(head(neck(parts[rows, region])), persons[rows])
                total = total + (size[rows, region] * each).sum() / len(parts)
        return total

    def triplet(self, vectors: Tensor, persons: Tensor) -> Tensor:
        """Return the batch-hard triplet loss of vectors (b, c) of any length, mean over all anchors."""
        return cast("Tensor", self._hinge(vectors, persons, self._mine(vectors, persons)))

    def masks(self, maps: Tensor, batch: TrainBatch) -> Tensor:
        """Return where the regions lie on `maps`, by the labels: (b, r, h, w); of stripes (1, r, h, w)."""
        if self.settings.regions == "stripes":
            return stripes(*maps.shape[2:]).to(maps.device)
        return one_hot(resized(_labels(batch), maps.shape[2:]))


def balanced_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over the classes that occur of the cross-entropy of logits (b, r, h, w) on their pixels."""
    each = F.cross_entropy(logits, labels, reduction="none")  # (b, h, w)
    found = [each[labels == region].mean() for region in range(logits.shape[1]) if bool((labels == region).any())]
    return torch.stack(found).mean()


def semantic_diversity(parts: Tensor, present: Tensor) -> Tensor:
    """Return max(0, mean over pairs of regions of their mean cosine over images): regions should differ.

    `parts` are (b, r, c); a pair counts in images that have both (`present`, (b, r)), and not at all if none has.
    """
    unit = F.normalize(parts, dim=2)
    cosines = unit @ unit.transpose(1, 2)  # (b, r, r)
    both = present[:, :, None] * present[:, None, :]
    first, second = torch.triu_indices(parts.shape[1], parts.shape[1], offset=1)
    images = both[:, first, second].sum(dim=0)  # (pairs,)
    means = (cosines * both)[:, first, second].sum(dim=0) / images.clamp(min=1)
    return (means.sum() / (images > 0).sum().clamp(min=1)).clamp(min=0)


def drawn_regions() -> tuple[int, ...]:
    """Return which regions to erase: two of the upper body, head included, and one of the lower."""
    upper = torch.randperm(len(UPPER))[:ERASED_UPPER].tolist()
    lower = torch.randperm(len(LOWER))[:ERASED_LOWER].tolist()
    return tuple(sorted([UPPER[index] for index in upper] + [LOWER[index] for index in lower]))


def kept_of(masks: Tensor, erased: tuple[int, ...]) -> Tensor:
    """Return what erasing regions leaves of a map, (b or 1, 1, h, w), 0 to 1."""
    return (1 - masks[:, list(erased)].sum(dim=1, keepdim=True)).clamp(min=0)


def resized(labels: Tensor, size: torch.Size) -> Tensor:
    """Return labels (b, h, w) at another size, by their nearest neighbour: classes cannot be blended."""
    return F.interpolate(labels[:, None].float(), size=tuple(size), mode="nearest-exact")[:, 0].round().long()


def _labels(batch: TrainBatch) -> Tensor:
    if batch.regions is None:
        raise TrainerError("model.regions other than stripes needs labels of the images; see data.regions")
    return batch.regions


def _identification(logits: Tensor, persons: Tensor) -> Tensor:
    """Return the cross-entropy (b,) with smoothed labels."""
    return F.cross_entropy(logits, persons, label_smoothing=SMOOTHING, reduction="none")


def _classifier(channels: int, persons: int) -> nn.Linear:
    head = nn.Linear(channels, persons, bias=False)
    nn.init.normal_(head.weight, std=0.001)
    return head
