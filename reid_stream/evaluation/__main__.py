"""Measurements over every set with truth below $REID_STREAM_DATA and of `make worlds`; see `--help` of each.

python -m reid_stream.evaluation record [SET ...]      what perceive sees, kept, so that matching replays in seconds
python -m reid_stream.evaluation score [SET ...]       `make score`
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from reid_stream.config import Models
from reid_stream.errors import ReidStreamError
from reid_stream.evaluation import sets
from reid_stream.evaluation.run import Figures, run

KEPT = Path("scores")

app = typer.Typer(help="Measurements over sets with truth.", pretty_exceptions_enable=False, no_args_is_help=True)
Names = Annotated[list[str] | None, typer.Argument(metavar="[SET]...", help="Parts of names of sets; none: all.")]


@app.command()
def record(
    names: Names = None,
    to: Annotated[Path, typer.Option(help="Folder for the recordings, SET.rec with `-` for `/`.")] = Path(
        ".recordings"
    ),
    detector: Annotated[str, typer.Option(help="As models.detector in cams.yaml.")] = "default",
    embedder: Annotated[str, typer.Option(help="As models.embedder in cams.yaml.")] = "default",
) -> None:
    """Run detector, tracker and embedder over sets and keep what they say."""
    from reid_stream.assembly import load_networks
    from reid_stream.evaluation import recording

    models = Models(detector=detector, embedder=embedder, threads=int(os.environ.get("OMP_NUM_THREADS", "0")))
    chosen = sets.find(sets.roots(), names or ())
    networks = load_networks(chosen[0].settings(models))
    for footage in chosen:
        made = recording.record(footage.settings(models), footage.truth(), name=footage.name, networks=networks)
        file = to / f"{footage.name.replace('/', '-')}.rec"
        recording.save(made, file)
        Console().print(
            f"{file}: {made.frames} frames of {len(made.cameras)} cameras in {made.seconds:.1f} s, "
            f"{sum(len(batch.records) for batch in made.batches)} records, {file.stat().st_size / 1e6:.1f} MB",
            highlight=False,
        )


@app.command()
def score(names: Names = None) -> None:
    """Score every set through the whole daemon: one table, kept per commit."""
    scored: dict[str, Figures] = {}
    for footage in sets.find(sets.roots(), names or ()):
        scored[footage.name] = run(footage.settings(), footage.truths)
    _show(scored)
    KEPT.mkdir(exist_ok=True)
    kept = KEPT / f"{_commit()}.json"
    kept.write_bytes(msgspec.json.format(msgspec.json.encode(scored), indent=2) + b"\n")
    Console().print(f"kept in {kept}", style="dim")


def _show(scored: dict[str, Figures]) -> None:
    table = Table("set", "HOTA", "AssPr", "AssRe", "IDF1", "IDF1 at once", "IDs", "frames/s", box=None)
    for name, figures in scored.items():
        end = figures.in_the_end
        across = end.across
        values = (across.hota, across.ass_pr, across.ass_re, across.idf1, figures.at_once.across.idf1)
        table.add_row(
            name,
            *(f"{value:.3f}" for value in values),
            f"{end.people.identities} of {end.people.people}",
            f"{figures.frames / figures.seconds:.1f}",
        )
    Console().print(table)


def _commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unversioned"


if __name__ == "__main__":
    try:
        app()
    except ReidStreamError as error:
        sys.exit(f"reid-stream evaluation: {error}")
