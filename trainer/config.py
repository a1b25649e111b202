"""Settings of a training run: YAML -> frozen, validated settings -> the copy kept with the run.

Fractions are in [0, 1]; sizes are pixels of the network's input; methods are named in trainer/train/losses.py,
trainer/model/siamese.py and trainer/train/sequential.py.
"""

import io
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML

from reid_stream.config import yaml_lines
from reid_stream.errors import ConfigError
from trainer.distill.settings import DistillSettings
from trainer.errors import TrainerError

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]


class TrainSection(BaseModel):
    """A group of settings: unknown keys are errors and nothing changes after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(TrainSection):
    """Which images to learn from."""

    sets: tuple[str, ...] = ("market1501", "cuhk03")
    """market1501, cuhk03, cuhk01, a NAME:PATH of trainer/data/public_sets.py, folder:PATH, tracklets:PATH,
    labelled:FILE (trainer/site/data.py) or synthetic:COUNT; each is one domain."""
    height: Positive = 128
    """Pixels of the network's input."""
    width: Positive = 64
    """Pixels of the network's input."""
    undistorted: bool = False
    """Keep each image's aspect: its larger side becomes the larger one of height and width (Almazan et al.); images
    then go through the network one after another, see trainer/train/sequential.py. In service crops are stretched."""
    validation_ids: Positive = 60
    """Persons of the first set that are never trained on: early stopping, calibration, thresholds."""
    validation_seed: int = 1501
    """Draws the validation persons; the same for every run that is to be compared."""
    development: tuple[str, ...] = ()
    """Further sets that are never trained on: the best checkpoint is that of the highest mean mAP over the validation
    persons and each of these."""
    skip_broken: bool = False
    """Leave out images that cannot be decoded, instead of stopping with their names."""
    regions: Path | None = None
    """magnifier: a folder of label maps, or the file of a parsing or pose network; see trainer/model/regions.py."""
    keypoints: Path | None = None
    """magnifier: folder for the keypoints of a .tflite pose network, which several runs may share; default: `keypoints`
    in the run's folder."""
    max_persons: Positive | None = None
    """Learn from this many persons of each set only; for small checks."""


Backbone = Literal[
    "res2net", "res2net50_26w_4s", "res2net101_26w_4s", "res2net50_14w_8s", "resnet50", "resnet101", "densenet121"
]
Descriptor = Literal["fc", "gap+gmp", "proj", "gap", "gmp", "gem", "magnifier"]


class ModelSettings(TrainSection):
    """The network, trainer/model/backbones.py, descriptors.py and siamese.py."""

    backbone: Backbone = "res2net"
    """timm's name; `res2net` is made of `layers`, `base_width` and `scale`, which the others have fixed."""
    descriptor: Descriptor = "fc"
    """From the last map to the vector: `fc` pools (`pool`) and projects to `dim`; `gap+gmp` is the average beside the
    maximum, 4096 numbers of Res2Net-50 (Cao & Lee); `proj` the average projected to `dim`; `gap`, `gmp` and `gem` are
    one pooling alone; `magnifier` the whole beside its parts, 2048 + 1024 + 1024 (trainer/model/magnifier.py)."""
    layers: tuple[Positive, Positive, Positive, Positive] = (3, 4, 6, 3)
    """Blocks per stage; (3, 4, 6, 3) is Res2Net-50."""
    width: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Factor on every channel count; 0.5 halves them."""
    base_width: Positive = 26
    """Channels of one of the scales for 64 planes; 26 is Res2Net-50 26w4s."""
    scale: Positive = 4
    """Groups of channels within a block."""
    last_stride: Literal[1, 2] = 1
    """1 keeps a finer last map (Bag of Tricks, Luo et al. 2019)."""
    instance_norm: bool = False
    """IBN-a in the first three stages: half of the channels discard the style of the camera (Pan et al. 2018)."""
    pool: Literal["gem", "average", "max"] = "gem"
    """Pooling of the last map by the descriptor `fc`."""
    dim: Annotated[int, Field(ge=8, le=4096)] = 512
    """Length of the vectors of `fc` and `proj`; that of the others follows from the backbone. What is longer than 512
    is exported through a learned projection, see trainer/model/reduction.py."""
    neck: bool = True
    """BNNeck: batch normalisation between metric and identification losses (Luo et al. 2019)."""
    heads: Literal["joint", "domain"] = "joint"
    """One softmax over all persons, or one per domain."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the vector's numbers dropped before the identification heads (layumi's port of Zheng et al.: 0.5)."""
    verifier: Literal["metric", "softmax"] = "metric"
    """Verification head: a true distance that folds into the vectors, or the two-way softmax of Cao & Lee, eq. 4."""
    verifier_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the squared differences dropped before the verification head (layumi's port: 0.75)."""
    regions: Literal["stripes", "labels", "parser", "pose"] = "stripes"
    """magnifier: where body regions come from, trainer/model/regions.py; all but the stripes need `data.regions`."""
    adversarial: bool = True
    """magnifier: with the Semantic Adversarial Branch."""
    fusion: bool = True
    """magnifier: with the Semantic Fusion Branch."""
    segmentation_weight: Annotated[float, Field(ge=0)] = 2.0
    """magnifier: of the loss that learns to see the regions (`MT_Net`, configuration for CUHK03)."""
    parts_weight: Annotated[float, Field(ge=0)] = 0.0125
    """magnifier: of identification by each region alone."""
    diversity_weight: Annotated[float, Field(ge=0)] = 0.01
    """magnifier: of the Semantic Diversity Loss (0.001 for CUHK03-D)."""
    diversity_start: Fraction = 0.93
    """magnifier: share of the run after which it counts: 560 of 600 epochs."""
    weights: Path | None = None
    """Initial weights: a best.pt of `reid-train fit`, or a timm or official Res2Net state dict; see warm_start.py."""
    weights_of: Literal["all", "backbone"] = "all"
    """Weights loaded from a checkpoint: all, for a network of the same shape; or the backbone alone, for others."""


class AugmentSettings(TrainSection):
    """Random changes to the training images, trainer/data/augment.py."""

    flip: Fraction = 0.5
    """Share of mirrored images."""
    shift: Fraction = 0.05
    """Largest shift, as a share of the size; 0.05 stands for the customary pad-and-crop by 10 of 256 px."""
    zoom: Fraction = 0.1
    """Largest change of scale; boxes of a detector are less tidy than a data set's."""
    erase: Fraction = 0.4
    """Share of images with an erased rectangle; 0.4 is the best Rank-1 of Cao & Lee, table 2."""
    erase_area: tuple[Fraction, Fraction] = (0.02, 0.3)
    """Smallest and largest share of the image that is erased."""
    erase_start: Fraction | None = None
    """Largest share at the start of the run, growing evenly to that of `erase_area` (Almazan et al.)."""
    erase_fill: Literal["colour", "noise"] = "colour"
    """Filling of the rectangle: one random colour, or a random value for each pixel (Zhong et al., RE-R)."""
    brightness: Fraction = 0.2
    """Largest change of the gain."""
    contrast: Fraction = 0.2
    """Largest change of the contrast."""
    saturation: Fraction = 0.2
    """Largest change of the saturation."""
    tint: Fraction = 0.1
    """Largest change of each colour channel on its own: the white balance of another camera."""
    grey: Fraction = 0.02
    """Share of images without colour."""
    blur: Fraction = 0.1
    """Share of images halved in size and enlarged again: a person far away."""


class SamplerSettings(TrainSection):
    """Sampling of batches, trainer/data/sampler.py and pair_sampler.py."""

    kind: Literal["persons", "pairs"] = "persons"
    """P persons with K images each, pairs being made of them; or pairs as such: every image of the data in random
    order, beside another one of the same or of another person (Cao & Lee)."""
    pairs: Annotated[int, Field(ge=2)] = 32
    """Pairs in a batch, where they are drawn as such (layumi: 32)."""
    persons: Annotated[int, Field(ge=2)] = 16
    """P, persons in a batch."""
    images: Annotated[int, Field(ge=2)] = 4
    """K, images of each."""
    domain_power: Fraction = 0.5
    """A domain's share of a batch grows with its number of persons to this power (PersonViT)."""


class LossSettings(TrainSection):
    """Losses, trainer/train/losses.py."""

    identification: Annotated[float, Field(ge=0)] = 0.5
    """Weight of each of the two identification losses (Cao & Lee, section 3)."""
    verification: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the verification loss (Cao & Lee, section 3)."""
    label_smoothing: Fraction = 0.1
    """Share of the target spread over all persons (Luo et al. 2019)."""
    metric: Literal["none", "triplet", "soft-triplet", "circle"] = "soft-triplet"
    """Loss on the vectors before the neck; soft-triplet is log(1 + exp(d_pos - d_neg)) on vectors of any length."""
    metric_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the metric loss."""
    margin: Annotated[float, Field(gt=0)] = 0.3
    """Margin of the triplet loss on unit vectors, or of the circle loss; the soft one has none."""
    mining: Literal["hard", "random"] = "hard"
    """Which negatives the verification head sees: the most similar in the batch, or any."""
    negatives: tuple[Positive, Positive] = (1, 4)
    """Negatives per positive pair at the start and at the end (Zheng et al. 2016)."""


class RankingSettings(TrainSection):
    """Second half of Almazan et al.: triplets mined from a pool, after identification; trainer/train/sequential.py."""

    start: Fraction = 1.0
    """Share of the run after which mined triplets take the place of all other losses; 1 is never."""
    triplets: Positive = 64
    """Triplets between two changes of the weights."""
    together: Positive = 8
    """Triplets whose gradients are made at a time and added up; 1 is one after another."""
    identify_together: Positive = 32
    """Images of one size that go through at a time in the identification, where normalisation still learns of them."""
    pool: Annotated[int, Field(ge=2)] = 5000
    """N, images drawn for each mining."""
    every: Positive = 16
    """k, changes of the weights between two minings."""
    hardest: Positive = 25
    """Triplets are drawn from this many hardest ones of an image."""
    margin: Annotated[float, Field(gt=0)] = 0.1
    """Margin between squared distances of unit vectors."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate of the ranking at its start."""
    halvings: Annotated[int, Field(ge=0)] = 7
    """Number of halvings, at even intervals: every 512 of 4,096 changes."""


class OptimiserSettings(TrainSection):
    """Optimiser, learning rate schedule and length of the run."""

    kind: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or SGD with Nesterov momentum 0.9."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate at the end of the warm-up."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """Not applied to normalisation, pooling and verification parameters."""
    backbone_lr: Annotated[float, Field(gt=0)] = 1.0
    """Factor on the backbone's learning rate; 0.1 where it comes from ImageNet (layumi)."""
    schedule: Literal["cosine", "step", "epochs"] = "cosine"
    """Cosine to a hundredth of lr; a tenth at each of `milestones`; or a tenth every `decay_epochs`."""
    milestones: tuple[Fraction, ...] = ()
    """Shares of the run at which the step schedule divides lr by ten."""
    warmup: Fraction = 0.03
    """Share of the run over which lr grows linearly from a tenth; of cosine and step."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 5
    """Epochs at a tenth of lr, or growing from it; of the schedule `epochs` (Cao & Lee, section 3.3)."""
    warmup_kind: Literal["linear", "constant"] = "linear"
    """Growing from a tenth (layumi), or a tenth until the end of the warm-up, as Cao & Lee write."""
    decay_epochs: Positive = 40
    """Epochs after which the schedule `epochs` divides lr by ten, again and again (Cao & Lee, section 3.2)."""
    steps: Positive = 20_000
    """Length of the run in batches."""
    epochs: Annotated[float, Field(gt=0)] | None = None
    """Length of the run in passes over the training images, in place of `steps`."""
    nominal_epochs: Annotated[float, Field(gt=0)] | None = None
    """`epochs` of the full recipe: a shorter run passes through the whole schedule faster."""
    budget_minutes: Annotated[float, Field(gt=0)] | None = None
    """Ends the run earlier by the clock; the schedule follows whichever is further."""
    clip: Annotated[float, Field(gt=0)] = 5.0
    """Largest norm of the gradient."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.9995
    """Decay of the averaged weights that are validated and shipped."""


class RunSettings(TrainSection):
    """Machine, bookkeeping and repeatability."""

    recipe: str | None = None
    """Name of the recipe, for tables and cards."""
    budget: Annotated[float, Field(gt=0)] = 1.0
    """Share of the recipe's full length that `reid-train fit --budget` asked for, for tables and cards."""
    seed: int = 1
    """Same seed, same data, same machine: same losses."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Precision of the branch; heads and losses are always fp32."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to train on."""
    threads: Positive | None = None
    """CPU threads; default: torch's choice."""
    compile: bool = False
    """torch.compile the branch."""
    log_every: Positive = 50
    """Steps between lines and TensorBoard points."""
    checkpoint_every: Positive = 500
    """Steps between checkpoints: what a kill can cost."""
    validate_every: Positive = 1000
    """Steps between validations of the averaged weights."""
    patience: Positive | None = None
    """Stop after this many validations without a better mAP; default: never."""


class TrainSettings(TrainSection):
    """A whole run."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    augment: AugmentSettings = AugmentSettings()
    sampler: SamplerSettings = SamplerSettings()
    loss: LossSettings = LossSettings()
    ranking: RankingSettings = RankingSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    distill: DistillSettings = DistillSettings()
    run: RunSettings = RunSettings()

    @model_validator(mode="after")
    def _must_fit_together(self) -> Self:
        if self.is_sequential and (self.loss.verification or self.loss.metric != "none" or self.model.neck):
            raise ValueError(
                "data.undistorted and ranking.start below 1 need loss.verification 0, loss.metric none and model.neck "
                "false: images go through the network one after another, so no loss can compare a batch's"
            )
        if self.model.descriptor != "magnifier" and (self.data.regions or self.model.regions != "stripes"):
            raise ValueError("data.regions and model.regions belong to model.descriptor magnifier")
        if (self.model.regions == "stripes") != (self.data.regions is None):
            raise ValueError(
                "data.regions must name what model.regions reads, and nothing for stripes, got "
                f"{self.model.regions} from {self.data.regions}"
            )
        if self.model.descriptor == "magnifier" and self.is_sequential:
            raise ValueError("model.descriptor magnifier needs data.undistorted false and ranking.start 1")
        if self.optimiser.schedule == "epochs" and not (self.optimiser.nominal_epochs or self.optimiser.epochs):
            raise ValueError("optimiser.schedule epochs needs optimiser.epochs")
        return self

    @property
    def is_sequential(self) -> bool:
        """Whether images go through the network one after another."""
        return self.data.undistorted or self.ranking.start < 1

    @property
    def batch_size(self) -> int:
        """Images of a batch."""
        free = self.distill.free if self.distill.teachers else 0
        return self.anchors * (2 if self.sampler.kind == "pairs" else 1) + free

    @property
    def anchors(self) -> int:
        """Images that a batch adds to an epoch: of a pair, the first."""
        sampler = self.sampler
        return sampler.pairs if sampler.kind == "pairs" else sampler.persons * sampler.images


def load(path: Path, changes: tuple[str, ...] = ()) -> TrainSettings:
    """Read a YAML file and apply `section.key=value` changes on top."""
    try:
        tree = yaml_lines.read(path, os.environ)
    except ConfigError as error:
        raise TrainerError(f"a configuration must be readable YAML, {error}") from error
    if tree.faults:
        raise TrainerError(f"a configuration must be plain YAML, {path}: {'; '.join(map(str, tree.faults))}")
    document: Any = tree.value or {}
    if not isinstance(document, dict):
        raise TrainerError(f"a configuration must be sections of keys, got {type(document).__name__} ({path})")
    for change in changes:
        _apply(document, change)
    return parse(document, str(path))


def parse(document: dict[str, Any], origin: str) -> TrainSettings:
    """Validate settings; errors name the origin, the key, what was found and what is allowed."""
    try:
        return TrainSettings.model_validate(document)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, item['loc']))}: {item['msg'].lower()}, got {item['input']!r}"
            if item["loc"]
            else item["msg"].removeprefix("Value error, ")
            for item in error.errors(include_url=False)
        ]
        raise TrainerError(f"{origin}: " + "; ".join(lines)) from error


def dump(settings: TrainSettings) -> str:
    """Write settings as YAML, every key spelled out."""
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.dump(settings.model_dump(mode="json"), stream)
    return stream.getvalue()


def _apply(document: dict[str, Any], change: str) -> None:
    key, separator, text = change.partition("=")
    names = key.strip().split(".")
    if not separator or len(names) != 2:
        raise TrainerError(f"--set must look like section.key=value, got {change!r}")
    document.setdefault(names[0], {})[names[1]] = YAML(typ="safe").load(text)
