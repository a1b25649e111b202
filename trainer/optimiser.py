"""How weights move: parameter groups, the learning rate over the run, the moving average.

Sources: cosine: Loshchilov & Hutter (arXiv 1608.03983); decoupled decay: the same authors (arXiv 1711.05101).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainer.config import OptimiserSettings


def build_optimiser(model: nn.Module, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """Return AdamW or SGD; vectors and scalars (normalisation, GeM, verification) do not decay."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    if settings.kind == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=settings.lr)


def learning_rate(settings: OptimiserSettings, progress: float) -> float:
    """Return the learning rate at `progress` of the run in [0, 1].

    >>> plan = OptimiserSettings(lr=1.0, warmup=0.1)
    >>> [round(learning_rate(plan, progress), 3) for progress in (0.0, 0.05, 0.1, 0.55, 1.0)]
    [0.1, 0.55, 1.0, 0.505, 0.01]
    """
    if progress < settings.warmup:
        return settings.lr * (0.1 + 0.9 * progress / settings.warmup)
    if settings.schedule == "step":
        return settings.lr * 0.1 ** sum(progress >= milestone for milestone in settings.milestones)
    done = (progress - settings.warmup) / max(1e-9, 1 - settings.warmup)
    return settings.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


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
