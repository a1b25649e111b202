"""`reid-stream models`: what is on the shelf, what a bundle holds, and how an ONNX file becomes one."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="List, show and make model bundles.", no_args_is_help=True)


class Kind(StrEnum):
    """What a network does."""

    detector = "detector"
    embedder = "embedder"


@app.command("list")
def list_bundles() -> None:
    """List the bundles in $REID_STREAM_MODELS and in the package."""
    from rich.console import Console
    from rich.table import Table

    from reid_stream import bundle, shelf
    from reid_stream.errors import ModelError

    table = Table("name", "kind", "hash", "licence", "folder", box=None, header_style="bold")
    for folder in shelf.bundles():
        try:
            found = bundle.load(folder)
            table.add_row(folder.name, found.kind, found.hash[:12], found.licence, str(folder))
        except ModelError as error:
            table.add_row(folder.name, "[red]broken[/]", "", str(error), str(folder))
    Console().print(table if table.row_count else "no bundles; `reid-stream models wrap` makes one from an ONNX file")


@app.command()
def show(name: Annotated[str, typer.Argument(help="A bundle's folder, or a name on the shelf.")]) -> None:
    """Show what a bundle holds, without its long lists."""
    import msgspec
    from rich.console import Console

    from reid_stream import shelf

    folder, found = shelf.any_bundle(name)
    fields = msgspec.to_builtins(found)
    console = Console()
    console.print(f"[bold]{folder}[/]")
    console.print_json(msgspec.json.encode(_shortened(fields)).decode())


@app.command()
def wrap(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    out: Annotated[Path, typer.Argument(help="Folder of the new bundle.")],
    kind: Annotated[Kind, typer.Option(help="What the network does.")],
    licence: Annotated[str, typer.Option(help="Licence of the weights.")] = "unknown",
    name: Annotated[str | None, typer.Option(help="For people; default: the folder's name.")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels of the input, where the network takes any.")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels of the input, where the network takes any.")] = None,
    colour: Annotated[str | None, typer.Option(help="rgb or bgr; default: what its kind has.")] = None,
    decoder: Annotated[
        str | None, typer.Option(help="Detector: yolo, yolo_end2end or yolox; default: by its shape.")
    ] = None,
    scale: Annotated[int | None, typer.Option(help="Detector: pixel values run to 1 or 255.")] = None,
    person: Annotated[int | None, typer.Option(help="Detector: number of the class `person`.")] = None,
) -> None:
    """Make a bundle from any ONNX detector or embedder."""
    from reid_stream.errors import ConfigError
    from reid_stream.make_bundle import wrap as make

    given = {"height": height, "width": width, "colour": colour}
    of_detectors = {"decoder": decoder, "scale": scale, "person": person}
    if kind is Kind.embedder and (wrong := [name for name, value in of_detectors.items() if value is not None]):
        raise ConfigError(f"--{wrong[0]} is for detectors, got it with --kind embedder")
    options = {name: value for name, value in {**given, **of_detectors}.items() if value is not None}
    made = make(model, out, kind=kind.value, name=name or out.name, licence=licence, **options)
    typer.echo(f"{out}: {made.kind} {made.hash[:12]}")


def _shortened(value: object) -> object:
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    if isinstance(value, list) and len(value) > 8 and not isinstance(value[0], str):
        return f"{len(value)} numbers"
    if isinstance(value, list) and len(value) > 8:
        return [*value[:3], f"and {len(value) - 3} more"]
    return value
