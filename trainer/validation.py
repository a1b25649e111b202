"""Rank-1 and mAP on the validation persons while training, in one matrix product.

Letters: n images, d embedding dimensions.
"""

import numpy as np
from torch import nn

from reid_stream.embed.preprocess import InputSpec
from trainer.data import Images
from trainer.embedding import embed


def validate(branch: nn.Module, held: Images, spec: InputSpec) -> dict[str, float]:
    """Let one image per person and camera ask, all others answer; the Market-1501 rule drops same-camera matches."""
    vectors = embed(branch, held.pixels, spec, flip=False)  # (n, d)
    keys = held.persons * (held.cameras.max() + 1) + held.cameras
    query = np.unique(keys, return_index=True)[1]
    return score(vectors[query] @ vectors.T, held, query)


def score(similarity: np.ndarray, held: Images, query: np.ndarray) -> dict[str, float]:
    """Return mean average precision (step) and Rank-1 of similarities (queries, n)."""
    precisions, firsts = [], []
    for row, asked in zip(similarity, query, strict=True):
        own = (held.persons == held.persons[asked]) & (held.cameras == held.cameras[asked])
        order = np.argsort(-row[~own], kind="stable")
        hits = (held.persons[~own] == held.persons[asked])[order]
        if not hits.any():
            continue
        places = np.flatnonzero(hits)
        precisions.append(float(np.mean(np.arange(1, len(places) + 1) / (places + 1))))
        firsts.append(float(places[0] == 0))
    if not precisions:
        return {"mAP": 0.0, "rank1": 0.0}
    return {"mAP": float(np.mean(precisions)), "rank1": float(np.mean(firsts))}
