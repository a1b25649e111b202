"""Tracking scores HOTA, AssPr, AssRe and IDF1, over all cameras of a set and per camera (pure).

All cameras share one identity space and count as extra time steps of one sequence, as in MTMC evaluation (DukeMTMC; AI
City Challenge): a person who changes camera and number is a missed link (AssRe), two people with one number are a wrong
merge (AssPr). A camera alone is judged the same way, its own time steps only. The formulas are those of `trackers.eval`
(HOTA: Luiten et al., IJCV 2021; IDF1: Ristani et al., 2016).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from reid_stream.evaluation.align import Alignment, Boxes, Ints, align


@dataclass(frozen=True, slots=True)
class Score:
    """All in [0, 1]."""

    hota: float
    det_a: float
    det_pr: float
    """Low: boxes where nobody is."""
    det_re: float
    """Low: people nobody told of."""
    ass_a: float
    ass_pr: float
    """Low: people were taken for one another."""
    ass_re: float
    """Low: one person has many numbers."""
    idf1: float
    idp: float
    idr: float


def score(truth: Mapping[str, Boxes], predicted: Mapping[str, Boxes]) -> Score:
    """Compare what was predicted with the truth, over all cameras at once.

    Frames without truth count too: a box there is a false one. Cameras of the truth without a prediction count as seen
    by nobody.

    Raises:
        ValueError: a predicted camera has no truth, or a person appears twice in one frame of a camera.
    """
    return score_aligned(align(truth, predicted))


def score_cameras(aligned: Alignment) -> dict[str, Score]:
    """Score each camera by itself: links between cameras play no part. Cameras nobody truly passes are left out."""
    present = set(np.unique(aligned.true.cameras).tolist())
    return {
        camera: score_aligned(aligned, np.flatnonzero(aligned.steps == n))
        for n, camera in enumerate(aligned.cameras)
        if n in present
    }


def mean(scores: Sequence[Score]) -> Score:
    """Return the mean of each figure, all scores weighing the same."""
    return Score(**{item.name: float(np.mean([getattr(each, item.name) for each in scores])) for item in fields(Score)})


def score_aligned(aligned: Alignment, steps: Ints | None = None) -> Score:
    """Score time steps, all of them where none are named."""
    from trackers.eval import compute_hota_metrics, compute_identity_metrics

    chosen = range(len(aligned.steps)) if steps is None else steps.tolist()
    true_ids, told_ids = (
        [side.people[side.starts[step] : side.starts[step + 1]] for step in chosen]
        for side in (aligned.true, aligned.told)
    )
    overlaps = [aligned.table(step) for step in chosen]
    hota = compute_hota_metrics(true_ids, told_ids, overlaps)
    identity = compute_identity_metrics(true_ids, told_ids, overlaps)
    return Score(
        hota=float(hota["HOTA"]),
        det_a=float(hota["DetA"]),
        det_pr=float(hota["DetPr"]),
        det_re=float(hota["DetRe"]),
        ass_a=float(hota["AssA"]),
        ass_pr=float(hota["AssPr"]),
        ass_re=float(hota["AssRe"]),
        idf1=float(identity["IDF1"]),
        idp=float(identity["IDP"]),
        idr=float(identity["IDR"]),
    )
