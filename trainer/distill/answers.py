"""Numbered batches of views with the answers of each teacher, computed on demand and cached.

Batch k is repeatable from (seed, k): labelled P x K crops of one set, then free crops of the whole pool. Its views are
numbers k * b to k * b + b - 1 of the caches.

Letters: b views of a batch, t dimensions of a teacher.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reid_stream.embed.preprocess import UInt8, resize
from reid_stream.images import without_clutter
from trainer.config import SamplerSettings, TrainSettings
from trainer.data.crops import IMAGE_SUFFIXES, Images, Ints, decode
from trainer.data.sampler import Sampler
from trainer.distill.cache import AnswerCache, set_hash
from trainer.distill.losses import centred
from trainer.distill.teacher import OpenTeacher
from trainer.distill.views import change, mix
from trainer.errors import DataError

WARMUP_BATCHES = 8
"""Batches answered before the first step: the teachers' mean vectors are taken from these."""


class OneSetSampler(Sampler):
    """Sampler of P x K batches of one set each: two sets may show one person under two names, which is no negative."""

    def _draw_persons(self, random: np.random.Generator) -> list[int]:
        persons = self._persons[int(random.choice(len(self.shares), p=self.shares))]
        return [int(person) for person in random.choice(persons, min(len(persons), self.settings.persons), False)]


@dataclass(frozen=True, eq=False)
class AnsweredBatch:
    """Views with the teachers' answers; the first `len(rows)` are labelled."""

    views: UInt8
    """(b, h, w, 3)"""
    rows: Ints
    """Places of the labelled views in the training images."""
    targets: tuple[Tensor, ...]
    """Vectors of each teacher (b, t), centred, unit length."""


class Answers:
    """Batches of views by number, answered once per teacher and cached."""

    def __init__(
        self, settings: TrainSettings, images: Images, teachers: tuple[OpenTeacher, ...], folder: Path
    ) -> None:
        """Answer the first batches, so that the teachers' means are known.

        Raises:
            DataError: a folder of unlabelled crops holds none, or a cache does not fit.
            TrainerError: a cache cannot be written.
        """
        self._seed, self._plan = settings.run.seed, settings.distill
        self._images = images
        self._sampler = OneSetSampler(images, settings.sampler, settings.run.seed)
        size = (settings.data.height, settings.data.width)
        self._pool = np.concatenate([images.pixels, *(read_unlabelled(path, *size) for path in self._plan.unlabelled)])
        self.unlabelled = len(self._pool) - len(images)
        self._teachers = teachers
        name = set_hash(self._pool, _facts(settings.sampler, settings))
        self._caches = [AnswerCache(folder, teacher.hash, name, teacher.dim) for teacher in teachers]
        first = [self._answered(number) for number in range(WARMUP_BATCHES)]
        self._means = [
            torch.from_numpy(np.concatenate([vectors[place] for _, _, vectors in first]).mean(axis=0))
            for place in range(len(teachers))
        ]

    def batch(self, number: int) -> AnsweredBatch:
        """Return batch `number`, asking the teachers for it and for earlier ones that they have not answered yet."""
        views, rows, vectors = self._answered(number)
        targets = tuple(
            centred(torch.from_numpy(found), mean) for found, mean in zip(vectors, self._means, strict=True)
        )
        return AnsweredBatch(views, rows, targets)

    def number_at(self, step: int) -> int:
        """Return which batch a step sees: every `repeat`-th a new one, the others any earlier one."""
        newest = step // self._plan.repeat
        if step % self._plan.repeat == 0:
            return newest
        return int(np.random.default_rng([self._seed, step, 2]).integers(newest + 1))

    def _answered(self, number: int) -> tuple[UInt8, Ints, list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]:
        views, rows = self._views(number)
        start, found = number * len(views), []
        for teacher, cache in zip(self._teachers, self._caches, strict=True):
            while len(cache) < start + len(views):
                missing = len(cache) // len(views)
                earlier = views if missing == number else self._views(missing)[0]
                left = earlier[len(cache) - missing * len(views) :]
                cache.append(teacher.embed(left), left)
            found.append(cache.read(start, views))
        return views, rows, found

    def _views(self, number: int) -> tuple[UInt8, Ints]:
        chance = np.random.default_rng([self._seed, number, 1])
        rows = self._sampler.batch(number)
        free = chance.integers(len(self._pool), size=self._plan.free + self._sampler_size - len(rows))
        crops = self._pool[np.concatenate([rows, free])]
        views = np.stack([change(crop, chance) for crop in crops])
        return mix(views, len(rows), self._plan.mixup, self._plan.splice, chance), rows

    @property
    def _sampler_size(self) -> int:
        return self._sampler.settings.persons * self._sampler.settings.images


def read_unlabelled(folder: Path, height: int, width: int) -> UInt8:
    """Read all images below a folder, resized to (n, height, width, 3), in the order of their paths.

    Raises:
        DataError: there is none, or one cannot be decoded.
    """
    files = sorted(file for file in without_clutter(folder.rglob("*"), folder) if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise DataError(f"distill.unlabelled must name folders with images, {folder} has none")
    return np.stack([resize(decode(file.read_bytes(), str(file)), height, width) for file in files])


def _facts(sampler: SamplerSettings, settings: TrainSettings) -> str:
    plan = settings.distill
    return repr((settings.run.seed, sampler.model_dump(), plan.free, plan.mixup, plan.splice))
