"""`python -m benchmarks size|path`: size figures of this checkout and others, and the path of a frame."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from reid_stream.console.output import Output

ROWS = {
    "top_modules": "modules at the top of reid_stream/",
    "layers": "import layers",
    "modules": "modules in the wheel",
    "lines": "lines in the wheel",
    "longest": "lines of the longest module",
    "classes": "public class names",
    "defined_twice": "of these defined more than once",
    "readme_lines": "README lines",
    "readme_bytes": "README bytes",
    "tracked_bytes": "bytes of all tracked files",
}


def size(
    checkouts: Annotated[list[Path] | None, typer.Argument(help="Checkouts to compare; default: this folder.")] = None,
) -> None:
    """Print modules, layers, lines and names defined twice, a column per checkout."""
    from benchmarks.size import measure

    folders = checkouts or [Path()]
    measured = [asdict(measure(folder)) for folder in folders]
    table = Table(box=None, header_style="bold")
    table.add_column("")
    for folder in folders:
        table.add_column(folder.resolve().name, justify="right")
    for key, label in ROWS.items():
        values = [found[key] for found in measured]
        table.add_row(label, *(f"{len(value) if isinstance(value, tuple) else value:,}" for value in values))
    Output().print(table)
    for folder, found in zip(folders, measured, strict=True):
        if found["defined_twice"]:
            typer.echo(f"{folder.resolve().name}, defined more than once: {', '.join(found['defined_twice'])}")


def path(
    clip: Annotated[Path | None, typer.Option(help="Video file of people. Default: the demo's clip.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Duration of the recording.")] = 10,
) -> None:
    """List the modules that a frame passes from the camera to Redis, by thread, in the order of their first calls."""
    from benchmarks.frame_path import measure
    from reid_stream.commands.demo import footage

    source = clip or footage(os.environ, lambda text: typer.echo(text, err=True))
    found = measure(source, seconds)
    for thread, modules in found.stages.items():
        typer.echo(f"{thread} ({len(modules)}): {' '.join(modules)}")
    typer.echo(f"{found.modules} modules on the path of {found.frames} frames")
    typer.echo(f"beside it ({len(found.beside)}): {' '.join(found.beside)}")
