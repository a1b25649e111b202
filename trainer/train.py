"""Training, read from top to bottom: data, model, loss, loop, validation, checkpoint, report.

A run is a folder: settings.yaml, last.pt, best.pt, losses.jsonl, tensorboard/, report.json and report.md. Batches,
augmentation and pairs are drawn from (seed, step), so a killed run that goes on with `resume` sees the same losses.
"""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.optim.swa_utils import AveragedModel

from trainer import checkpoint, progress, report
from trainer.augment import augment
from trainer.config import TrainSettings, dump
from trainer.data import Images, assemble, check_disjoint, hold_out, read, split_market1501
from trainer.errors import DivergedError, TrainerError
from trainer.losses import Criterion
from trainer.optimiser import build_optimiser, ema_update, learning_rate
from trainer.sampler import Sampler
from trainer.siamese import Siamese, input_spec
from trainer.validation import validate


def train(settings: TrainSettings, out: Path, data: Path | None = None, resume: bool = False) -> dict[str, Any]:
    """Train a network into the folder `out` and return the report."""
    run, plan = settings.run, settings.optimiser
    began = time.time()
    if run.threads:
        torch.set_num_threads(run.threads)
    torch.manual_seed(run.seed)
    last = out / "last.pt"
    if not resume and last.exists():
        raise TrainerError(f"--out must be a new folder or --resume be given, {last} exists")
    state = checkpoint.load(last) if resume else None
    _open_folder(out, settings)

    # Data: decoded once, persons of validation never trained on.
    training, held = load_images(settings, data)
    sampler = Sampler(training, settings.sampler, run.seed)
    spec = input_spec(settings)
    mean = torch.tensor(spec.mean).view(1, 3, 1, 1)
    std = torch.tensor(spec.std).view(1, 3, 1, 1)

    # Model: channels-last, branch in bf16, heads and losses in fp32; an averaged twin is validated and shipped.
    precision = "bf16-mixed" if run.precision == "bf16" else "32-true"
    fabric = Fabric(accelerator=run.accelerator, devices=1, precision=precision)  # type: ignore[arg-type]
    siamese = Siamese(settings.model, training.persons_per_domain).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = build_optimiser(siamese, plan)
    model, optimiser = fabric.setup(siamese, optimiser)
    averaged = AveragedModel(siamese, multi_avg_fn=ema_update(plan.ema), use_buffers=True)
    forward = torch.compile(model) if run.compile else model
    criterion = Criterion(settings.loss, training.persons_per_domain)
    facts: dict[str, Any] = {
        "step": 0, "seconds": 0.0, "best": -1.0, "stale": 0, "curve": [], "seed": run.seed,
        "persons_per_domain": list(training.persons_per_domain), "domains": list(training.domain_names),
        "images": len(training), "validation_persons": list(held.person_names), "stopped": "",
    }  # fmt: skip
    if state is not None:
        siamese.load_state_dict(state["model"])
        averaged.load_state_dict({**{f"module.{k}": v for k, v in state["averaged"].items()}, "n_averaged": state["n_averaged"]})
        optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["rng"])
        facts = state["facts"]

    def snapshot() -> dict[str, Any]:
        return {
            "settings": settings.model_dump(mode="json"), "facts": facts, "averaged": averaged.module.state_dict(),
        }  # fmt: skip

    def save_last() -> None:
        full = {
            "model": siamese.state_dict(), "optimiser": optimiser.state_dict(), "rng": torch.get_rng_state(),
            "n_averaged": averaged.n_averaged,
        }  # fmt: skip
        checkpoint.save(last, snapshot() | full)

    # Loop.
    earlier, start = facts["seconds"], time.time()
    with progress.Recorder(out, plan.steps, facts["step"], resume) as recorder:
        recorder.say(f"{len(training)} images of {len(training.person_names)} persons, {', '.join(training.domain_names)}; "
                     f"validation {len(held)} images of {len(held.person_names)} persons")  # fmt: skip
        if sampler.alone:
            recorder.say(f"{len(sampler.alone)} persons are seen by one camera only, {sampler.alone[0]} among them")
        while facts["step"] < plan.steps:
            step = facts["step"]
            elapsed = earlier + time.time() - start
            share = step / plan.steps
            if plan.budget_minutes:
                share = max(share, elapsed / 60 / plan.budget_minutes)
                if share >= 1:
                    facts["stopped"] = "the time budget was used up"
                    break

            rows = sampler.batch(step)
            chance = torch.Generator().manual_seed(int(np.random.SeedSequence([run.seed, step]).generate_state(1)[0]))
            pixels = torch.from_numpy(training.pixels[rows]).permute(0, 3, 1, 2).float() / 255  # (b, 3, h, w)
            images = (augment(pixels, settings.augment, chance) - mean) / std
            images = fabric.to_device(images.contiguous(memory_format=torch.channels_last))
            persons = fabric.to_device(torch.from_numpy(training.persons[rows]))
            cameras = fabric.to_device(torch.from_numpy(training.cameras[rows]))

            lr = learning_rate(plan, min(share, 1.0))
            for group in optimiser.param_groups:
                group["lr"] = lr
            before, after = forward(images)
            loss, terms = criterion(siamese, before, after, persons, cameras, min(share, 1.0), chance)
            value = float(loss)
            if not math.isfinite(value):
                kept = f"{last} of an earlier step is intact" if last.exists() else "no checkpoint was written yet"
                raise DivergedError(f"the loss must be finite, got {value} at step {step}; {kept}; lower optimiser.lr")
            optimiser.zero_grad(set_to_none=True)
            fabric.backward(loss)
            fabric.clip_gradients(model, optimiser, max_norm=plan.clip)
            optimiser.step()
            averaged.update_parameters(siamese)

            facts["step"] = step + 1
            facts["seconds"] = earlier + time.time() - start
            recorder.step(step + 1, value, {k: float(v) for k, v in terms.items()}, lr, len(rows), run.log_every)
            is_end = step + 1 == plan.steps
            if (step + 1) % run.validate_every == 0 or is_end:
                if _keep_best(facts, validate(averaged.module.branch, held, spec), recorder):
                    checkpoint.save(out / "best.pt", snapshot())
                if run.patience and facts["stale"] >= run.patience:
                    facts["stopped"] = f"no better mAP in {run.patience} validations"
                    break
            if (step + 1) % run.checkpoint_every == 0:
                save_last()
        if facts["stopped"]:
            if _keep_best(facts, validate(averaged.module.branch, held, spec), recorder):
                checkpoint.save(out / "best.pt", snapshot())
            recorder.say(f"stopped at step {facts['step']}: {facts['stopped']}")
        save_last()
        speed = recorder.images_per_second
    bare = progress.bare_speed(siamese, forward, settings, fabric)
    return report.write(out, settings, facts, {
        "command": " ".join(sys.argv), "images_per_second": speed, "bare_images_per_second": bare,
        "wall_seconds": time.time() - began, "parameters": sum(p.numel() for p in siamese.branch.parameters()),
    })  # fmt: skip


def load_images(settings: TrainSettings, folder: Path | None) -> tuple[Images, Images]:
    """Read the sets and return (training, validation) images; the first set gives the validation persons.

    Of Market-1501 only the split's training persons are read at all: the test persons are never even decoded.
    """
    options = settings.data
    kept, held = [], []
    for index, source in enumerate(options.sets):
        crops = list(read(source, folder))
        if source == "market1501":
            if folder is None:
                raise TrainerError("market1501 needs --data or REID_STREAM_DATA")
            split = split_market1501(folder, options.validation_ids, options.validation_seed)
            learn, check = split.train, split.validation
        else:
            persons = sorted({crop.person for crop in crops})
            learn, check = tuple(persons), ()
            if index == 0:
                learn, check = hold_out(persons, options.validation_ids, options.validation_seed)
        check_disjoint({"training": learn, "validation": check})
        chosen = set(learn[: options.max_persons])
        kept += [crop for crop in crops if crop.person in chosen]
        if index == 0:
            held = [crop for crop in crops if crop.person in set(check)]
    size = (options.height, options.width, options.skip_broken)
    return assemble(kept, *size), assemble(held, *size)


def _open_folder(out: Path, settings: TrainSettings) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "settings.yaml").write_text(dump(settings), encoding="utf-8")
    except OSError as error:
        raise TrainerError(f"--out must be a folder that can be written, {out}: {error.strerror}") from error


def _keep_best(facts: dict[str, Any], score: dict[str, float], recorder: "progress.Recorder") -> bool:
    facts["curve"].append({"step": facts["step"], "seconds": facts["seconds"], **score})
    recorder.validation(facts["step"], score)
    is_better = score["mAP"] > facts["best"]
    facts["best"] = max(facts["best"], score["mAP"])
    facts["stale"] = 0 if is_better else facts["stale"] + 1
    return is_better
