"""Sample pairs: every image in random order, each beside one of the same or of another person.

Batches are a pure function of (seed, step, progress), as those of trainer/data/sampler.py. Sources: Cao & Lee (arXiv
1910.04061), section 3.2; share of different persons growing over the run: Zheng et al. (arXiv 1611.05666); the partner
of the same person comes from another camera where there is one, since a match within a camera is junk to the protocol.

Letters: p pairs, n images.
"""

import numpy as np

from trainer.config import TrainSettings
from trainer.data.crops import Images, Ints
from trainer.data.sampler import Sampler
from trainer.errors import DataError


class PairSampler:
    """Sampler of batches of pairs: the first halves, then their partners in the same order."""

    def __init__(self, images: Images, pairs: int, negatives: tuple[int, int], seed: int) -> None:
        if len(images.person_names) < 2:
            raise DataError(f"training must see at least 2 persons, got {len(images.person_names)}")
        if len(images) < pairs:
            raise DataError(f"sampler.pairs must be at most the {len(images)} images of the data, got {pairs}")
        self._images, self._pairs, self._negatives, self._seed = images, pairs, negatives, seed
        self._rows = [np.flatnonzero(images.persons == person) for person in range(len(images.person_names))]
        self.alone = tuple(
            name
            for name, rows in zip(images.person_names, self._rows, strict=True)
            if len(np.unique(images.cameras[rows])) == 1
        )
        """Persons seen by one camera only: nothing across cameras can be learnt from them."""

    def batch(self, step: int, progress: float = 0.0) -> Ints:
        """Return the rows (2p,) of one batch; of the pairs, 1 in 1 + negatives is of one person."""
        random = np.random.default_rng([self._seed, step])
        first = self._anchors(step)
        share = 1 / (1 + share_of_negatives(self._negatives, progress))
        # Systematic rounding: right on average, and 1:1 is half of every batch.
        count = int(share * self._pairs + random.random())
        same = np.zeros(self._pairs, dtype=bool)
        same[random.choice(self._pairs, count, replace=False)] = True
        second = [
            self._same(int(row), random) if is_same else self._other(int(row), random)
            for row, is_same in zip(first, same, strict=True)
        ]
        return np.concatenate([first, np.array(second, dtype=np.int64)])

    def _anchors(self, step: int) -> Ints:
        """Return the first images (p,): epoch after epoch, each in its own order."""
        count = len(self._images)
        places = np.arange(step * self._pairs, (step + 1) * self._pairs)
        orders = {
            epoch: np.random.default_rng([self._seed, 2**31, epoch]).permutation(count)
            for epoch in np.unique(places // count).tolist()
        }
        return np.array([orders[place // count][place % count] for place in places.tolist()], dtype=np.int64)

    def _same(self, row: int, random: np.random.Generator) -> int:
        rows = self._rows[int(self._images.persons[row])]
        across = rows[self._images.cameras[rows] != self._images.cameras[row]]
        others = across if len(across) else rows[rows != row]
        return int(random.choice(others)) if len(others) else row  # a person of one image is its own partner

    def _other(self, row: int, random: np.random.Generator) -> int:
        while True:
            other = int(random.integers(len(self._images)))
            if self._images.persons[other] != self._images.persons[row]:
                return other


def share_of_negatives(negatives: tuple[int, int], progress: float) -> float:
    """Return negatives per positive pair at a point of the run, growing evenly.

    >>> [share_of_negatives((1, 4), progress) for progress in (0.0, 0.5, 1.0)]
    [1.0, 2.5, 4.0]
    """
    first, last = negatives
    return first + progress * (last - first)


def build_sampler(images: Images, settings: TrainSettings) -> Sampler | PairSampler:
    """Return the sampler that `sampler.kind` names."""
    if settings.sampler.kind == "pairs":
        return PairSampler(images, settings.sampler.pairs, settings.loss.negatives, settings.run.seed)
    return Sampler(images, settings.sampler, settings.run.seed)
