"""`reid-stream models`: list, show and make model bundles, compare embedders, and switch a site to another one."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from reid_stream.bundles.bundle import EmbedderBundle
    from reid_stream.offline.compare_embedders import EmbedderComparison

app = typer.Typer(help="List, show, make, compare and activate model bundles.", no_args_is_help=True)

Cams = Annotated[Path | None, typer.Option(help="cams.yaml, for its match, topology and models settings.")]


class Kind(StrEnum):
    """Kind of network."""

    detector = "detector"
    embedder = "embedder"


@app.command("list")
def list_bundles() -> None:
    """List the bundles in $REID_STREAM_MODELS and in the package."""
    from rich.text import Text

    from reid_stream.bundles import bundle, catalog
    from reid_stream.console.output import Output, Rows
    from reid_stream.errors import ModelError

    out = Output()
    table = Rows("name", "kind", "hash", "licence", "folder")
    broken = []
    for folder in catalog.bundles():
        try:
            found = bundle.load(folder)
            table.add_row(folder.name, found.kind, found.hash[:12], found.licence, str(folder))
        except ModelError as error:
            table.add_row(folder.name, Text("broken", "red"), "", "", str(folder))
            broken.append((folder.name, str(error)))
    if not table.row_count:
        out.say("no bundles; `reid-stream models wrap` makes one from an ONNX file")
        return
    out.print(table)
    for name, fault in broken:
        out.mark("--", f"{name}: {fault}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Folder or name of a bundle; `default` shows both that are used.")],
) -> None:
    """Print the contents of a bundle, long lists shortened."""
    import json

    import msgspec

    from reid_stream.bundles import catalog
    from reid_stream.console.output import Output

    out = Output()
    for folder, found in catalog.any_bundles(name):
        out.say(str(folder), style="bold")
        out.say(json.dumps(_shortened(msgspec.to_builtins(found)), indent=2, ensure_ascii=False))


@app.command()
def wrap(
    model: Annotated[
        Path,
        typer.Argument(
            help="ONNX file, OpenVINO .xml or its folder, or ultralytics .pt. Of an OpenVINO detector the .onnx or .pt "
            "beside it is taken, where there is one."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the new bundle.")],
    kind: Annotated[Kind, typer.Option(help="Kind of network.")],
    licence: Annotated[str, typer.Option(help="Licence of the weights.")] = "unknown",
    name: Annotated[str | None, typer.Option(help="Display name. Default: the name of the folder.")] = None,
    height: Annotated[int | None, typer.Option(help="Input size in pixels, where the network takes any.")] = None,
    width: Annotated[int | None, typer.Option(help="Input size in pixels, where the network takes any.")] = None,
    colour: Annotated[
        str | None, typer.Option(help="Order of the channels: rgb or bgr. Default: what is usual for its kind.")
    ] = None,
    decoder: Annotated[
        str | None,
        typer.Option(
            help="Detector: layout of the output: yolo, yolo_transposed, yolov5, yolox, rtdetr, "
            "yolo_end2end or corners. Default: by its shape and numbers."
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
    scale: Annotated[
        int | None, typer.Option(help="Pixel values run to 1 or 255, also those of --mean and --std.")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Embedder: subtracted per channel, three numbers, such as 0.485,0.456,0.406.")
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="Embedder: divides each channel afterwards, such as 0.229,0.224,0.225.")
    ] = None,
    person: Annotated[int | None, typer.Option(help="Detector: number of the class `person`.")] = None,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Run whatever code a .pt file contains; only for files you trust.")
    ] = False,
) -> None:
    """Make a bundle from a detector or embedder."""
    import tempfile

    from reid_stream.bundles import trial
    from reid_stream.bundles.bundle import EmbedderBundle
    from reid_stream.bundles.checkpoint import wrappable
    from reid_stream.bundles.network_file import is_openvino_only
    from reid_stream.bundles.wrap import wrap_and_log
    from reid_stream.console.output import Output
    from reid_stream.errors import ConfigError

    names = [name.strip() for name in classes.split(",")] if classes is not None else None
    common = {"height": height, "width": width, "colour": colour, "output": output, "scale": scale}
    of_detectors = {"decoder": decoder, "person": person, "classes": names, "picture": picture}
    of_embedders = {"mean": _channels("--mean", mean), "std": _channels("--std", std)}
    foreign = of_detectors if kind is Kind.embedder else of_embedders
    if wrong := [name for name, value in foreign.items() if value is not None]:
        other = Kind.detector if kind is Kind.embedder else Kind.embedder
        raise ConfigError(f"--{wrong[0]} is for {other.value}s, got it with --kind {kind.value}")
    given = {**common, **of_detectors, **of_embedders}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    shown = Output()
    size = (height, width) if height is not None and width is not None else None
    with tempfile.TemporaryDirectory() as folder:
        network = wrappable(model, Path(folder), kind=kind.value, size=size, trust_pickle=trust_pickle)
        source = {} if network == model else {"source": model.name}
        options |= {"kind": kind.value, "name": name or out.name, "licence": licence, **source}
        made, lines = trial.run(wrap_and_log, network, out, what=str(model), options=options)
    for line in lines:
        shown.say(line)
    shown.say(f"{out}: {made.kind} {made.hash[:12]}")
    if kind is Kind.detector and is_openvino_only(out):
        shown.say("served by OpenVINO alone: `models.engine` must be auto or openvino")
    if isinstance(made, EmbedderBundle):
        spec = made.input
        shown.say(f"input {spec.colour}, mean {spec.mean}, std {spec.std} of pixels in [0, 1]")
        shown.say(_threshold(made))


@app.command("add")
def add_network(
    name: Annotated[str, typer.Argument(help="retail-0287, retail-0277, osnet or yolox.")],
    url: Annotated[
        str | None,
        typer.Option(envvar="REID_STREAM_MODELS_URL", help="Folder of the files. Default: the publisher's own."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Folder of bundles to add it to. Default: the user's data folder.")
    ] = None,
) -> None:
    """Download a known network, check its checksum, show its licence, and wrap it."""
    from reid_stream.bundles.bundle import EmbedderBundle
    from reid_stream.bundles.download import add
    from reid_stream.bundles.known_networks import known_network
    from reid_stream.bundles.licences import commercial_use
    from reid_stream.console.output import Output

    shown = Output()
    folder, made = add(known_network(name), url, to, shown.say)
    if isinstance(made, EmbedderBundle):
        shown.say(_threshold(made))
    shown.say(f"{folder}: {made.kind} {made.hash[:12]}; commercial use: {commercial_use(made.licence).reason}")
    shown.say(f"use it: `models: {{{made.kind}: {folder if to else folder.name}}}` in cams.yaml")


@app.command()
def shadow(
    bundle: Annotated[str, typer.Argument(help="Candidate embedder: folder or name of a bundle.")],
    store: Annotated[Path, typer.Option(help="The tracklet store, `store.folder` of cams.yaml.")],
    cameras: Cams = None,
    embedder: Annotated[
        str | None, typer.Option(help="Embedder to compare with. Default: that of cams.yaml, or the shipped one.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Ground truth, where it is known: JSON, folder of a track -> person.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
) -> None:
    """Show what another embedder would change, compared on a site's store; nothing is changed."""
    import msgspec

    from reid_stream import store as stores
    from reid_stream.config import cams_yaml
    from reid_stream.config.settings import Embed, Match, Models
    from reid_stream.console.output import progress
    from reid_stream.errors import ConfigError
    from reid_stream.offline import compare_embedders
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
    with progress("tracks") as bar:
        task = bar.add_task("tracks")
        found = compare_embedders.shadow(
            store,
            settings.match if settings is not None else Match(),
            present,
            other,
            known,
            lambda done, of: bar.update(task, completed=done, total=of),
            settings.topology if settings is not None else None,
        )
    _print_comparison(found)
    if found.verdict.outcome == "better":
        _print_next(bundle, cameras)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")


@app.command()
def activate(
    bundle: Annotated[str, typer.Argument(help="The embedder to use from now on: folder or name of a bundle.")],
    cameras: Annotated[Path, typer.Option(help="cams.yaml of the site; models.embedder is set there.")],
    accept_new_ids: Annotated[
        bool, typer.Option("--anew", help="Accept new IDs for people who cannot keep theirs.")
    ] = False,
) -> None:
    """Switch a site to another embedder; people keep their IDs, their crops in the store are embedded again."""
    from reid_stream.bundles import catalog
    from reid_stream.config import cams_yaml
    from reid_stream.console.output import Output, count, progress
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
    if (reason := activate.new_ids_reason(settings)) and not accept_new_ids:
        raise ConfigError(f"people would get new IDs: {reason}. Give --anew if that is wanted")
    with progress("tracks") as bar:
        task = bar.add_task("tracks")
        done = activate.activate(
            settings, present, (other, embed), lambda done, of: bar.update(task, completed=done, total=of)
        )
    before = activate.name_in(cameras, name)
    if done.carried is not None:
        activate.forget(settings, present)
    out = Output()
    out.say(f"{cameras}: models.embedder is {name}, was {before or 'default'}; the next daemon uses it")
    if done.carried is None:
        out.say(f"people get new IDs, no number is given twice: {done.new_ids_reason}")
        return
    out.say(
        f"{count(done.carried.people, 'person keeps its ID', 'people keep their IDs')}, known by "
        f"{count(done.carried.views, 'track')}; {count(done.embedded, 'crop')} embedded again in {done.seconds:.1f} s"
    )
    if lost := done.carried.lost:
        some = ", ".join(f"{settings.site}-{number}" for number in lost[:5]) + (", ..." if len(lost) > 5 else "")
        out.say(
            f"{count(len(lost), 'person has', 'people have')} no crop in the store and get a new ID when seen again: "
            f"{some}"
        )


def _print_next(bundle: str, cameras: Path | None) -> None:
    import shlex

    from reid_stream.console.output import Output

    where = shlex.quote(str(cameras)) if cameras is not None else "cams.yaml"
    Output().say(f"switch: reid-stream models activate {shlex.quote(bundle)} --cameras {where}")


def _print_comparison(found: "EmbedderComparison") -> None:
    from reid_stream.console.output import Output, Rows, count

    out = Output()
    head = f"{count(found.tracks, 'track')}, {count(found.crops, 'crop')}"
    table = Rows(head, "present", "other")
    sides = (found.present, found.other)
    table.add_row("bundle", *(f"{side.name} {side.hash[:12]}" for side in sides))
    table.add_row("identities", *(str(side.people) for side in sides))
    table.add_row("links", *(str(side.links) for side in sides))
    table.add_row("P(same) of links, median", *(_number(side.probability) for side in sides))
    table.add_row("share of links with P(same) >= 0.9", *(_number(side.sure) for side in sides))
    table.add_row("crops embedded per second", *(_number(side.crops_per_s, ".0f") for side in sides))
    table.add_row("times real time", *(_number(side.times_real, ".0f") for side in sides))
    for label, name in (
        ("IDF1", "idf1"),
        ("HOTA", "hota"),
        ("precision of joined pairs of tracks", "precision"),
        ("recall of pairs of tracks of one person", "recall"),
    ):
        if found.present.right is not None:
            table.add_row(label, *(_number(getattr(side.right, name)) for side in sides))
    out.print(table)
    out.say("")
    out.say(
        f"{count(found.stay, 'identity stays', 'identities stay')} as {'it is' if found.stay == 1 else 'they are'}, "
        f"{found.merged} would join several of the site's, {found.split} of the site's would be split; "
        f"{found.same_pairs:.1%} of all joined pairs of tracks are joined by both"
    )
    for change in found.merges[:5]:
        out.say(f"  would be one: {', '.join(change.people)} ({count(change.tracks, 'track')})")
    for change in found.splits[:5]:
        parts = " + ".join(map(str, change.parts))
        out.say(f"  would be {len(change.parts)} people: {', '.join(change.people)} ({parts} tracks)")
    out.say("")
    out.say(("verdict: ", "bold"), (found.verdict.text))


def _threshold(bundle: "EmbedderBundle") -> str:
    """Return the threshold of a match at default settings, in words."""
    from reid_stream.bundles.embedder_info import EmbedderInfo
    from reid_stream.config.settings import Match
    from reid_stream.match.thresholds import describe_thresholds

    return describe_thresholds(Match(), EmbedderInfo.of(bundle))


def _channels(option: str, text: str | None) -> list[float] | None:
    from reid_stream.errors import ConfigError

    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"{option} must be three numbers, comma-separated, got {text!r}") from error


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
