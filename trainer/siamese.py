"""The siamese network: two weight-sharing streams, identification heads, a square layer and a verification head.

Pairs of images -> two identification predictions and one margin: log odds that the two show the same person.
In service only one stream, `Branch`, is used; the verification head folds into its vectors (see `Verifier`).

Sources: Cao & Lee, "Improved Res2Net model for Person re-identification" (arXiv 1910.04061), after Zheng, Zheng & Yang,
"A Discriminatively Learned CNN Embedding for Person Re-identification" (arXiv 1611.05666); GeM: Radenovic et al.,
TPAMI 2019 (arXiv 1711.02512); BNNeck: Luo et al., CVPRW 2019.

Letters: b images, c channels, d embedding dimensions, p pairs, n persons.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor, nn

from reid_stream.bundle import BUNDLE_FILE
from reid_stream.embed.preprocess import InputSpec
from trainer.config import ModelSettings, TrainSettings, parse
from trainer.errors import CheckpointError
from trainer.res2net import Res2Net


class GeM(nn.Module):
    """Generalised mean pooling, (mean x^p)^(1/p) with a learned p: 1 is the average, infinity the maximum."""

    def __init__(self, power: float = 3.0) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(power))

    def forward(self, maps: Tensor) -> Tensor:
        """Pool maps (b, c, h, w) to (b, c); in fp32, because powers lose bf16's few bits."""
        positive = maps.float().clamp(min=1e-6)
        return positive.pow(self.power).mean(dim=(2, 3)).pow(1 / self.power)  # (b, c)


class Branch(nn.Module):
    """One stream: images -> embedding; the only part that is deployed."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.dim = settings.dim
        self.backbone = Res2Net(settings)
        self.pool: nn.Module = GeM() if settings.pool == "gem" else nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.projection = nn.Linear(self.backbone.num_features, settings.dim, bias=False)
        nn.init.kaiming_normal_(self.projection.weight, mode="fan_in", nonlinearity="linear")
        self.neck: nn.Module = nn.BatchNorm1d(settings.dim) if settings.neck else nn.Identity()
        if isinstance(self.neck, nn.BatchNorm1d):
            # Luo et al. 2019, section 3.5: no shift, classes stay around the origin.
            self.neck.bias.requires_grad = False

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors before and after the neck, (b, d) each, of images (b, 3, h, w)."""
        before = self.projection(self.pool(self.backbone(images))).float()  # (b, d)
        return before, self.neck(before)

    def forward(self, images: Tensor) -> Tensor:
        """Return the embedding (b, d), not normalised, of images (b, 3, h, w)."""
        return self.features(images)[1]


class Verifier(nn.Module):
    """Log odds of "same person" from the square layer: b - sum_k softplus(v_k) (f1 - f2)_k^2 on unit vectors.

    The seed paper's two-way softmax has the margin w (f1 - f2)^2 + b. With w = -softplus(v) it is a true distance, so
    with D = sqrt(softplus(v)) the margin is b - |D f1 - D f2|^2 and an L2 search over D f gives the head's ranking.
    """

    def __init__(self, dim: int, scale: float = 10.0) -> None:
        """Start as plain cosine similarity, with even odds at cosine 1/2: |f1 - f2|^2 = 1."""
        super().__init__()
        weight = torch.full((dim,), scale)
        self.v = nn.Parameter(weight + torch.log(-torch.expm1(-weight)))  # inverse of softplus
        self.b = nn.Parameter(torch.tensor(scale))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the margin (p,) of two stacks of embeddings (p, d)."""
        return self.b - square(first, second) @ F.softplus(self.v)


def square(first: Tensor, second: Tensor) -> Tensor:
    """Return (f1 - f2)^2 element by element (p, d) of L2-normalised embeddings (Cao & Lee, eq. 3)."""
    return (F.normalize(first, dim=1) - F.normalize(second, dim=1)).square()


class Siamese(nn.Module):
    """Branch, identification heads and verification head; what is trained."""

    def __init__(self, settings: ModelSettings, persons_per_domain: tuple[int, ...]) -> None:
        """`persons_per_domain`: persons are numbered domain after domain, so these are the sizes of the ranges."""
        super().__init__()
        self.branch = Branch(settings)
        sizes = persons_per_domain if settings.heads == "domain" else (sum(persons_per_domain),)
        self.heads = nn.ModuleList(nn.Linear(settings.dim, size, bias=False) for size in sizes)
        for head in self.heads:
            nn.init.normal_(head.weight, std=0.001)  # type: ignore[arg-type]  # Luo et al. 2019: a small start
        self.verifier = Verifier(settings.dim)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors before and after the neck (b, d); weights are shared, so both streams are one batch."""
        return self.branch.features(images)

    def streams(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return both embeddings (p, d) and the margin (p,) of pairs of images (p, 3, h, w)."""
        left, right = self.branch(first), self.branch(second)
        return left, right, self.verifier(left, right)


@dataclass(frozen=True)
class LoadedBranch:
    """A trained branch with everything that is needed to use, measure and export it."""

    branch: Branch
    """In evaluation mode, fp32, averaged weights; forward gives the embedding, not normalised."""
    spec: InputSpec
    """What the branch expects of a crop."""
    dim: int
    """Length of the embedding."""
    verifier: Verifier
    """`v` (dim,) and `b`; margin = b - sum softplus(v) (f1 - f2)^2 on unit vectors."""
    train_prior: float
    """Share of same-person pairs that the verification head last saw."""
    settings: TrainSettings
    """Of the run that made it."""
    facts: dict[str, object]
    """Of the run: step, seconds, validation persons, best mAP; see trainer/checkpoint.py."""


def load_branch(path: Path) -> LoadedBranch:
    """Read the averaged weights of a checkpoint: a file, a run's folder (its best one), or a bundle's."""
    try:
        saved = read_weights(path)
        settings, state, facts = parse(saved["settings"], str(path)), saved["averaged"], saved["facts"]
        branch, verifier = Branch(settings.model.model_copy(update={"weights": None})), Verifier(settings.model.dim)
        for part, module in (("branch.", branch), ("verifier.", verifier)):
            _load(module, {k.removeprefix(part): v for k, v in state.items() if k.startswith(part)})
    except OSError as error:
        raise CheckpointError(f"a checkpoint must be readable, {path}: {error.strerror or error}") from error
    except (LookupError, RuntimeError, EOFError, ValueError, AttributeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} must be a checkpoint of reid-train fit: {error}") from error
    branch.eval()
    spec = input_spec(settings)
    prior = 1 / (1 + settings.loss.negatives[1])
    return LoadedBranch(branch, spec, settings.model.dim, verifier, prior, settings, facts)


def read_weights(path: Path) -> dict[str, Any]:
    """Return what `path` holds: a file, a run's folder (its best checkpoint), or a bundle's, as a checkpoint."""
    if (path / BUNDLE_FILE).is_file():
        from trainer.onnx_weights import read  # late: most runs need no onnx

        return read(path)
    file = path / "best.pt" if path.is_dir() else path
    found: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return found


def _load(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Load all weights; how many batches a normalisation has seen is of no interest, and a bundle does not say."""
    missing, unexpected = module.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise RuntimeError(f"it lacks {missing[:3]} and adds {unexpected[:3]}")


def input_spec(settings: TrainSettings) -> InputSpec:
    """Return the preprocessing of a run."""
    return InputSpec(height=settings.data.height, width=settings.data.width)
