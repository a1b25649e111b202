"""Sample batches of P persons x K images, and pairs within a batch.

Batches are a pure function of (seed, step): nothing has to be stored to resume after a kill, and the same step of two
runs shows the same images. P persons x K images: Hermans et al., "In Defense of the Triplet Loss" (arXiv 1703.07737);
shares of the domains as in PersonViT (ids^0.5); images of a person spread over cameras first, since a match within one
camera is junk in the evaluation.

Letters: b images of a batch, p pairs, d embedding dimensions.
"""

import numpy as np
import torch
from torch import Tensor

from trainer.config import SamplerSettings
from trainer.data.crops import Images, Ints
from trainer.errors import DataError


class Sampler:
    """Sampler of camera- and domain-balanced PxK batches."""

    def __init__(self, images: Images, settings: SamplerSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        count = len(images.person_names)
        if count < 2:
            raise DataError(f"training must see at least 2 persons, got {count}: {', '.join(images.person_names)}")
        if count < settings.persons:
            raise DataError(f"sampler.persons must be at most the {count} persons of the data, got {settings.persons}")
        self._by_camera: list[list[Ints]] = []
        for person in range(count):
            rows = np.flatnonzero(images.persons == person)
            cameras = images.cameras[rows]
            self._by_camera.append([rows[cameras == camera] for camera in np.unique(cameras)])
        self.alone = tuple(images.person_names[p] for p in range(count) if len(self._by_camera[p]) == 1)
        """Persons seen by one camera only, from whom no matching across cameras can be learned."""
        first = np.unique(images.persons, return_index=True)[1]
        domain_of = images.domains[first]  # (persons,)
        self._persons = [np.flatnonzero(domain_of == domain) for domain in range(len(images.domain_names))]
        weights = np.array([len(persons) ** settings.domain_power for persons in self._persons])
        self.shares = weights / weights.sum()
        """Share of each domain in a batch."""

    def batch(self, step: int, progress: float = 0.0) -> Ints:  # noqa: ARG002 (the same throughout the run)
        """Return the rows (P * K,) of one batch; images of a person are neighbours."""
        random = np.random.default_rng([self.seed, step])
        return np.concatenate([self._images(person, random) for person in self._draw_persons(random)])

    def _draw_persons(self, random: np.random.Generator) -> list[int]:
        total = self.settings.persons
        counts = np.floor(self.shares * total + random.random()).astype(int)  # systematic rounding: right on average
        counts = np.minimum(counts, [len(persons) for persons in self._persons])
        while counts.sum() != total:
            room = np.array([len(persons) for persons in self._persons]) - counts
            want = self.shares * total - counts
            change = 1 if counts.sum() < total else -1
            candidates = np.where(room > 0, want, -np.inf) if change > 0 else np.where(counts > 0, -want, -np.inf)
            counts[int(np.argmax(candidates))] += change
        drawn = [
            random.choice(persons, count, replace=False) for persons, count in zip(self._persons, counts, strict=True)
        ]
        return [int(person) for person in np.concatenate(drawn)]

    def _images(self, person: int, random: np.random.Generator) -> Ints:
        cameras = self._by_camera[person]
        wanted = self.settings.images
        piles = [random.permutation(cameras[index]).tolist() for index in random.permutation(len(cameras))]
        chosen: list[int] = []
        while len(chosen) < wanted and any(piles):
            chosen += [pile.pop() for pile in piles if pile]
        missing = wanted - len(chosen)
        if missing > 0:  # a person with fewer than K images: repeat
            chosen += random.choice(np.concatenate(cameras), missing).tolist()
        return np.array(chosen[:wanted], dtype=np.int64)


def pairs(
    persons: Tensor, cameras: Tensor, vectors: Tensor, negatives: int, hard: bool, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Pair the images of a batch: one positive and `negatives` negatives for each anchor.

    Positives come from another camera where the person has one; negatives are the most similar ones, or any. `vectors`
    (b, d) decide what is similar. Returns first (p,), second (p,) and same (p,) bool.
    """
    count = len(persons)
    noise = torch.rand(count, count, generator=generator).to(vectors.device)  # (b, b) in [0, 1)
    same = persons[:, None] == persons[None, :]
    others = same & ~torch.eye(count, dtype=torch.bool, device=same.device)
    across = cameras[:, None] != cameras[None, :]
    positive_score = torch.where(others, noise + across.float(), -1.0)
    best, positive = positive_score.max(dim=1)
    anchors = torch.arange(count, device=persons.device)
    with_positive = best >= 0
    unit = torch.nn.functional.normalize(vectors.detach().float(), dim=1)
    likeness = unit @ unit.T if hard else noise
    wanted = min(negatives, int((~same).sum(dim=1).min()))
    negative = torch.where(same, -2.0, likeness).topk(wanted, dim=1).indices  # (b, wanted)
    first = torch.cat([anchors[with_positive], anchors.repeat_interleave(wanted)])
    second = torch.cat([positive[with_positive], negative.flatten()])
    return first, second, persons[first] == persons[second]
