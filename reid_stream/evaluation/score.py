"""Tracking scores HOTA, AssPr, AssRe and IDF1, over all cameras of a set and per camera (pure).

All cameras share one identity space and count as extra time steps of one sequence, as in multi-camera evaluation
(DukeMTMC; AI City Challenge): a person with different numbers on two cameras lowers AssRe, two people with one number
lower AssPr. A single camera is scored on its own time steps. Computed by `trackers.eval`, after Luiten et al., "HOTA: A
higher order metric for evaluating multi-object tracking", IJCV 129, 2021, and for IDF1, IDP and IDR Ristani et al.,
"Performance measures and a data set for multi-target, multi-camera tracking", ECCV workshops 2016.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from reid_stream.evaluation.align import Alignment, Boxes, Ints, align


@dataclass(frozen=True, slots=True)
class Score:
    """Tracking scores, all in [0, 1]."""

    hota: float
    det_a: float
    det_pr: float
    """Low with false boxes."""
    det_re: float
    """Low with missed people."""
    ass_a: float
    ass_pr: float
    """Low if different people share a number."""
    ass_re: float
    """Low if one person has several numbers."""
    idf1: float
    idp: float
    idr: float


def score(truth: Mapping[str, Boxes], predicted: Mapping[str, Boxes]) -> Score:
    """Score a prediction against the truth, over all cameras together.

    Frames without truth count as well: a box there is false. A camera without a prediction has no predicted boxes.

    Raises:
        ValueError: a predicted camera has no truth, or a person appears twice in one frame of a camera.
    """
    return score_aligned(align(truth, predicted))


def score_cameras(aligned: Alignment) -> dict[str, Score]:
    """Score each camera by itself, without links between cameras; cameras without true boxes are left out."""
    present = set(np.unique(aligned.true.cameras).tolist())
    return {
        camera: score_aligned(aligned, np.flatnonzero(aligned.steps == n))
        for n, camera in enumerate(aligned.cameras)
        if n in present
    }


def mean(scores: Sequence[Score]) -> Score:
    """Return the unweighted mean of each score."""
    return Score(**{item.name: float(np.mean([getattr(each, item.name) for each in scores])) for item in fields(Score)})


def score_aligned(aligned: Alignment, steps: Ints | None = None) -> Score:
    """Score the given time steps, by default all."""
    from trackers.eval import compute_hota_metrics, compute_identity_metrics

    chosen = range(len(aligned.steps)) if steps is None else steps.tolist()
    true_ids, predicted_ids = (
        [side.people[side.starts[step] : side.starts[step + 1]] for step in chosen]
        for side in (aligned.true, aligned.predicted)
    )
    overlaps = [aligned.table(step) for step in chosen]
    hota = compute_hota_metrics(true_ids, predicted_ids, overlaps)
    identity = compute_identity_metrics(true_ids, predicted_ids, overlaps)
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
