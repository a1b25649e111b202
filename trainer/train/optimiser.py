"""Optimiser: parameter groups, learning rate schedule, moving average of the weights.

Sources: epochs: Cao & Lee (arXiv 1910.04061), sections 3.2 and 3.3; cosine: Loshchilov & Hutter (arXiv
1608.03983); decoupled decay: the same authors (arXiv 1711.05101).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainer.config import OptimiserSettings, RankingSettings, TrainSettings


def build_optimiser(model: nn.Module, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """Return AdamW or SGD; vectors and scalars (normalisation, GeM, verification) do not decay.

    Each group's `factor` is to be multiplied with the learning rate: the backbone's may be smaller.
    """
    groups: list[dict[str, Any]] = []
    for decays in (True, False):
        for factor in dict.fromkeys((1.0, settings.backbone_lr)):
            chosen = [
                parameter
                for name, parameter in model.named_parameters()
                if parameter.requires_grad
                and (parameter.ndim >= 2) == decays
                and (settings.backbone_lr if ".backbone." in f".{name}" else 1.0) == factor
            ]
            if chosen:
                decay = settings.weight_decay if decays else 0.0
                groups.append({"params": chosen, "weight_decay": decay, "factor": factor})
    if settings.kind == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=settings.lr)


def learning_rate(settings: OptimiserSettings, progress: float) -> float:
    """Return the learning rate at `progress` of the run in [0, 1].

    >>> plan = OptimiserSettings(lr=1.0, warmup=0.1)
    >>> [round(learning_rate(plan, progress), 3) for progress in (0.0, 0.05, 0.1, 0.55, 1.0)]
    [0.1, 0.55, 1.0, 0.505, 0.01]
    """
    if settings.schedule == "epochs":
        return settings.lr * _by_epochs(settings, progress)
    if progress < settings.warmup:
        return settings.lr * (0.1 + 0.9 * progress / settings.warmup)
    if settings.schedule == "step":
        return settings.lr * 0.1 ** sum(progress >= milestone for milestone in settings.milestones)
    done = (progress - settings.warmup) / max(1e-9, 1 - settings.warmup)
    return settings.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def rate_at(settings: TrainSettings, progress: float) -> float:
    """Return a run's learning rate at `progress` in [0, 1]; a ranking has its own, after the other's end."""
    if progress >= settings.ranking.start:
        return ranking_rate(settings.ranking, progress)
    return learning_rate(settings.optimiser, progress / settings.ranking.start)


def ranking_rate(settings: RankingSettings, progress: float) -> float:
    """Return the learning rate of the ranking at `progress` of the run: halved at even intervals.

    >>> [ranking_rate(RankingSettings(start=0.5, lr=8.0, halvings=3), share) for share in (0.5, 0.7, 0.8, 1.0)]
    [8.0, 4.0, 2.0, 1.0]
    """
    done = (progress - settings.start) / max(1e-9, 1 - settings.start)
    return settings.lr * 0.5 ** min(settings.halvings, int(done * (settings.halvings + 1)))


def _by_epochs(settings: OptimiserSettings, progress: float) -> float:
    """Return the factor of Cao & Lee at `progress`: a warm-up over the first epochs, a tenth again every 40.

    The first epochs are counted, not the share: 256 epochs in a tenth of the time have a tenth of each.
    """
    length = settings.nominal_epochs or settings.epochs or 1.0
    epoch = progress * length
    factor = float(0.1 ** (int(epoch + 1e-9) // settings.decay_epochs))
    if epoch >= settings.warmup_epochs:
        return factor
    return factor * (0.1 if settings.warmup_kind == "constant" else 0.1 + 0.9 * epoch / settings.warmup_epochs)


def ema_update(decay: float) -> Callable[[Any, Any, Tensor | int], None]:
    """Return the update of an averaged model; its memory grows with the run, so an early average is not the start."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        number = float(count)
        weight = 1 - min(decay, (1 + number) / (10 + number))
        for old, new in zip(averaged, current, strict=True):
            if old.is_floating_point():
                old.lerp_(new, weight)
            else:
                old.copy_(new)

    return update
