"""`python -m benchmarks peers`: other trackers on the same clips with the same detector."""

from pathlib import Path
from typing import Annotated

import typer

from reid_stream.commands.bench import write_figures


def peers(
    python: Annotated[Path, typer.Option(help="Python of the peers' environment; `make peers` creates it.")] = Path(
        ".venv-peers/bin/python"
    ),
    wanted: Annotated[list[str] | None, typer.Option("--set", help="Part of a set's name; may be repeated.")] = None,
    weights: Annotated[Path | None, typer.Option(help="YOLO weights (.pt) beside the same as .onnx.")] = None,
    reid: Annotated[Path | None, typer.Option(help="ONNX embedder for BoxMOT.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Compare speed and accuracy with Ultralytics' and BoxMOT's trackers on the same clips and detector."""
    from benchmarks.accuracy import sets
    from benchmarks.peers import compare as peers_of

    found = peers_of.run(
        sets.find(sets.roots(), wanted or ["PETS09", "TUD", "ADL-Rundle-6"]),
        python=python,
        weights=weights,
        reid=reid,
        progress=lambda text: typer.echo(text, err=True),
    )
    peers_of.show(found)
    write_figures(found, json)
