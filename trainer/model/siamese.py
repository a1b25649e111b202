"""The siamese network: two weight-sharing streams, identification heads, a square layer and a verification head.

Pairs of images -> two identification predictions and one margin: log odds that the two show the same person.
In service only one stream, `Branch`, is used; the verification head folds into its vectors (see `MetricVerifier`).

Sources: Cao & Lee, "Improved Res2Net model for Person re-identification" (arXiv 1910.04061), after Zheng, Zheng & Yang,
"A Discriminatively Learned CNN Embedding for Person Re-identification" (arXiv 1611.05666); BNNeck: Luo et al., CVPRW
2019.

Letters: b images, c channels, d embedding dimensions, p pairs, n persons.
"""

import errno
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor, nn

from reid_stream.bundles.bundle import BUNDLE_FILE
from reid_stream.embed.preprocess import InputSpec
from trainer.config import ModelSettings, TrainSettings, parse
from trainer.data.batch import Features
from trainer.errors import CheckpointError
from trainer.model.branch import Branch
from trainer.model.magnifier import MagnifierBranch
from trainer.model.magnifier_losses import MagnifierLosses
from trainer.train.run_state import RunState

REDUCTION = "branch.reduction.weight"
"""Name of the learned projection among a checkpoint's averaged weights."""


def build_branch(settings: ModelSettings) -> Branch:
    """Return the branch that `model.descriptor` names, with random weights."""
    if settings.descriptor == "magnifier":
        return MagnifierBranch(settings)
    return Branch(settings)


class MetricVerifier(nn.Module):
    """Log odds of "same person" from the square layer: b - sum_k softplus(v_k) (f1 - f2)_k^2 on unit vectors.

    Cao and Lee's two-way softmax has the margin w (f1 - f2)^2 + b. With w = -softplus(v) it is a true distance, so
    with D = sqrt(softplus(v)) the margin is b - |D f1 - D f2|^2 and an L2 search over D f gives the head's ranking.
    """

    def __init__(self, dim: int, dropout: float = 0.0, scale: float = 10.0) -> None:
        """Start as plain cosine similarity, with even odds at cosine 1/2: |f1 - f2|^2 = 1."""
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        weight = torch.full((dim,), scale)
        self.v = nn.Parameter(weight + torch.log(-torch.expm1(-weight)))  # inverse of softplus
        self.b = nn.Parameter(torch.tensor(scale))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the margin (p,) of two stacks of embeddings (p, d)."""
        differences: Tensor = self.dropout(square(first, second))  # (p, d)
        return self.b - differences @ F.softplus(self.v)


class SoftmaxVerifier(nn.Module):
    """The two-way softmax of Cao & Lee (eq. 4 and 5) on the square layer: class 0 is "same", and weights have any sign.

    What is not a distance cannot be searched: `folded` is the nearest head that is one.
    """

    def __init__(self, dim: int, dropout: float = 0.0, scale: float = 10.0) -> None:
        """Start as plain cosine similarity with even odds at cosine 1/2, like `MetricVerifier`."""
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(dim, 2)
        with torch.no_grad():
            half = scale / 2
            self.classes.weight.copy_(torch.tensor([[-half], [half]]).expand(2, dim))
            self.classes.bias.copy_(torch.tensor([half, -half]))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the margin (p,) of two stacks of embeddings (p, d): logit of "same" minus logit of "different"."""
        logits: Tensor = self.classes(self.dropout(square(first, second)))  # (p, 2)
        return logits[:, 0] - logits[:, 1]

    def folded(self) -> MetricVerifier:
        """Return the same head as a true distance; dimensions whose difference would speak for "same" count nothing."""
        weight = (self.classes.weight[1] - self.classes.weight[0]).detach().double().clamp(min=1e-6)
        head = MetricVerifier(len(weight))
        with torch.no_grad():
            head.v.copy_(weight + torch.log(-torch.expm1(-weight)))
            head.b.copy_(self.classes.bias[0] - self.classes.bias[1])
        return head


def square(first: Tensor, second: Tensor) -> Tensor:
    """Return (f1 - f2)^2 element by element (p, d) of L2-normalised embeddings (Cao & Lee, eq. 3)."""
    return (F.normalize(first, dim=1) - F.normalize(second, dim=1)).square()


def reduced(head: MetricVerifier, axes: Tensor) -> MetricVerifier:
    """Return the head for vectors that are projected to orthonormal axes (r, d).

    A squared difference along a new axis counts by the weights of what the axis is made of.
    """
    weight = axes.double().square() @ F.softplus(head.v.detach().double())  # (r,)
    small = MetricVerifier(len(weight))
    with torch.no_grad():
        small.v.copy_(weight + torch.log(-torch.expm1(-weight)))  # inverse of softplus
        small.b.copy_(head.b)
    return small


class Siamese(nn.Module):
    """Branch, identification heads and verification head; what is trained."""

    def __init__(self, settings: ModelSettings, persons_per_domain: tuple[int, ...]) -> None:
        """`persons_per_domain`: persons are numbered domain after domain, so these are the sizes of the ranges."""
        super().__init__()
        self.branch = build_branch(settings)
        dim, sizes = self.branch.dim, persons_per_domain if settings.heads == "domain" else (sum(persons_per_domain),)
        # A head behind a BNNeck has no shift (Luo et al. 2019); that of Cao & Lee has.
        self.heads = nn.ModuleList(nn.Linear(dim, size, bias=not settings.neck) for size in sizes)
        for head in self.heads:
            nn.init.normal_(head.weight, std=0.001)  # type: ignore[arg-type]  # Luo et al. 2019: a small start
            if not settings.neck:
                nn.init.zeros_(head.bias)  # type: ignore[arg-type]
        self.dropout = nn.Dropout(settings.dropout)
        self.verifier = verification_head(settings, dim)
        persons = sum(persons_per_domain)
        self.own = MagnifierLosses(self.branch, persons) if isinstance(self.branch, MagnifierBranch) else None

    def forward(self, images: Tensor) -> Features:
        """Return what the branch sees; weights are shared, so both streams are one batch."""
        return self.branch.features(images)

    def streams(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return both embeddings (p, d) and the margin (p,) of pairs of images (p, 3, h, w)."""
        left, right = self.branch(first), self.branch(second)
        return left, right, self.verifier(left, right)


def verification_head(settings: ModelSettings, dim: int) -> MetricVerifier | SoftmaxVerifier:
    """Return the head that `model.verifier` names."""
    if settings.verifier == "softmax":
        return SoftmaxVerifier(dim, settings.verifier_dropout)
    return MetricVerifier(dim, settings.verifier_dropout)


@dataclass(frozen=True)
class LoadedBranch:
    """A trained branch with everything that is needed to use, measure and export it."""

    branch: Branch
    """Branch in evaluation mode, fp32, averaged weights; forward gives the embedding, not normalised."""
    spec: InputSpec
    """Input format of the branch."""
    dim: int
    """Length of the embedding."""
    verifier: MetricVerifier
    """`v` (dim,) and `b`; margin = b - sum softplus(v) (f1 - f2)^2 on unit vectors."""
    train_prior: float
    """Share of same-person pairs that the verification head last saw."""
    settings: TrainSettings
    """Settings of the run that made it."""
    state: RunState
    """State of the run at that checkpoint."""


def load_branch(path: Path) -> LoadedBranch:
    """Read the averaged weights of a checkpoint: a file, a run's folder (its best one), or a bundle's."""
    try:
        saved = read_weights(path)
        settings, weights = parse(saved["settings"], str(path)), saved["averaged"]
        state = RunState.of(saved["facts"], str(path))
        branch = build_branch(settings.model.model_copy(update={"weights": None}))
        axes, full = weights.get(REDUCTION), branch.dim
        if axes is not None:
            branch.reduce(axes)
        is_metric = "verifier.v" in weights  # a bundle's always is
        head = MetricVerifier(len(weights["verifier.v"])) if is_metric else verification_head(settings.model, full)
        for part, module in (("branch.", branch), ("verifier.", head)):
            _load(module, {k.removeprefix(part): v for k, v in weights.items() if k.startswith(part)})
    except OSError as error:
        raise CheckpointError(f"a checkpoint must be readable, {path}: {error.strerror or error}") from error
    except (LookupError, RuntimeError, EOFError, ValueError, AttributeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} must be a checkpoint of reid-train fit: {error}") from error
    branch.eval()
    spec = input_spec(settings)
    verifier = head.folded() if isinstance(head, SoftmaxVerifier) else head
    if axes is not None and len(verifier.v) != branch.dim:
        verifier = reduced(verifier, axes)
    prior = 1 / (1 + settings.loss.negatives[1])
    return LoadedBranch(branch, spec, branch.dim, verifier, prior, settings, state)


def read_weights(path: Path) -> dict[str, Any]:
    """Return what `path` holds: a file, a run's folder (its best checkpoint), or a bundle's, as a checkpoint."""
    if (path / BUNDLE_FILE).is_file():
        from trainer.model.onnx_weights import read  # late: most runs need no onnx

        return read(path)
    file = path / "best.pt" if path.is_dir() else path
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "no regular file")  # a pipe may never give anything
    found: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return found


def _load(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Load all weights; `num_batches_tracked` of normalisations is not used, and a bundle lacks it."""
    missing, unexpected = module.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise RuntimeError(f"it lacks {missing[:3]} and adds {unexpected[:3]}")


def input_spec(settings: TrainSettings) -> InputSpec:
    """Return the preprocessing of a run."""
    return InputSpec(height=settings.data.height, width=settings.data.width)
