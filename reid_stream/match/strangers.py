"""How alike strangers look on this site, from people seen side by side (pure).

    two tracks at one instant on one camera -> margin of a pair that is known to be two people -> shift

The dial's promise rests on a curve of strangers measured where the embedder was made. A site whose people, light or
lens are foreign to it finds its strangers more alike, and the promise breaks: on PETS09-S2L1 one pair of strangers in
ten exceeds evidence that one in three hundred may. Two people seen at once on one camera are strangers for certain, so
every site measures its own curve for nothing; by as much as it lies above the bundle's, margins count for less. Where
it lies below, nothing is changed: a promise may be kept better than asked for.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

RATES = (0.3, 0.2, 0.1)
"""Where the two curves are compared: rare enough to be of the alike, common enough to be known from a hundred pairs,
and far from what a person detected twice, who is no stranger, could spoil."""
_PAIRS = 256
"""Newest pairs kept."""
_DOUBT = 1.25
"""Standard errors of a mean that are taken off the shift: about one of a quantile (of a normal one's median: 1.253)."""


class Strangers(msgspec.Struct):
    """Margins of pairs known to be two people, by the two tracks; the newest last."""

    pairs: dict[int, float] = {}

    def learn(self, a: int, b: int, margin: float) -> None:
        """Take in what two tracks seen side by side look like now; serials in any order."""
        key = (min(a, b) << 32) + max(a, b)
        self.pairs.pop(key, None)
        self.pairs[key] = margin
        if len(self.pairs) > _PAIRS:
            del self.pairs[next(iter(self.pairs))]

    def shift(self, expected: Sequence[float]) -> float:
        """Return by how much strangers exceed what is expected of them at `RATES`; 0 where they do not, for certain."""
        if not self.pairs or not expected:
            return 0.0
        margins = np.fromiter(self.pairs.values(), dtype=np.float64)
        found = float(np.mean(np.quantile(margins, [1 - rate for rate in RATES])))
        doubt = _DOUBT * float(np.std(margins)) / float(np.sqrt(len(margins)))
        return max(0.0, found - float(np.mean(expected)) - doubt)
