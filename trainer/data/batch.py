"""What one step learns from, and what the branch says of it: the two records between sampler, network and losses.

Letters: b images, d embedding dimensions, p pairs, h and w pixels.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


class Features(NamedTuple):
    """What a branch gives while it learns."""

    before: Tensor
    """(b, d) before the neck; metric losses look at it."""
    after: Tensor
    """(b, d) after the neck, the embedding; identification and verification look at it."""
    extra: dict[str, Tensor]
    """By name, for the losses of a branch's own (`Siamese.own`); most branches give nothing."""


@dataclass(frozen=True, eq=False)
class TrainBatch:
    """Images with everything known of them, on the device that learns."""

    images: Tensor
    """(b, 3, h, w), augmented and normalised."""
    persons: Tensor
    """(b,)"""
    cameras: Tensor
    """(b,)"""
    progress: float
    """Of the run, in [0, 1]."""
    pairs: tuple[Tensor, Tensor] | None = None
    """Places (p,) and (p,) in the batch, where pairs were drawn as such; otherwise the losses make them."""
    regions: Tensor | None = field(default=None)
    """(b, h, w) labels of body regions, moved with the images; None where nobody has them."""
