"""The learner: siamese network, optimiser and averaged weights, and one training step.

Batches, augmentation and pairs are drawn from (seed, step), not from a running generator, so the step after a restored
checkpoint is the step that an undisturbed run would have taken.
"""

import math
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from reid_stream.embed.preprocess import UInt8
from trainer.config import TrainSettings
from trainer.data.augment import augment
from trainer.data.batch import Features, TrainBatch
from trainer.data.crops import Images, Ints
from trainer.data.pair_sampler import build_sampler
from trainer.errors import CheckpointError, DataError, DivergedError
from trainer.evaluate.embedding import embed_images
from trainer.model.branch import Branch
from trainer.model.siamese import Siamese, input_spec
from trainer.model.warm_start import warm_start
from trainer.train.losses import Criterion
from trainer.train.optimiser import build_optimiser, ema_update, rate_at
from trainer.train.sequential import freeze_normalisation, identify, mine, rank

ADVICE = "lower optimiser.lr, or lengthen optimiser.warmup"


class Learner:
    """Channels-last, branch in bf16 or fp32, heads and losses in fp32; the averaged twin is validated and shipped."""

    def __init__(self, settings: TrainSettings, images: Images, regions: UInt8 | None = None) -> None:
        """`regions` (n, h, w) are labels of body regions of the images, where the network learns by them."""
        self.settings = settings
        self.images = images
        self.regions = regions
        self.sampler = build_sampler(images, settings)
        self._mined = torch.empty((0, 3), dtype=torch.long)
        """Triplets for this and the next changes of the weights, trainer/train/sequential.py."""
        self.fabric = Fabric(
            accelerator=settings.run.accelerator,
            devices=1,
            precision="bf16-mixed" if settings.run.precision == "bf16" else "32-true",
        )
        self.siamese = Siamese(settings.model, images.persons_per_domain)
        self.fresh = (
            warm_start(self.siamese, settings.model.weights, settings.model.weights_of == "backbone")
            if settings.model.weights
            else []
        )
        """Parts that `model.weights` does not give."""
        self._extend(self.siamese)
        cast("nn.Module", self.siamese).to(memory_format=torch.channels_last)
        optimiser = build_optimiser(self.siamese, settings.optimiser)
        self.model, self.optimiser = self.fabric.setup(self.siamese, optimiser)
        self.forward = torch.compile(self.model) if settings.run.compile else self.model
        self.averaged = AveragedModel(self.siamese, multi_avg_fn=ema_update(settings.optimiser.ema), use_buffers=True)
        self.criterion = Criterion(settings.loss, images.persons_per_domain)
        spec = input_spec(settings)
        self._mean = torch.tensor(spec.mean).view(1, 3, 1, 1)
        self._std = torch.tensor(spec.std).view(1, 3, 1, 1)

    def _extend(self, siamese: Siamese) -> None:
        """Add modules that are trained beside the network and not deployed; here none."""

    def _loss(self, step: int, progress: float, chance: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of batch `step` and its terms."""
        batch = self._batch(step, progress, chance)
        features = Features(*self.forward(batch.images))
        return self.criterion(self.siamese, features, batch, chance)

    @property
    def shipped(self) -> Branch:
        """The averaged branch."""
        return cast("Siamese", self.averaged.module).branch

    def step(self, step: int, progress: float) -> tuple[float, dict[str, float], float]:
        """Learn from batch number `step`; `progress` of the run in [0, 1] sets learning rate and negatives.

        Returns the loss, its terms and the learning rate.

        Raises:
            DivergedError: loss or gradient is not finite; weights are as before the step.
        """
        chance = torch.Generator().manual_seed(_seed(self.settings.run.seed, step))
        lr = rate_at(self.settings, progress)
        for group in self.optimiser.param_groups:
            group["lr"] = lr * group["factor"]
        self.optimiser.zero_grad(set_to_none=True)
        if self.settings.is_sequential:
            value, terms = self._one_after_another(step, progress, chance)
        else:
            loss, parts = self._loss(step, progress, chance)
            value, terms = float(loss.detach()), {name: float(term.detach()) for name, term in parts.items()}
            if math.isfinite(value):
                self.fabric.backward(loss)
        if not math.isfinite(value):
            raise DivergedError(f"the loss must be finite, got {value} at step {step}; {ADVICE}")
        norm = self.fabric.clip_gradients(
            self.model, self.optimiser, max_norm=self.settings.optimiser.clip, error_if_nonfinite=False
        )
        if norm is not None and not math.isfinite(float(norm)):
            raise DivergedError(f"the gradient must be finite, got norm {float(norm)} at step {step}; {ADVICE}")
        self.optimiser.step()
        self.averaged.update_parameters(self.siamese)
        return value, terms, lr

    def state(self) -> dict[str, Any]:
        """Return everything that `restore` needs.

        Raises:
            DivergedError: a weight is not finite, so the state is not worth keeping.
        """
        for name, value in self.siamese.state_dict().items():
            if not bool(torch.isfinite(value).all()):
                raise DivergedError(f"weights must be finite, {name} is not; {ADVICE}")
        return {
            "model": self.siamese.state_dict(),
            "averaged": self.averaged.module.state_dict(),
            "n_averaged": self.averaged.n_averaged,
            "optimiser": self.optimiser.state_dict(),
            "rng": torch.get_rng_state(),
            "mined": self._mined,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state; the network must have the same shape."""
        twin = {f"module.{name}": value for name, value in state["averaged"].items()}
        try:
            self.siamese.load_state_dict(state["model"])
            self.averaged.load_state_dict({**twin, "n_averaged": state["n_averaged"]})
            self.optimiser.load_state_dict(state["optimiser"])
            torch.set_rng_state(state["rng"])
            self._mined = state.get("mined", self._mined)
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"--resume needs a last.pt of the same network and persons: {error}") from error

    def _one_after_another(self, step: int, progress: float, chance: torch.Generator) -> tuple[float, dict[str, float]]:
        """Accumulate the gradients of one step; return the loss and its only term."""
        ranking, loss = self.settings.ranking, self.settings.loss
        if progress < ranking.start:

            def each(rows: Ints) -> Tensor:
                persons = self.fabric.to_device(torch.from_numpy(self.images.persons[rows]))
                vectors = Features(*self.forward(self._pixels(rows, progress, chance)[0])).after
                return 2 * loss.identification * self.criterion.identification(self.siamese, vectors, persons)

            rows = self.sampler.batch(step, progress)
            try:
                value = identify(rows, self.images, ranking.identify_together, each, self.fabric.backward)
            except ValueError as error:  # torch's words for a normalisation that is given a single number
                raise DataError(
                    "data.height must leave more than one place on the last map for an image that goes through alone, "
                    f"got {self.settings.data.height}; take larger images, or ranking.identify_together: {error}"
                ) from error
            return value, {"identification": value}
        turn = step % ranking.every
        if turn == 0 or len(self._mined) == 0:
            self._mined = torch.from_numpy(self._mine(step))
        freeze_normalisation(self.siamese)
        wanted = np.arange(turn * ranking.triplets, (turn + 1) * ranking.triplets) % len(self._mined)
        value = rank(
            self._mined.numpy()[wanted],
            self.images,
            ranking,
            lambda rows: Features(*self.forward(self._pixels(rows, progress, chance)[0])).after,
            self.fabric.backward,
        )
        return value, {"ranking": value}

    def _mine(self, step: int) -> Ints:
        ranking = self.settings.ranking
        random = np.random.default_rng([self.settings.run.seed, step, 1])
        pool = np.sort(random.choice(len(self.images), min(ranking.pool, len(self.images)), replace=False))
        with self.fabric.autocast():
            vectors = embed_images(self.siamese.branch, self.images.at(pool), input_spec(self.settings), flip=False)
        found = mine(vectors, pool, self.images, ranking.triplets * ranking.every, ranking.hardest, random)
        if not len(found):
            raise DataError(f"ranking.pool must hold two images of someone, {len(pool)} drawn images do not; raise it")
        return found

    def _pixels(self, rows: Ints, progress: float, chance: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Return images (b, 3, h, w) of one size, augmented and normalised, and their regions."""
        whole = self.images.pixels[rows]
        if self.images.sizes is not None:
            height, width = self.images.sizes[rows[0]]
            whole = whole[:, :height, :width]
        pixels = torch.from_numpy(whole).permute(0, 3, 1, 2).float() / 255  # (b, 3, h, w)
        regions = None if self.regions is None else torch.from_numpy(self.regions[rows])
        moved, regions = augment(pixels, self.settings.augment, chance, progress, regions)
        images = ((moved - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
        return self.fabric.to_device(images), None if regions is None else self.fabric.to_device(regions)

    def _batch(self, step: int, progress: float, chance: torch.Generator) -> TrainBatch:
        rows = self.sampler.batch(step, progress)
        images, regions = self._pixels(rows, progress, chance)
        place = torch.arange(len(rows) // 2)
        return TrainBatch(
            images=images,
            persons=self.fabric.to_device(torch.from_numpy(self.images.persons[rows])),
            cameras=self.fabric.to_device(torch.from_numpy(self.images.cameras[rows])),
            progress=progress,
            pairs=(place, place + len(place)) if self.settings.sampler.kind == "pairs" else None,
            regions=regions,
        )


def _seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
