"""Recipes by name, and runs scaled down by a budget.

    trainer/train/recipes/NAME.yaml -> settings -> `--set` changes -> `--budget` -> settings of the run

A budget F is a share of the recipe's full work. Epochs, steps and the pool of mined triplets are multiplied by it;
below 0.5 the sides of the images are halved, below 0.0005 quartered; the schedule keeps its shape, over fewer steps.
"""

import re
from pathlib import Path

from trainer.config import TrainSettings, load
from trainer.errors import TrainerError

FOLDER = Path(__file__).parent / "recipes"
_HALF, _QUARTER = 0.5, 0.0005
_LEAST_POOL = 128
_BUDGET = re.compile(r"(\d*\.?\d+)\s*(s|m|min|h)?")
_MINUTES = {"s": 1 / 60, "m": 1.0, "min": 1.0, "h": 60.0}
# Least number of validations, checkpoints and log lines of a run, however short.
_VALIDATIONS, _CHECKPOINTS, _LINES = 2, 4, 10


def names() -> list[str]:
    """Return the recipes there are, but `site`, which learns in rounds; see trainer/site/loop.py."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml") if file.stem != "site")


def recipe(name: str, changes: tuple[str, ...] = (), budget: float = 1.0) -> TrainSettings:
    """Return a recipe's settings with `section.key=value` changes, at a share of its full length.

    Changes come last: what they set, the budget does not scale.

    Raises:
        TrainerError: no such recipe, a budget outside (0, 1], or settings that do not fit together.
    """
    file = FOLDER / f"{name}.yaml"
    if name not in names():
        raise TrainerError(f"--recipe must be one of {', '.join(names())} or site, got {name!r}")
    if not 0 < budget <= 1:
        raise TrainerError(f"--budget must be above 0 and at most 1, got {budget}")
    full = load(file)
    small = scaled(full, budget)
    kept = [f"{key}={value}" for key, value in _differences(full, small).items()]
    asked = {change.split("=", 1)[0].strip() for change in changes}
    kept = [change for change in kept if change.split("=", 1)[0] not in asked]
    return load(file, (*kept, f"run.recipe={name}", f"run.budget={budget}", *changes))


def parse_budget(text: str) -> tuple[float, float | None]:
    """Read `--budget`: return the share of the full length, and the minutes where it is a time.

    >>> parse_budget("0.01"), parse_budget("90s"), parse_budget("2h")
    ((0.01, None), (1.0, 1.5), (1.0, 120.0))

    Raises:
        TrainerError: it is neither, or not above 0.
    """
    match = _BUDGET.fullmatch(text.strip())
    number = float(match[1]) if match else 0.0
    if match is None or number <= 0 or (not match[2] and number > 1):
        raise TrainerError(f"--budget must be a share in (0, 1] or a time such as 90s, 20m or 2h, got {text!r}")
    return (1.0, number * _MINUTES[match[2]]) if match[2] else (number, None)


def scaled(full: TrainSettings, budget: float) -> TrainSettings:
    """Return settings of a run at a share of the full length.

    >>> from trainer.train.recipe import recipe
    >>> small = recipe("paper", budget=0.01)
    >>> small.optimiser.epochs, small.optimiser.nominal_epochs, small.data.height
    (2.56, 256.0, 128)
    """
    if budget == 1:
        return full
    shrink = 1 if budget >= _HALF else 2 if budget >= _QUARTER else 4
    plan, data, run, ranking = full.optimiser, full.data, full.run, full.ranking
    steps = max(1, round(plan.steps * budget))
    epochs = plan.epochs * budget if plan.epochs else None
    known = steps if epochs is None else 10**9  # the number of steps per epoch is known once the data is read
    return full.model_copy(
        update={
            "data": data.model_copy(update={"height": data.height // shrink, "width": data.width // shrink}),
            "optimiser": plan.model_copy(
                update={"steps": steps, "epochs": epochs, "nominal_epochs": plan.nominal_epochs or plan.epochs}
            ),
            "ranking": ranking.model_copy(
                update={"pool": min(ranking.pool, max(_LEAST_POOL, round(ranking.pool * budget)))}
            ),
            "run": run.model_copy(
                update={
                    "validate_every": min(run.validate_every, max(1, known // _VALIDATIONS)),
                    "checkpoint_every": min(run.checkpoint_every, max(1, known // _CHECKPOINTS)),
                    "log_every": min(run.log_every, max(1, known // _LINES)),
                }
            ),
        }
    )


def _differences(full: TrainSettings, small: TrainSettings) -> dict[str, object]:
    one, other = full.model_dump(mode="json"), small.model_dump(mode="json")
    return {
        f"{section}.{key}": value
        for section, keys in other.items()
        for key, value in keys.items()
        if value != one[section][key]
    }


def run_length(settings: TrainSettings) -> str:
    """Return the planned length of a run in words, for tables and cards."""
    plan, data = settings.optimiser, settings.data
    length = (
        f"{plan.epochs:g} of {plan.nominal_epochs or plan.epochs:g} epochs" if plan.epochs else f"{plan.steps} steps"
    )
    if plan.budget_minutes:
        length += f", at most {plan.budget_minutes:g} minutes"
    size = f"larger side {max(data.height, data.width)}" if data.undistorted else f"{data.height}x{data.width}"
    return f"{settings.run.recipe or 'own settings'} at budget {settings.run.budget:g}: {length}, {size} px"
