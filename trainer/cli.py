"""reid-train: fit | eval | rank | calibrate | export | detector; each command imports what it needs when it runs.

A file `trainer/commands_*.py` that has `register(app: typer.Typer) -> None` adds its commands; torch is imported inside
them.
"""

import importlib
import pkgutil
import sys
from pathlib import Path
from typing import Annotated

import typer

import trainer
from reid_stream.errors import ReidStreamError
from trainer.errors import TrainerError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Teach the embedder: train, evaluate, calibrate, export."
)


@app.callback()
def _root() -> None:
    """Keep `fit` a command of its own."""


@app.command()
def fit(
    config: Annotated[Path, typer.Option(help="settings, YAML; see configs/train-strong.yaml")],
    out: Annotated[Path, typer.Option(help="folder of the run; made if it is missing")],
    data: Annotated[Path | None, typer.Option(envvar="REID_STREAM_DATA", help="folder that holds people/")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the last checkpoint of --out")] = False,
    changes: Annotated[list[str] | None, typer.Option("--set", help="section.key=value; may be repeated")] = None,
) -> None:
    """Train a network; a killed run goes on with --resume to the same losses."""
    from trainer.config import load
    from trainer.train import train

    train(load(config, tuple(changes or ())), out, data, resume)


def main() -> None:
    """Run the command line; errors that a user can mend are one line."""
    for module in sorted(found.name for found in pkgutil.iter_modules(trainer.__path__)):
        if module.startswith("commands_"):
            importlib.import_module(f"trainer.{module}").register(app)
    try:
        app()
    except (TrainerError, ReidStreamError) as error:
        sys.exit(f"reid-train: {error}")
