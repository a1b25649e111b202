"""Command line of `reid-train`: `fit`, and one module of `trainer.commands` per group of further commands.

A module of `trainer.commands` has `register(app: typer.Typer) -> None`. Commands import torch and the like when they
run, so that `--help` is quick and a missing extra concerns only the command that needs it.
"""

import importlib
import os
import pkgutil
from pathlib import Path
from typing import Annotated

import typer

from reid_stream.config.command_help import hide_flag_types
from reid_stream.config.home import ensure_home, ensure_safe_imports, ensure_utf8, temporary_fault
from reid_stream.engines.cpus import bound_libraries
from reid_stream.errors import ReidStreamError
from trainer import commands
from trainer.errors import TrainerError
from trainer.output import fail, say

# Read by OpenMP when torch loads: waiting threads sleep. By default they spin, which stalls training beside a daemon.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KMP_BLOCKTIME", "0")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Train, evaluate, calibrate and export re-ID networks and person detectors.",
)


@app.callback()
def _root() -> None:
    """Keep `fit` a subcommand even while it is the only one."""


@app.command()
def fit(
    out: Annotated[Path, typer.Option(help="folder of the run; created if missing")],
    config: Annotated[Path | None, typer.Option(help="settings, YAML; see configs/train-strong.yaml")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="a file name of trainer/train/recipes; site: trains on the people of a tracklet store"),
    ] = None,
    budget: Annotated[
        str, typer.Option(help="a share of a recipe's full length, in (0, 1], or a time: 90s, 20m, 2h; site: a time")
    ] = "1",
    data: Annotated[Path | None, typer.Option(envvar="REID_STREAM_DATA", help="folder that holds people/")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue the killed run of --out")] = False,
    changes: Annotated[list[str] | None, typer.Option("--set", help="section.key=value; may be repeated")] = None,
    store: Annotated[Path | None, typer.Option(help="site: the tracklet store")] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="site: the bundle (folder or name, such as `default`) or checkpoint to start from"),
    ] = None,
    reviewed: Annotated[Path | None, typer.Option(help="site: a file of reviewed global IDs, one per line")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="site: rounds of clustering and training")] = 3,
) -> None:
    """Train a network; a killed run continues with --resume, to the same losses unless --budget is a time."""
    from trainer.config import load
    from trainer.train.loop import train
    from trainer.train.recipe import parse_budget

    share, minutes = parse_budget(budget)
    if recipe == "site":
        if share != 1 or config is not None or store is None or bundle is None:
            raise TrainerError(
                "--recipe site needs --store and --bundle, and takes no --config; its --budget is a time"
            )
        from trainer.evaluate.network import named_bundle
        from trainer.site.loop import fit_site, read_reviewed, recipe_settings

        bundle = named_bundle(bundle)
        names = read_reviewed(reviewed) if reviewed is not None else frozenset[str]()
        settings = recipe_settings(bundle, tuple(changes or ()))
        fit_site(settings, store, bundle, out, names, rounds, say, minutes=minutes, resume=resume)
        return
    if (config is None) == (recipe is None) or (config is not None and share != 1):
        raise TrainerError("fit needs either --config FILE, or --recipe NAME, whose --budget may be a share")
    if store is not None or bundle is not None or reviewed is not None:
        raise TrainerError("--store, --bundle and --reviewed belong to --recipe site")
    limits = () if minutes is None else (f"optimiser.budget_minutes={minutes}",)
    if config is not None:
        train(load(config, (*limits, *(changes or ()))), out, data, resume)
    else:
        from trainer.train.recipe import recipe as read_recipe

        train(read_recipe(str(recipe), (*limits, *(changes or ())), share), out, data, resume)


def _register_commands() -> None:
    for module in pkgutil.iter_modules(commands.__path__, commands.__name__ + "."):
        importlib.import_module(module.name).register(app)


_register_commands()


def main() -> None:
    """Run the command line; an error that the user can fix is one line and exit status 1."""
    ensure_safe_imports()
    ensure_utf8("trainer.cli")
    ensure_home()
    bound_libraries()
    try:
        command = typer.main.get_command(app)
        hide_flag_types(command)
        command(prog_name="reid-train")
    except (TrainerError, ReidStreamError) as error:
        fail(str(error))
    except FileNotFoundError:
        fault = temporary_fault()
        if fault is None:
            raise
        fail(fault)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "trainer", "reid_stream"):
            raise  # a fault of ours, not of the installation
        extra = "int8" if package == "nncf" else "train"
        fail(f"this command needs the package {package}, which is not installed: pip install 'reid-stream[{extra}]'")
