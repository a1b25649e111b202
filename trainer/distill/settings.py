"""Settings of distillation, section `distill` of a training configuration."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class Teacher(BaseModel):
    """A network to learn from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    """A bundle, a checkpoint, an ONNX file, or an OpenVINO IR (.xml beside its .bin)."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Its share of the losses beside the other teachers'."""
    colour: Literal["bgr", "rgb"] = "bgr"
    """Channel order of an OpenVINO IR; Open Model Zoo networks expect BGR."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted per channel of an OpenVINO IR, in [0, 1]."""
    std: tuple[float, float, float] = (1 / 255, 1 / 255, 1 / 255)
    """Divides each channel of an OpenVINO IR after the mean; 1/255 keeps values in 0..255."""


class DistillSettings(BaseModel):
    """Distillation from teachers; off without any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    teachers: tuple[Teacher, ...] = ()
    """Networks to learn from, all at once."""
    unlabelled: tuple[Path, ...] = ()
    """Folders of person crops without labels, read recursively; their only targets are the teachers' answers."""
    free: Annotated[int, Field(ge=0)] = 48
    """Views per batch from any crop of the pool, beside the labelled P x K ones."""
    mixup: Fraction = 0.3
    """Share of the free views that are blended with another view (Zhang et al., arXiv 1710.09412)."""
    splice: Fraction = 0.3
    """Share of the free views whose lower part comes from another view: combinations of clothes that the data lacks."""
    repeat: Annotated[int, Field(ge=1)] = 3
    """Average number of uses of an answered batch; answers cost more than the student's step."""
    vectors: Weight = 3.0
    """Weight of 1 - cosine between projected student vectors and teacher vectors."""
    pairs: Weight = 25.0
    """Weight of the squared difference of pairwise cosines."""
    close_pairs: Weight = 4.0
    """Extra weight of pairs that the teachers find alike: weight 1 + close_pairs * max(0, cosine)."""
    labels: Weight = 0.25
    """Weight of the identification, verification and metric losses together."""
    precision: Literal["bf16", "f32"] = "bf16"
    """Arithmetic of the teachers, where the CPU supports it."""
    cache: Path | None = None
    """Folder of the teachers' answers, which several runs may share; default: `teachers` in the run's folder."""

    @model_validator(mode="after")
    def _must_learn_something(self) -> Self:
        if self.teachers and not (self.vectors or self.pairs):
            raise ValueError("distill.vectors or distill.pairs must be above 0 where there are distill.teachers")
        if self.mixup + self.splice > 1:
            raise ValueError(f"distill.mixup + distill.splice must be at most 1, got {self.mixup + self.splice}")
        return self
