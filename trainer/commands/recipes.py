"""`reid-train ablate`, `compare`, `curves`, `schedule`: recipes and runs side by side."""

from pathlib import Path
from typing import Annotated

import typer

from trainer.output import say

Data = Annotated[Path | None, typer.Option(envvar="REID_STREAM_DATA", help="folder that holds people/")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="test sets; default: market1501 and, left out, cuhk01")]
Precision = Annotated[str, typer.Option(help="auto, f32 or bf16: arithmetic of the engine that runs a bundle")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (ablate, compare, curves, schedule):
        app.command()(command)


def ablate(
    out: Annotated[Path, typer.Argument(help="folder of the runs, the table and the plot")],
    table: Annotated[
        list[str] | None,
        typer.Option(
            help="erasing, backbones: tables 2 and 3 of Cao & Lee, the default; recipes: all, each without its parts; "
            "distillation: the recipe distilled without its parts; regions: magnifier by a pose network and by stripes"
        ),
    ] = None,
    budget: Annotated[
        str, typer.Option(help="of each run: share of the recipe's full length, in (0, 1], or a time: 90s, 20m, 2h")
    ] = "1.0",
    seeds: Annotated[int, typer.Option(min=1, help="how many")] = 2,
    only: Annotated[list[str] | None, typer.Option(help="a row of the table; may be repeated")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="section.key=value, of all rows")] = None,
    tests: Annotated[list[str] | None, typer.Option("--test", help="test sets; default: market1501, cuhk01")] = None,
    data: Data = None,
    precision: Precision = "auto",
) -> None:
    """Train a paper's table row by row; runs that have ended are skipped, killed ones resumed."""
    from trainer.data.test_sets import check_test_sets
    from trainer.train import ablation
    from trainer.train.recipe import parse_budget

    check_test_sets(tests or (), data)
    share, minutes = parse_budget(budget)
    limits = () if minutes is None else (f"optimiser.budget_minutes={minutes}",)
    for name in table or ["erasing", "backbones"]:
        rows = ablation.variants(name, tuple(only or ()))
        numbers = tuple(range(1, seeds + 1))
        folders = ablation.ablate(rows, out / name, data, share, numbers, (*limits, *(changes or ())), say)
        published = {row.name: row.published for row in rows if row.published}
        _write_table(folders, tests, data, precision, out / name, published)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="folders of runs that have ended; NAME-s1, NAME-s2 are one row")],
    out: Annotated[Path, typer.Option(help="folder for comparison.md and comparison.png")],
    sets: Sets = None,
    data: Data = None,
    precision: Precision = "auto",
) -> None:
    """Measure runs side by side: one table and one plot."""
    from trainer.data.test_sets import check_test_sets

    check_test_sets(sets or (), data)
    _write_table(runs, sets, data, precision, out, {})


def curves(
    runs: Annotated[list[Path], typer.Argument(help="folders of runs, each the start of the next one")],
    out: Annotated[Path, typer.Option(help="SVG or PNG file")],
    window: Annotated[int, typer.Option(min=1, help="steps of the losses' moving average")] = 50,
) -> None:
    """Draw the losses and the validation of runs that continue one another; print steps, images and hours."""
    from trainer.evaluate import learning_curves, plots

    read = [learning_curves.read_curve(run) for run in runs]
    plots.learning_curves(read, out, window)
    for line in learning_curves.summary(read):
        say(line)


def schedule(
    recipe: Annotated[str, typer.Argument(help="a file name in trainer/train/recipes")],
    out: Annotated[Path, typer.Argument(help="PNG file")],
    budget: Annotated[float, typer.Option(help="share of the recipe's full length, in (0, 1]")] = 1.0,
) -> None:
    """Draw the learning rate, the erasing and the share of negatives over a recipe's run."""
    from trainer.evaluate import plots
    from trainer.train.recipe import recipe as read_recipe

    plots.schedule(read_recipe(recipe, budget=budget), out)
    say(str(out))


def _write_table(
    runs: list[Path],
    sets: list[str] | None,
    data: Path | None,
    precision: str,
    out: Path,
    published: dict[str, tuple[float, float]],
) -> None:
    from trainer.evaluate import comparison, plots

    names = sets or ["market1501", "cuhk01"]
    measured = comparison.compare(runs, names, data, precision, say)
    text = comparison.table(measured, names, published)
    out.mkdir(parents=True, exist_ok=True)
    (out / "comparison.md").write_text(text, encoding="utf-8")
    plots.comparison(measured, names, out / "comparison.png")
    say(text)
    say(f"{out / 'comparison.md'}, {out / 'comparison.png'}")
