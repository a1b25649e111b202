"""`reid-stream eval`: replay cameras with known truth through the whole daemon and score what a subscriber was told."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    cameras: Annotated[Path, typer.Option(help="cams.yaml with file cameras.")],
    truth: Annotated[list[str], typer.Option(help="CAMERA=FILE: MOT text, ids shared by all cameras; once a camera.")],
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Score HOTA, AssPr, AssRe and IDF1 over all cameras, of the event stream at once and after its corrections."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from reid_stream import configfile
    from reid_stream.evaluation.run import run

    settings = configfile.load(cameras)
    figures = run(settings, _pairs(truth, {camera.id for camera in settings.cameras}))
    table = Table("", "HOTA", "DetA", "AssA", "AssPr", "AssRe", "IDF1", "IDs", box=None, header_style="bold")
    for name, scored, people in (
        ("as told at once", figures.at_once, figures.people_at_once),
        ("after corrections", figures.in_the_end, figures.people_in_the_end),
    ):
        values = (scored.hota, scored.det_a, scored.ass_a, scored.ass_pr, scored.ass_re, scored.idf1)
        table.add_row(name, *(f"{value:.3f}" for value in values), f"{people} of {figures.people}")
    console = Console()
    console.print(table)
    console.print(
        f"{figures.frames} frames of {len(settings.cameras)} cameras in {figures.seconds:.1f} s "
        f"({figures.frames / figures.seconds:.1f} frames/s), {figures.events} events",
        highlight=False,
    )
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")


def _pairs(named: list[str], known: set[str]) -> dict[str, Path]:
    from reid_stream.errors import ConfigError

    pairs: dict[str, Path] = {}
    for text in named:
        camera, separator, file = text.partition("=")
        if not separator or camera not in known:
            raise ConfigError(f"--truth must be CAMERA=FILE with a camera of {', '.join(sorted(known))}, got {text!r}")
        if not Path(file).is_file():
            raise ConfigError(f"--truth must name a file that is there, got {file!r} for camera {camera}")
        pairs[camera] = Path(file)
    if missing := sorted(known - set(pairs)):
        raise ConfigError(f"every camera needs its truth, --truth is missing for {', '.join(missing)}")
    return pairs
