"""Project descriptors that are too long for a bundle to 512 numbers, learned on the training images.

The projection is the one that loses least of the unit vectors' lengths and cosines: the first singular vectors of the
training images' vectors, not centred, so that a cosine before is nearly the cosine after. The verification head goes
along: a squared difference along a new axis is weighed by the old weights of what the axis is made of. It is learned
once, when a run ends, and kept with its best weights; training continues from the full descriptor.

Letters: n images, d numbers of the full descriptor, r of the reduced one.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer.data.crops import Images
from trainer.evaluate.embedding import embed_images
from trainer.evaluate.retrieval import Floats
from trainer.model.siamese import REDUCTION, load_branch, read_weights
from trainer.train import checkpoint

LARGEST = 512
"""Largest length of a bundle's vectors."""
_IMAGES = 4096


def add_reduction(best: Path, images: Images) -> float:
    """Learn the projection of a checkpoint's descriptor and keep it there; return the share of length that it keeps."""
    saved: dict[str, Any] = read_weights(best)
    saved["averaged"].pop(REDUCTION, None)
    checkpoint.save(best, saved)
    loaded = load_branch(best)
    rows = np.linspace(0, len(images) - 1, min(_IMAGES, len(images))).astype(np.int64)
    vectors = embed_images(loaded.branch, images.at(rows), loaded.spec, flip=False)
    matrix, kept = principal_axes(vectors, LARGEST)
    saved["averaged"][REDUCTION] = torch.from_numpy(matrix)
    checkpoint.save(best, saved)
    return kept


def principal_axes(vectors: Floats, most: int) -> tuple[Floats, float]:
    """Return the first axes (r, d) of unit vectors (n, d), orthonormal, and the share of squared length along them."""
    _, values, axes = torch.linalg.svd(torch.from_numpy(vectors), full_matrices=False)
    count = min(most, len(values))
    kept = float(values[:count].square().sum() / values.square().sum())
    return axes[:count].contiguous().numpy(), kept
