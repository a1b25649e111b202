"""Compare a compiled network's output with float32 (pure).

An embedder is judged by its vectors' cosines and by whom they rank first among real crops, a detector by the size of
the difference; both must be finite. Low precision moves numbers a little everywhere; a broken kernel, an overflow or a
wrong channel order moves some of them far, so the worst image decides, not the mean.

Letters: n images, d dimensions.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from reid_stream.engines.protocol import Floats

Kind = Literal["embedder", "detector"]

MIN_COSINE = 0.99
"""Least cosine of a crop's vector to its float32 one; the same as for bf16 on a CPU."""
MIN_RANKED = 0.95
"""Least share of crops whose nearest other crop is the same, or as near in float32."""
MAX_DIFFERENCE = 0.05
"""Largest |found - expected| / |expected| of one image's answer, as a bundle's probe asks of a detector."""
_TIE = 0.002
"""Difference of cosines that counts as a tie: what bf16 moves them by."""
_FEW = 8
"""A ranking of fewer crops is not compared."""


class Parity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Agreement of two networks' outputs."""

    pictures: int
    is_finite: bool
    difference: float
    """Largest |found - expected| / |expected| of an image; infinite values count as 1e9."""
    cosine: float | None = None
    """Least cosine; embedders only."""
    ranked: float | None = None
    """Share of crops with the same nearest other crop; embedders with enough crops only."""

    @property
    def faults(self) -> tuple[str, ...]:
        """Limits that do not hold."""
        found = []
        if not self.is_finite:
            found.append("answers must be finite, found NaN or infinity")
        if self.cosine is not None and not self.cosine >= MIN_COSINE:
            found.append(f"cosine to float32 must be at least {MIN_COSINE}, got {self.cosine:.4f}")
        if self.ranked is not None and not self.ranked >= MIN_RANKED:
            found.append(f"{MIN_RANKED:.0%} of crops must keep their nearest neighbour, got {self.ranked:.1%}")
        if self.cosine is None and not self.difference <= MAX_DIFFERENCE:
            found.append(f"answers must lie within {MAX_DIFFERENCE} of float32's, got {self.difference:.4f}")
        return tuple(found)


def worst(found: Sequence[Parity]) -> Parity:
    """Return the worst of each figure; at least one."""
    cosines = [one.cosine for one in found if one.cosine is not None]
    ranked = [one.ranked for one in found if one.ranked is not None]
    return Parity(
        pictures=sum(one.pictures for one in found),
        is_finite=all(one.is_finite for one in found),
        difference=max(one.difference for one in found),
        cosine=min(cosines, default=None),
        ranked=min(ranked, default=None),
    )


def compare(kind: Kind, expected: Floats, found: Floats, *, is_ranked: bool = True) -> Parity:
    """Compare answers (n, ...) of the same images, float32's first; n at least 1.

    `is_ranked`: the images are real crops, whose ranking by similarity is compared.
    """
    assert len(expected)
    if expected.shape != found.shape or not np.isfinite(found).all():
        return Parity(pictures=len(expected), is_finite=False, difference=1e9)
    one, other = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (expected, found))
    sizes = np.maximum(np.linalg.norm(one, axis=1), 1e-12)
    difference = float((np.linalg.norm(one - other, axis=1) / sizes).max())
    if kind == "detector":
        return Parity(pictures=len(one), is_finite=True, difference=difference)
    one, other = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (one, other))
    return Parity(
        pictures=len(one),
        is_finite=True,
        difference=difference,
        cosine=float((one * other).sum(axis=1).min()),
        ranked=_ranked(one, other) if is_ranked and len(one) >= _FEW else None,
    )


def _ranked(one: np.ndarray, other: np.ndarray) -> float:
    """Return the share of rows whose nearest other row is the same in both, or a tie in the first.

    Crops of one track are nearly the same: which of them comes first is chance.
    """
    likeness, found = one @ one.T, other @ other.T
    np.fill_diagonal(likeness, -2)
    np.fill_diagonal(found, -2)
    best, chosen = likeness.max(axis=1), likeness[np.arange(len(one)), found.argmax(axis=1)]
    return float((best - chosen <= _TIE).mean())
