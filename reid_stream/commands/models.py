"""`reid-stream models`: what is on the shelf, what a bundle holds, how to make one, and how to go over to another."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reid_stream.offline.compare_embedders import EmbedderComparison

app = typer.Typer(help="List, show, make, try and activate model bundles.", no_args_is_help=True)

Cams = Annotated[Path | None, typer.Option(help="cams.yaml, for its match, topology and models settings.")]


class Kind(StrEnum):
    """What a network does."""

    detector = "detector"
    embedder = "embedder"


@app.command("list")
def list_bundles() -> None:
    """List the bundles in $REID_STREAM_MODELS and in the package."""
    from rich.console import Console
    from rich.table import Table

    from reid_stream.bundles import bundle, catalog
    from reid_stream.errors import ModelError

    table = Table("name", "kind", "hash", "licence", "folder", box=None, header_style="bold")
    for folder in catalog.bundles():
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

    from reid_stream.bundles import catalog

    folder, found = catalog.any_bundle(name)
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
        str | None,
        typer.Option(
            help="Detector: layout of the output: yolo, yolo_transposed, yolov5, yolox, rtdetr or yolo_end2end; "
            "default: by its shape."
        ),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Detector: class names in the network's order, comma-separated.")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="Detector: an image with people, to choose between layouts that the shape fits."),
    ] = None,
    output: Annotated[str | None, typer.Option(help="Output to use, where the network has several.")] = None,
    scale: Annotated[int | None, typer.Option(help="Detector: pixel values run to 1 or 255.")] = None,
    person: Annotated[int | None, typer.Option(help="Detector: number of the class `person`.")] = None,
) -> None:
    """Make a bundle from any ONNX detector or embedder."""
    from reid_stream.bundles.wrap import wrap as make
    from reid_stream.errors import ConfigError

    given = {"height": height, "width": width, "colour": colour, "output": output}
    names = [name.strip() for name in classes.split(",")] if classes is not None else None
    of_detectors = {"decoder": decoder, "scale": scale, "person": person, "classes": names, "picture": picture}
    if kind is Kind.embedder and (wrong := [name for name, value in of_detectors.items() if value is not None]):
        raise ConfigError(f"--{wrong[0]} is for detectors, got it with --kind embedder")
    options = {name: value for name, value in {**given, **of_detectors}.items() if value is not None}
    made = make(model, out, kind=kind.value, name=name or out.name, licence=licence, **options)
    typer.echo(f"{out}: {made.kind} {made.hash[:12]}")


@app.command()
def shadow(
    bundle: Annotated[str, typer.Argument(help="The embedder that may follow: a folder, or a name on the shelf.")],
    store: Annotated[Path, typer.Option(help="The tracklet store, `store.folder` of cams.yaml.")],
    cameras: Cams = None,
    embedder: Annotated[
        str | None, typer.Option(help="The one to compare with; default: that of cams.yaml, or the shipped one.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Who is who, where it is known: JSON, folder of a track -> person.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Tell what another embedder would change at a site: which identities would stay, merge, split; nothing changes."""
    import msgspec
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from reid_stream import store as stores
    from reid_stream.config import cams_yaml
    from reid_stream.config.settings import Embed, Match, Models
    from reid_stream.errors import ConfigError
    from reid_stream.offline import compare_embedders as shadows
    from reid_stream.runtime.networks import load_embedder

    settings = cams_yaml.load(cameras) if cameras is not None else None
    models = settings.models if settings is not None else Models()
    if embedder is not None:
        models = models.model_copy(update={"embedder": embedder})
    embed = settings.embed if settings is not None else Embed()
    present, other = (
        load_embedder(each, embed)[:2] for each in (models, models.model_copy(update={"embedder": bundle}))
    )
    if present[0].hash == other[0].hash:
        raise ConfigError(f"two different embedders can be compared, {bundle} is the present one: {other[0].hash[:12]}")
    try:
        known = stores.read_truth(truth) if truth is not None else None
    except ValueError as error:
        raise ConfigError(str(error)) from error
    console = Console()
    columns = (TextColumn("tracks"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("tracks")
        found = shadows.shadow(
            store,
            settings.match if settings is not None else Match(),
            present,
            other,
            known,
            lambda done, of: bar.update(task, completed=done, total=of),
            settings.topology if settings is not None else None,
        )
    _tell(found)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")


@app.command()
def activate(
    bundle: Annotated[str, typer.Argument(help="The embedder that follows: a folder, or a name on the shelf.")],
    cameras: Annotated[Path, typer.Option(help="cams.yaml of the site; models.embedder is set there.")],
    anew: Annotated[
        bool, typer.Option("--anew", help="Let people get new IDs where they cannot go on under their own.")
    ] = False,
) -> None:
    """Go over to another embedder: the people of the site keep their IDs, embedded anew from the store's crops."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from reid_stream.bundles import catalog
    from reid_stream.config import cams_yaml
    from reid_stream.errors import ConfigError
    from reid_stream.offline import activate
    from reid_stream.runtime.networks import load_embedder

    settings = cams_yaml.load(cameras)
    present = catalog.embedder(settings.models.embedder)[1]
    folder = catalog.find(bundle, "embedder")
    name = str(folder.resolve()) if Path(bundle).is_dir() else bundle
    other, embed, _ = load_embedder(settings.models.model_copy(update={"embedder": name}), settings.embed)
    if other.hash == present.hash:
        raise ConfigError(f"{bundle} is the embedder in use already: {other.hash[:12]}")
    if (why := activate.why_anew(settings)) and not anew:
        raise ConfigError(f"people would get new IDs: {why}. Give --anew if that is wanted")
    console = Console()
    columns = (TextColumn("tracks"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("tracks")
        done = activate.activate(
            settings, present, (other, embed), lambda done, of: bar.update(task, completed=done, total=of)
        )
    before = activate.name_in(cameras, name)
    if done.carried is not None:
        activate.forget(settings, present)
    console.print(
        f"{cameras}: models.embedder is {name}, was {before or 'default'}; the next daemon uses it", highlight=False
    )
    if done.carried is None:
        console.print(f"people get new IDs, no number is given twice: {done.why_anew}", highlight=False)
        return
    console.print(
        f"{done.carried.people} people keep their IDs, known by {done.carried.views} tracks; {done.embedded} crops "
        f"embedded anew in {done.seconds:.1f} s",
        highlight=False,
    )
    if lost := done.carried.lost:
        some = ", ".join(f"{settings.site}-{number}" for number in lost[:5]) + (", ..." if len(lost) > 5 else "")
        console.print(f"{len(lost)} people of whom the store has no crop are not known any more: {some}")


def _tell(found: "EmbedderComparison") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    table = Table(f"{found.tracks} tracks, {found.crops} crops", "present", "other", box=None, header_style="bold")
    sides = (found.present, found.other)
    table.add_row("bundle", *(f"{side.name} {side.hash[:12]}" for side in sides))
    table.add_row("identities", *(str(side.people) for side in sides))
    table.add_row("links", *(str(side.links) for side in sides))
    table.add_row("P(same) of links, median", *(_number(side.probability) for side in sides))
    table.add_row("links with P(same) of 0.9", *(_number(side.sure) for side in sides))
    table.add_row("crops embedded per second", *(_number(side.crops_per_s, ".0f") for side in sides))
    table.add_row("times real time", *(_number(side.times_real, ".0f") for side in sides))
    for label, name in (
        ("IDF1", "idf1"),
        ("HOTA", "hota"),
        ("pairs joined that are one person", "precision"),
        ("pairs of one person that are joined", "recall"),
    ):
        if found.present.right is not None:
            table.add_row(label, *(_number(getattr(side.right, name)) for side in sides))
    console.print(table)
    console.print(
        f"{found.stay} identities stay as they are, {found.merged} would hold tracks of several present ones, "
        f"{found.split} present ones would be several; {found.same_pairs:.1%} of all joined pairs are joined by both",
        highlight=False,
    )
    for verb, changes in (("would be one", found.merges), ("would be", found.splits)):
        for change in changes[:5]:
            console.print(f"  {verb}: {', '.join(change.people)} ({change.tracks} tracks)", highlight=False)


def _number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else f"{value:{form}}"


def _shortened(value: object) -> object:
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    if isinstance(value, list) and len(value) > 8 and not isinstance(value[0], str):
        return f"{len(value)} numbers"
    if isinstance(value, list) and len(value) > 8:
        return [*value[:3], f"and {len(value) - 3} more"]
    return value
