"""Small networks with random weights, checkpoints as `fit` writes them, and the losses of a run."""

import json
from pathlib import Path
from typing import Any

from trainer.config import ModelSettings, TrainSettings
from trainer.model.siamese import Siamese
from trainer.train.checkpoint import save


def small_settings(height: int = 64, *, width: float = 0.25, **model: Any) -> TrainSettings:
    """Return settings of a network of four blocks on images `height` x 32."""
    settings = TrainSettings(model=ModelSettings(layers=(1, 1, 1, 1), width=width, **{"dim": 32} | model))
    return settings.model_copy(update={"data": settings.data.model_copy(update={"height": height, "width": 32})})


def write_checkpoint(file: Path, settings: TrainSettings, siamese: Siamese, **facts: Any) -> Path:
    """Write a network as the best of a run; `facts`: those of the run that differ from the usual ones."""
    usual = {
        "step": 3, "seconds": 1.0, "best": 0.5, "seed": 1, "persons_per_domain": [5], "domains": ["synthetic"],
        "images": 10,
    }  # fmt: skip
    state = {"settings": settings.model_dump(mode="json"), "facts": usual | facts, "averaged": siamese.state_dict()}
    save(file, state)
    return file


def losses(run: Path) -> list[float]:
    """Return the loss of each step of a run."""
    return [json.loads(line)["loss"] for line in (run / "losses.jsonl").read_text().splitlines()]
