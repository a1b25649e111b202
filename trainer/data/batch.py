"""Records between sampler, network and losses: a training batch, and the features of its images.

Letters: b images, d embedding dimensions, p pairs, h and w pixels.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


class Features(NamedTuple):
    """Output of a branch in training."""

    before: Tensor
    """(b, d) before the neck; metric losses look at it."""
    after: Tensor
    """(b, d) after the neck, the embedding; identification and verification look at it."""
    extra: dict[str, Tensor]
    """Further outputs by name, for branch-specific losses (`Siamese.own`); empty for most branches."""


@dataclass(frozen=True, eq=False)
class TrainBatch:
    """Images with their labels, on the training device."""

    images: Tensor
    """(b, 3, h, w), augmented and normalised."""
    persons: Tensor
    """(b,)"""
    cameras: Tensor
    """(b,)"""
    progress: float
    """Share of the run that is done, in [0, 1]."""
    pairs: tuple[Tensor, Tensor] | None = None
    """Places (p,) and (p,) in the batch, where pairs were drawn as such; otherwise the losses make them."""
    regions: Tensor | None = field(default=None)
    """(b, h, w) labels of body regions, moved with the images; None where there are none."""
