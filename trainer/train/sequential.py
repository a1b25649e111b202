"""Training on one image after another with accumulated gradients: identification, then mined triplets.

    identification:  batch ─▶ images of one size at a time ─▶ loss / b ─▶ backward … ─▶ one change of the weights
    ranking:         pool of N images ─▶ vectors ─▶ hard triplets for k changes ─▶ the same, normalisation frozen

Images of different sizes cannot share a tensor: to keep their aspect ratio, they are processed one at a time or in
groups of one size. With batch normalisation frozen, grouping does not change the gradients. The mined triplets are part
of a run's state, because the weights that found them are gone after a kill.

Source: Almazan et al., "Re-ID done right" (arXiv 1801.05339); k, N and the margin of its re-implementations.

Letters: b images of a batch, t triplets, n images of the pool, d dimensions, h and w pixels.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor, nn

from trainer.config import RankingSettings
from trainer.data.crops import Images, Ints
from trainer.evaluate.retrieval import Floats

Vectors = Callable[[Ints], Tensor]
"""Rows (b,) of images of one size -> embeddings (b, d), with gradients."""
_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d)


def by_size(rows: Ints, images: Images, most: int) -> Iterator[Ints]:
    """Yield places in `rows`, at most `most` at a time, of images that share a size."""
    if images.sizes is None:
        groups = [np.arange(len(rows))]
    else:
        which = np.unique(images.sizes[rows], axis=0, return_inverse=True)[1].reshape(-1)
        groups = [np.flatnonzero(which == size) for size in range(int(which.max()) + 1)]
    for group in groups:
        for start in range(0, len(group), most):
            yield group[start : start + most]


def identify(
    rows: Ints, images: Images, most: int, loss: Callable[[Ints], Tensor], backward: Callable[[Tensor], object]
) -> float:
    """Add up the gradients of the mean of a loss (b,) over a batch; return the mean.

    `loss` is given rows of one size and returns a value for each.
    """
    total = 0.0
    for places in by_size(rows, images, most):
        part = loss(rows[places]).sum() / len(rows)
        backward(part)
        total += float(part.detach())
    return total


def rank(
    triplets: Ints,
    images: Images,
    settings: RankingSettings,
    vectors: Vectors,
    backward: Callable[[Tensor], object],
) -> float:
    """Add up the gradients of the mean triplet loss over rows (t, 3): query, same person, another; return the mean."""
    total = 0.0
    for start in range(0, len(triplets), settings.together):
        chunk = triplets[start : start + settings.together]
        rows = chunk.reshape(-1)  # (3t,)
        places = list(by_size(rows, images, len(rows)))
        parts = torch.cat([vectors(rows[group]) for group in places])
        found = parts[torch.from_numpy(np.argsort(np.concatenate(places)))]  # (3t, d) in the order of the triplets
        query, same, other = found.view(len(chunk), 3, -1).unbind(1)
        part = triplet_loss(query, same, other, settings.margin).sum() / len(triplets)
        backward(part)
        total += float(part.detach())
    return total


def triplet_loss(query: Tensor, same: Tensor, other: Tensor, margin: float) -> Tensor:
    """Return max(0, m + |q - s|^2 - |q - o|^2) / 2 on unit vectors, (t,) of three stacks (t, d)."""
    query, same, other = (F.normalize(item, dim=1) for item in (query, same, other))
    near, far = (query - same).square().sum(dim=1), (query - other).square().sum(dim=1)
    return 0.5 * torch.relu(margin + near - far)


def mine(vectors: Floats, pool: Ints, images: Images, count: int, hardest: int, random: np.random.Generator) -> Ints:
    """Return triplets (t, 3) of rows: for each query one of its hardest, t at most `count`.

    `vectors` (n, d) of unit length are those of the rows `pool` (n,). The same person is taken from other cameras where
    the pool has it there, since a match within one camera is junk to the protocol. Hardest is where loss is largest.
    """
    persons, cameras = images.persons[pool], images.cameras[pool]
    chosen: list[tuple[int, int, int]] = []
    for query in random.permutation(len(pool)).tolist():
        same = np.flatnonzero(persons == persons[query])
        across = same[cameras[same] != cameras[query]]
        same = across if len(across) else same[same != query]
        if not len(same):
            continue
        squared = 2 - 2 * vectors @ vectors[query]  # (n,)
        others = np.flatnonzero(persons != persons[query])
        if len(others) > hardest:
            others = others[np.argpartition(squared[others], hardest - 1)[:hardest]]
        worst = squared[same][:, None] - squared[others][None, :]  # (s, o)
        best = np.argsort(worst, axis=None, kind="stable")[::-1][:hardest]
        place = int(best[random.integers(len(best))])
        one, other = divmod(place, len(others))
        chosen.append((int(pool[query]), int(pool[same[one]]), int(pool[others[other]])))
        if len(chosen) == count:
            break
    return np.array(chosen, dtype=np.int64).reshape(-1, 3)


def freeze_normalisation(model: nn.Module) -> None:
    """Switch batch normalisation to its running statistics, as in inference; its scale and shift are still trained."""
    for module in model.modules():
        if isinstance(module, _NORMALISATIONS):
            module.eval()
