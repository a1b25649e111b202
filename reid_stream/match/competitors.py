"""Require more of a match where a track looks like several known people at once (pure).

    squared distances of a query to all identities -> how much each candidate must exceed the threshold by

Over strangers a calibrated likelihood ratio is 1 on average, so the ratios of a query and n other identities sum to
about n (and P(candidate) = its ratio / the sum of all, by Bayes). Where many people wear one uniform the sum is a
multiple of that, for those in uniform only. A candidate's requirement is raised by

    ln((PRIOR_STRANGERS + sum over the other identities) / (PRIOR_STRANGERS + n)), where positive

which compares it with this very query's competitors (a cohort normalisation of scores: Auckenthaler et al., "Score
normalization for text-independent speaker verification systems", Digital Signal Processing 10, 2000), with a prior, so
that a few known people change little. It is never lowered: decision 43.
"""

import numpy as np
import numpy.typing as npt

from reid_stream.match.scoring import Scorer
from reid_stream.records import Floats

Doubles = npt.NDArray[np.float64]

PRIOR_STRANGERS = 10.0
"""Strangers with a likelihood ratio of 1 that are added to the competitors."""
_MOST_LLR = 6.0
"""Log likelihood ratio at which one competitor is cut off: beyond it, it is rather another identity of the same person,
not merged yet."""
_MOST_EXCESS = 3.0
"""Most that is added to a threshold."""


def excess(scorer: Scorer, row: Floats, appearance: Doubles, floor: float, others: int) -> Doubles:
    """Return what is added to the threshold of each candidate (k,), 0 or more.

    Args:
        scorer: gives the log likelihood ratios.
        row: (s,) squared distances of the query to all identities.
        appearance: (k,) log likelihood ratios by appearance of the candidates, which are in `row`, too.
        floor: what `Scorer.floor` returns.
        others: number of known people besides the candidate.
    """
    if not scorer.is_calibrated:
        return np.zeros_like(appearance)
    # Those with a ratio below 1 add up to little, so only nearer ones are scored.
    near = row[row < scorer.even_squared(floor)]
    total = float(np.exp(np.minimum(scorer.llr(near, floor), _MOST_LLR)).sum())
    own = np.where(appearance > 0, np.exp(np.minimum(appearance, _MOST_LLR)), 0.0)
    raised = np.log((PRIOR_STRANGERS + np.maximum(0.0, total - own)) / (PRIOR_STRANGERS + others))
    return np.clip(raised, 0.0, _MOST_EXCESS)
