"""Write the report of a run: report.json and report.md."""

import json
import platform
from pathlib import Path
from typing import Any

import torch

from trainer.config import TrainSettings
from trainer.train.recipe import run_length
from trainer.train.run_state import RunState


def device() -> str:
    """Return the name of the computing device."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine() + " CPU"


def write(out: Path, settings: TrainSettings, state: RunState, measured: dict[str, Any]) -> dict[str, Any]:
    """Write both files and return what they hold."""
    report = {
        "data": list(settings.data.sets), "images": state.images, "persons": sum(state.persons_per_domain),
        "seed": state.seed, "budget": run_length(settings), "steps": state.step,
        "training_seconds": state.seconds, **measured,
        "best_validation_mAP": state.best, "stopped": state.stopped,
        "curve": list(state.curve), "validation_persons": list(state.validation_persons),
        "machine": {"torch": torch.__version__, "threads": torch.get_num_threads(), "device": device()},
        "settings": settings.model_dump(mode="json"),
    }  # fmt: skip
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    rows = "\n".join(
        f"| {p['step']} | {p['seconds'] / 60:.1f} | {p['mAP']:.3f} | {p['rank1']:.3f} |" for p in state.curve
    )
    took = f"{report['training_seconds'] / 60:.1f} minutes{'; ' + state.stopped if state.stopped else ''}"
    speed = (
        f"{report['images_per_second']:.0f} images/s, {report['share_of_bare']:.2f} of the bare forward and backward"
    )
    best = report["best_validation_mAP"]
    text = f"""# Training run

- command: `{report["command"]}`
- data: {", ".join(report["data"])}; {report["images"]} images of {report["persons"]} persons; seed {report["seed"]}
- {report["budget"]}
- {report["steps"]} steps in {took}
- {speed} ({report["bare_images_per_second"]:.0f})
- branch: {report["parameters"] / 1e6:.1f} million parameters; best validation mAP {best:.3f}

| step | minutes | mAP | Rank-1 |
| --- | --- | --- | --- |
{rows}
"""
    (out / "report.md").write_text(text, encoding="utf-8")
    return report
