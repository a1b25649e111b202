"""Rank-1 and mAP on the validation persons while training.

Letters: n images, d embedding dimensions.
"""

import numpy as np
from torch import nn

from reid_stream.embed.preprocess import InputSpec
from trainer.data.crops import Images
from trainer.evaluate.embedding import embed_images
from trainer.evaluate.retrieval import RetrievalLabels, score, squared_distances


def validate(branch: nn.Module, held: Images, spec: InputSpec) -> dict[str, float]:
    """Query with one image per person and camera among all others; the Market-1501 rule drops same-camera matches."""
    vectors = embed_images(branch, held, spec, flip=False)  # (n, d)
    keys = held.persons * (held.cameras.max() + 1) + held.cameras
    query = np.unique(keys, return_index=True)[1]
    labels = RetrievalLabels(held.persons[query], held.cameras[query], held.persons, held.cameras)
    found = score(squared_distances(vectors[query], vectors), labels, ranks=1)
    return {"mAP": found.mean_ap, "rank1": float(found.cmc[0])}
