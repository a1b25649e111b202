"""Learner with teachers: the siamese network of any recipe, with distillation losses beside its own.

    numbered views -> teachers' vectors (cached)
                   -> branch, projections; of both: pairs + vectors + labels

The projections, one linear layer per teacher, serve the vector loss alone and are not deployed.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.config import TrainSettings
from trainer.data.batch import Features, TrainBatch
from trainer.data.crops import Images
from trainer.distill.answers import Answers
from trainer.distill.losses import pair_loss, vector_loss
from trainer.distill.teacher import open_teacher
from trainer.errors import TrainerError
from trainer.model.siamese import Siamese
from trainer.train.learner import Learner


class DistillLearner(Learner):
    """Learner on batches of views with teachers' answers."""

    def __init__(self, settings: TrainSettings, images: Images, folder: Path) -> None:
        """Open the teachers; their answers are kept in `distill.cache`, or in `folder`.

        Raises:
            TrainerError: a teacher cannot be opened, the cache does not fit it, or settings contradict each other.
        """
        if settings.sampler.kind != "persons" or settings.is_sequential or settings.model.descriptor == "magnifier":
            raise TrainerError("distill.teachers need sampler.kind persons, whole batches and one descriptor vector")
        plan = settings.distill
        self.teachers = tuple(open_teacher(teacher, plan.precision, settings.run.threads) for teacher in plan.teachers)
        super().__init__(settings, images)
        self.answers = Answers(settings, images, self.teachers, plan.cache or folder)

    def _extend(self, siamese: Siamese) -> None:
        siamese.add_module(
            "projections", nn.ModuleList(nn.Linear(siamese.branch.dim, teacher.dim) for teacher in self.teachers)
        )

    def _loss(self, step: int, progress: float, chance: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        plan = self.settings.distill
        answered = self.answers.batch(self.answers.number_at(step))
        pixels = torch.from_numpy(answered.views).permute(0, 3, 1, 2).float() / 255  # (b, 3, h, w)
        images = ((pixels - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
        features = Features(*self.forward(self.fabric.to_device(images)))
        targets = [self.fabric.to_device(target) for target in answered.targets]
        weights = [teacher.weight for teacher in self.teachers]
        unit = nn.functional.normalize(features.after.float(), dim=1)
        terms: dict[str, Tensor] = {}
        if plan.pairs:
            terms["pairs"] = plan.pairs * pair_loss(unit, targets, weights, plan.close_pairs)
        if plan.vectors:
            # Unit vectors times 10: a linear layer's usual step is then of a useful size.
            projected = [projection(10 * unit) for projection in self.siamese.get_submodule("projections").children()]
            each = [w * vector_loss(p, t) for w, p, t in zip(weights, projected, targets, strict=True)]
            terms["vectors"] = plan.vectors / sum(weights) * torch.stack(each).sum()
        if plan.labels and len(answered.rows):
            count = len(answered.rows)
            batch = TrainBatch(
                images=images[:count],
                persons=self.fabric.to_device(torch.from_numpy(self.images.persons[answered.rows])),
                cameras=self.fabric.to_device(torch.from_numpy(self.images.cameras[answered.rows])),
                progress=progress,
            )
            labelled = Features(features.before[:count], features.after[:count], {})
            _, parts = self.criterion(self.siamese, labelled, batch, chance)
            terms |= {name: plan.labels * term for name, term in parts.items()}
        return torch.stack(list(terms.values())).sum(), terms
