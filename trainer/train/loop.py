"""Training, read from top to bottom: data, network, loop, validation, checkpoint, report.

A run is a folder: settings.yaml, last.pt, best.pt, losses.jsonl, tensorboard/, report.json and report.md. A killed run
that is resumed sees the losses of an undisturbed one, unless `optimiser.budget_minutes` ties its schedule to the clock.
"""

import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from trainer.config import OptimiserSettings, TrainSettings, dump, parse
from trainer.data.crops import Images, assemble
from trainer.data.files import is_distractor
from trainer.data.sets import check_disjoint, check_shared_persons, hold_out, read, split_market1501
from trainer.errors import CheckpointError, DataError, DivergedError, TrainerError
from trainer.model.reduction import LARGEST, add_reduction
from trainer.model.regions import region_labels
from trainer.model.siamese import input_spec
from trainer.provenance import origin, recorded_command
from trainer.site.data import read_labels
from trainer.threads import limit_threads
from trainer.train import checkpoint, report
from trainer.train.learner import Learner
from trainer.train.progress import Recorder, bare_seconds_per_image
from trainer.train.run_state import RunState
from trainer.train.validation import validate


def train(
    settings: TrainSettings,
    out: Path,
    data: Path | None = None,
    resume: bool = False,
    loaded: tuple[Images, Images] | None = None,
) -> dict[str, Any]:
    """Train a network into the folder `out` and return the report; `loaded` are images that were read before.

    Raises:
        TrainerError: bad data, folder or settings; a diverged loss; a full disk. What last.pt and best.pt held stays.
    """
    started = time.time()
    if settings.run.threads:
        limit_threads(settings.run.threads)
    torch.manual_seed(settings.run.seed)
    saved = _open_folder(out, settings, resume)
    try:
        training, held = loaded or load_images(settings, data)
        settings = settings.model_copy(update={"optimiser": in_steps(settings, len(training))})
        learner = _learner(settings, training, out)
        development = tuple((name, _development(settings, name, data)) for name in settings.data.development)
        if saved is None:
            state = _first_state(settings, training, held)
        else:
            learner.restore(saved)
            state = replace(RunState.of(saved["facts"], str(out / "last.pt")), stopped="")
        with Recorder(out, settings.optimiser.steps, state.step, resume) as recorder:
            _introduce(recorder, learner, held)
            state = _loop(_Run(settings, out, learner, held, development, recorder), state)
            if learner.shipped.dim > LARGEST and (out / "best.pt").exists():
                kept = add_reduction(out / "best.pt", training)
                recorder.log(
                    f"vectors of {learner.shipped.dim} numbers are projected to {LARGEST}: length kept {kept:.4f}"
                )
        own, bare = recorder.seconds_per_image, bare_seconds_per_image(learner)
        is_cuda = learner.fabric.device.type == "cuda"  # a GPU's work does not show in CPU seconds
        measured = {
            "command": " ".join(sys.argv),
            "images_per_second": float(1 / own[0]),
            "bare_images_per_second": float(1 / bare[0]),
            "share_of_bare": float(bare[0] / own[0] if is_cuda else bare[1] / own[1]),
            "wall_seconds": time.time() - started,
            "parameters": sum(parameter.numel() for parameter in learner.siamese.branch.parameters()),
        }
        return report.write(out, settings, state, measured)
    except OSError as error:
        raise TrainerError(f"--out must have room, {out}: {error.strerror or error}; {_kept(out)}") from error
    except DivergedError as error:
        raise DivergedError(f"{error}; {_kept(out)}") from error


@dataclass(frozen=True, eq=False)
class _Run:
    """Constants of a run."""

    settings: TrainSettings
    out: Path
    learner: Learner
    held: Images
    """Validation images."""
    development: tuple[tuple[str, Images], ...]
    """Further sets to validate on, by name."""
    recorder: Recorder

    def save(self, name: str, state: RunState, content: dict[str, Any]) -> None:
        """Write a checkpoint of the run's folder; the time it takes does not count for the speed."""
        settings = self.settings.model_dump(mode="json")
        with self.recorder.pause():
            checkpoint.save(self.out / name, {"settings": settings, "facts": state.facts()} | content)


def _loop(run: _Run, state: RunState) -> RunState:
    """Train until the steps, the time budget or the patience are used up; return the state then."""
    options, plan, learner = run.settings.run, run.settings.optimiser, run.learner
    start = time.time() - state.seconds
    while state.step < plan.steps and not state.stopped:
        progress = _progress(plan, state.step, time.time() - start)
        if progress >= 1:
            state = replace(state, stopped="the time budget was used up")
            break
        loss, terms, lr = learner.step(state.step, progress)
        state = replace(state, step=state.step + 1, seconds=time.time() - start)
        run.recorder.step(state.step, loss, terms, lr, run.settings.batch_size, options.log_every)
        if state.step % options.validate_every == 0:
            state = _validated(run, state)
        if state.step % options.checkpoint_every == 0:
            run.save("last.pt", state, learner.state())
    if not state.curve or state.curve[-1]["step"] != state.step:
        state = _validated(run, state)
    run.recorder.log(f"ended at step {state.step}: {state.stopped or 'all steps are done'}")
    run.save("last.pt", state, learner.state())
    return state


def _validated(run: _Run, state: RunState) -> RunState:
    """Validate, keep the weights if they are the best so far, and return the state with the outcome."""
    spec, shipped = input_spec(run.settings), run.learner.shipped
    with run.recorder.pause():
        score = validate(shipped, run.held, spec)
        further = {f"{name}.mAP": validate(shipped, images, spec)["mAP"] for name, images in run.development}
        score |= further
    run.recorder.validation(state.step, score)
    mean = sum([score["mAP"], *further.values()]) / (1 + len(further))
    is_better, patience = mean > state.best, run.settings.run.patience
    state = replace(
        state,
        curve=(*state.curve, {"step": state.step, "seconds": state.seconds, **score}),
        best=max(mean, state.best),
        stale=0 if is_better else state.stale + 1,
    )
    if is_better:
        run.save("best.pt", state, {"averaged": run.learner.state()["averaged"]})
    elif patience and state.stale >= patience:
        state = replace(state, stopped=f"no better mAP in {patience} validations")
    return state


def in_steps(settings: TrainSettings, images: int) -> OptimiserSettings:
    """Return the plan with its epochs converted to steps, for a number of training images."""
    plan = settings.optimiser
    if plan.epochs is None:
        return plan
    return plan.model_copy(update={"steps": max(1, math.ceil(plan.epochs * images / settings.anchors))})


def _learner(settings: TrainSettings, training: Images, out: Path) -> Learner:
    if settings.distill.teachers:
        from trainer.distill.learner import DistillLearner  # late: most runs have no teachers

        return DistillLearner(settings, training, out / "teachers")
    return Learner(settings, training, region_labels(settings, training, settings.data.keypoints or out / "keypoints"))


def _development(settings: TrainSettings, name: str, data: Path | None) -> Images:
    if name in settings.data.sets:
        raise DataError(f"data.development must name sets that are not trained on, {name} is in data.sets")
    crops = list(read(name, data))
    check_shared_persons(crops, name)
    return assemble(crops, settings.data.height, settings.data.width)


def _progress(plan: OptimiserSettings, step: int, seconds: float) -> float:
    """Return the share of the run that is done, by steps or by the clock, whichever is further."""
    return max(step / plan.steps, seconds / 60 / plan.budget_minutes if plan.budget_minutes else 0.0)


def load_images(settings: TrainSettings, folder: Path | None) -> tuple[Images, Images]:
    """Read the sets and return (training, validation) images; the first set gives the validation persons.

    Of Market-1501 only the split's training persons are decoded: the test persons are never looked at.
    """
    options = settings.data
    kept, held, domains = [], [], set[str]()
    for index, source in enumerate(options.sets):
        crops = [crop for crop in read(source, folder) if not is_distractor(crop.name)]
        if domains & {crop.domain for crop in crops}:
            raise DataError(f"every set must be named once, {source} comes twice in data.sets")
        domains |= {crop.domain for crop in crops}
        learn, check = tuple(sorted({crop.person for crop in crops})), tuple[str, ...]()
        if source == "market1501" and folder is not None:
            split = split_market1501(folder, options.validation_ids, options.validation_seed)
            learn, check = split.train, split.validation
        elif source.startswith("labelled:") and index == 0:
            check = tuple(read_labels(Path(source.removeprefix("labelled:"))).held_out)
            learn = tuple(person for person in learn if person not in check)
        elif index == 0:
            learn, check = hold_out(learn, options.validation_ids, options.validation_seed)
        check_disjoint({"training": learn, "validation": check})
        chosen = set(learn[: options.max_persons])
        kept += [crop for crop in crops if crop.person in chosen]
        if index == 0:
            held = [crop for crop in crops if crop.person in set(check)]
    check_shared_persons(held, f"the validation part of {options.sets[0]}")
    size = (options.height, options.width, options.skip_broken, options.undistorted)
    training, validation = assemble(kept, *size), assemble(held, *size)
    return training, validation


def _open_folder(out: Path, settings: TrainSettings, resume: bool) -> dict[str, Any] | None:
    """Return the checkpoint to resume from, if any, and write a copy of the settings."""
    last = out / "last.pt"
    if not resume and last.exists():
        raise TrainerError(f"--out must be a new folder or --resume be given, {last} exists")
    state = checkpoint.load(last) if resume else None
    if state is not None:
        _must_match(parse(state["settings"], str(last)), settings, last)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "settings.yaml").write_text(dump(settings), encoding="utf-8")
    except OSError as error:
        raise TrainerError(f"--out must be a folder that can be written, {out}: {error.strerror}") from error
    return state


def _must_match(saved: TrainSettings, asked: TrainSettings, last: Path) -> None:
    """Raise CheckpointError where a run would be resumed with other data, another network or another seed."""
    old, new = saved.model_dump(mode="json"), asked.model_dump(mode="json")
    changed = [
        f"{section}.{key} {old[section][key]} -> {value}"
        for section in ("data", "model", "sampler", "distill")
        for key, value in new[section].items()
        if value != old[section][key]
    ]
    if saved.run.seed != asked.run.seed:
        changed.append(f"run.seed {saved.run.seed} -> {asked.run.seed}")
    if changed:
        raise CheckpointError(f"--resume needs the settings of {last}, changed: {', '.join(changed)}; take a new --out")


def _first_state(settings: TrainSettings, training: Images, held: Images) -> RunState:
    start, start_data = origin(settings.model.weights) if settings.model.weights else ("", ())
    return RunState(
        seed=settings.run.seed,
        persons_per_domain=training.persons_per_domain,
        domains=training.domain_names,
        images=len(training),
        validation_persons=held.person_names,
        command=recorded_command(),
        start=start,
        start_data=start_data,
    )


def _introduce(recorder: Recorder, learner: Learner, held: Images) -> None:
    images, alone = learner.images, learner.sampler.alone
    recorder.log(
        f"{len(images)} images of {len(images.person_names)} persons, {', '.join(images.domain_names)}; "
        f"validation {len(held)} images of {len(held.person_names)} persons"
    )
    if learner.settings.model.weights:
        recorder.log(f"starts from {learner.settings.model.weights}, random: {', '.join(learner.fresh) or 'nothing'}")
    if alone:
        recorder.log(f"{len(alone)} persons are seen by one camera only, {alone[0]} among them")


def _kept(out: Path) -> str:
    last = out / "last.pt"
    return f"the earlier {last} is intact" if last.exists() else "no checkpoint was written yet"
