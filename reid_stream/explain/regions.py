"""Find the regions of two crops that make them alike, and those that set them apart; test them by covering them.

The vector of the other crop is held constant, so that both quantities are functions of one crop's feature maps:

    alike   f1 . f2                            gradient along f2
    apart   sum_k D_k^2 (f1_k - f2_k)^2        gradient along D^2 (f1 - f2)       differences as the verification head
                                                                                  weights them
A region's heat is the positive part of gradient times map (Grad-CAM). Behind an average pooling and a linear layer its
sum over all regions, negative parts included, is the product f1 . f2 itself; behind any other head it is of first
order. So the heat is tested: the hottest fifth of both crops is covered, and, for comparison, regions of the same shape
elsewhere.

Sources: Grad-CAM of a similarity, Zhu et al., "Visual Explanation for Deep Metric Learning" (arXiv 1909.12977);
decomposition by region, Stylianou et al., "Visualizing Deep Similarity Networks" (arXiv 1901.00536).

Letters: d dimensions, h and w pixels.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reid_stream.embed.preprocess import Floats, UInt8
from reid_stream.explain.pair import Explainer, terms

Mask = npt.NDArray[np.bool_]
COVERED = 0.2
"""Share of a crop that is covered in the test."""
_SHIFTS = ((0.5, 0.0), (0.0, 0.5), (0.5, 0.5))
"""Where the covering is moved for comparison, shares of height and width; it goes on at the opposite edge."""


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of two crops that decide, and a test of them."""

    cosine: float
    margin: float
    """Log odds of the verification head, before calibration."""
    same: float
    """P(same person) of these two crops alone, by the bundle's calibration at its own prior."""
    alike: tuple[Floats, Floats]
    """(h, w) of either crop, 0 to 1: what makes it like the other."""
    apart: tuple[Floats, Floats]
    """(h, w) of either crop, 0 to 1: what sets it apart from the other."""
    covered: float
    """Cosine with the hottest fifth of both crops covered."""
    covered_elsewhere: float
    """Mean cosine with regions of the same shape covered elsewhere."""
    bundle: str
    """Hash."""


def compare_regions(explainer: Explainer, first: UInt8, second: UInt8) -> Regions:
    """Compare RGB crops (h, w, 3) of any size.

    Raises:
        ModelError: the network gives a vector that is zero or not finite.
    """
    looked, units = explainer.activations(first, second)
    products, costs = terms(units[0], units[1], explainer.bundle.verifier)
    margin = explainer.bundle.verifier.b + float(costs.sum())
    weights = np.square(np.asarray(explainer.bundle.verifier.d))
    crops = (first, second)
    alike, apart = (
        tuple(
            looked.heat_along(side, direction.astype(np.float32), crops[side].shape[:2])
            for side, direction in enumerate(directions)
        )
        for directions in (
            (units[1], units[0]),
            (weights * (units[0] - units[1]), weights * (units[1] - units[0])),
        )
    )
    masks = [_hottest(heat) for heat in alike]
    shifted = [[_moved(mask, *shift) for mask in masks] for shift in _SHIFTS]
    cosines = _cosines(explainer, [(crops, masks), *((crops, moved) for moved in shifted)])
    return Regions(
        cosine=float(products.sum()),
        margin=margin,
        same=explainer.same(margin),
        alike=(alike[0], alike[1]),
        apart=(apart[0], apart[1]),
        covered=cosines[0],
        covered_elsewhere=float(np.mean(cosines[1:])),
        bundle=explainer.bundle.hash,
    )


def _hottest(heat: Floats) -> Mask:
    """Return the hottest fifth of a crop as a mask (h, w)."""
    order = np.argsort(-heat, axis=None, kind="stable")
    mask = np.zeros(heat.size, bool)
    mask[order[: round(COVERED * heat.size)]] = True
    return mask.reshape(heat.shape)


def _moved(mask: Mask, down: float, right: float) -> Mask:
    return np.roll(mask, (round(down * mask.shape[0]), round(right * mask.shape[1])), (0, 1))


def _cosines(
    explainer: Explainer,
    pairs: list[tuple[tuple[UInt8, UInt8], list[Mask]]],
) -> list[float]:
    """Return the cosines of pairs of crops, each crop's masked pixels in its mean colour."""
    covered = [
        np.where(mask[..., None], crop.mean((0, 1)).astype(np.uint8), crop)
        for crops, masks in pairs
        for crop, mask in zip(crops, masks, strict=True)
    ]
    vectors = explainer.vectors(covered)
    return [float(vectors[at] @ vectors[at + 1]) for at in range(0, len(vectors), 2)]
