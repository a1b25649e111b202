"""`reid-train cut`: unlabelled crops of people, cut out of videos and pictures."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from trainer.output import say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(cut)


def cut(
    sources: Annotated[list[Path], typer.Argument(help="videos, images, and folders searched for images")],
    out: Annotated[Path, typer.Option(help="folder of the crops, one subfolder per source")],
    detector: Annotated[str, typer.Option(help="a detector: bundle folder or name of a shipped one")] = "default",
    every: Annotated[int, typer.Option(min=1, help="of a video, look at every Nth picture")] = 10,
    score: Annotated[float, typer.Option(min=0, max=1, help="lowest score of a detection")] = 0.4,
    min_height: Annotated[int, typer.Option(min=16, help="lowest height of a detection, pixels")] = 60,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads")] = 1,
) -> None:
    """Cut people out of videos and pictures, for `distill.unlabelled` of the recipe `distilled`."""
    from reid_stream.bundles import catalog
    from trainer.distill.cut import cut_people

    folder, _ = catalog.detector(detector)
    for source, count in cut_people(sources, out, folder, every, score, min_height, threads).items():
        say(f"{source}: {count} crops")
    setting = shlex.quote(f"distill.unlabelled=[{out}]")
    say(f"to learn on them: reid-train fit --recipe distilled --out distilled --set {setting}")
