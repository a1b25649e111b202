"""`python -m benchmarks simulate`: simulated people with known identities against the real matcher."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from benchmarks.simulator.experiments import Bench, Experiment
    from benchmarks.simulator.looks import Looks
    from reid_stream.config.settings import Match

app = typer.Typer(help="Run the real matcher on simulated people with the vectors of real crops.", no_args_is_help=True)

Crops = Annotated[
    str, typer.Option(help="A folder (PPPP_cC...jpg or PERSON/...cC....jpg) or a tar file of crops, or market1501.")
]
Data = Annotated[
    Path | None, typer.Option(envvar="REID_STREAM_DATA", help="For market1501: the folder that holds people/.")
]
Part = Annotated[str, typer.Option(help="For market1501: validation (60 people, to tune on) or test (150, to report).")]
World = Annotated[Path | None, typer.Option(help="YAML of the scenario; default: a lively building of six cameras.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=VALUE of the scenario, or match.KEY=VALUE; may be repeated.")
]
Calm = Annotated[bool, typer.Option("--calm", help="Without disturbances: no gaps, swaps, look-alikes.")]
Seeds = Annotated[int, typer.Option(min=1, help="Number of worlds.")]
Embedder = Annotated[str, typer.Option(help="Bundle.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads to embed crops with; 0 for all cores.")]
Json = Annotated[Path | None, typer.Option(help="Write the figures there.")]
Plot = Annotated[Path | None, typer.Option(help="Draw them there (PNG; extra eval).")]


@app.command()
def world(
    crops: Crops = "market1501",
    data: Data = None,
    part: Part = "test",
    world: World = None,
    changes: Set = None,
    calm: Calm = False,
    seeds: Seeds = 1,
    embedder: Embedder = "default",
    threads: Threads = 0,
    keep: Annotated[Path | None, typer.Option(help="Keep the first world as a recording.")] = None,
    json: Json = None,
) -> None:
    """Simulate worlds and score how their people were followed."""
    from benchmarks.simulator import experiments
    from benchmarks.simulator.recorded import recording
    from benchmarks.simulator.world import simulate
    from reid_stream.evaluation.recording import save

    bench, match = _bench(crops, part, world, changes, calm, seeds, embedder)
    looks = _looks(crops, data, part, embedder, threads)
    if keep is not None:
        save(recording(simulate(bench.scenario, looks, bench.seeds[0]), bench.bundle, keep.stem), keep)
        typer.echo(f"kept in {keep}")
    found = experiments.single(bench, looks, match)
    _show(found)
    _write(found, json)


@app.command()
def dial(
    crops: Crops = "market1501",
    data: Data = None,
    part: Part = "test",
    world: World = None,
    changes: Set = None,
    calm: Calm = False,
    seeds: Seeds = 5,
    embedder: Embedder = "default",
    threads: Threads = 0,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """Set false-match rates from 1e-4 to 1e-1 and measure what is obtained, per comparison and per arrival."""
    from benchmarks.simulator import experiments, plots

    bench, match = _bench(crops, part, world, changes, calm, seeds, embedder)
    found = experiments.dial(bench, _looks(crops, data, part, embedder, threads), match)
    _show(found)
    _write(found, json)
    if plot is not None:
        plots.dial(found, plot)


@app.command()
def ablation(
    crops: Crops = "market1501",
    data: Data = None,
    part: Part = "test",
    world: World = None,
    changes: Set = None,
    calm: Calm = False,
    seeds: Seeds = 3,
    embedder: Embedder = "default",
    threads: Threads = 0,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """Remove one part of the matcher at a time."""
    from benchmarks.simulator import experiments, plots
    from benchmarks.simulator.crops import MARKET

    bench, match = _bench(crops, part, world, changes, calm, seeds, embedder)
    looks = _looks(crops, data, part, embedder, threads)
    tuning = _looks(crops, data, "validation", embedder, threads) if crops == MARKET and part == "test" else looks
    found = experiments.ablation(bench, looks, tuning, match)
    _show(found)
    _write(found, json)
    if plot is not None:
        plots.ablation(found, plot)


@app.command()
def store(
    out: Annotated[Path, typer.Argument(help="Folder of the new tracklet store.")],
    crops: Crops = "market1501",
    data: Data = None,
    part: Part = "test",
    persons: Annotated[str | None, typer.Option(help="BEGIN:END in a seeded order of them; default: all.")] = None,
    world: World = None,
    changes: Set = None,
    seed: Annotated[int, typer.Option(help="Of the world.")] = 0,
    named: Annotated[
        bool, typer.Option("--named", help="Label all tracks with the truth, as if all were reviewed.")
    ] = False,
) -> None:
    """Write the tracklet store of a simulated site of two cameras, with the truth beside it."""
    from benchmarks.simulator import crops as images
    from benchmarks.simulator import scenario, stored

    found = images.read(crops, data, "validation" if part == "validation" else "test")
    if persons is not None:
        found = stored.draw(found, *_range(persons))
    values: dict[str, Any] = {**stored.ALL_AT_ONCE, **stored.STILL, "people": len({crop.person for crop in found})}
    values |= dict(_change(text) for text in changes or [])
    people = stored.build(found, scenario.load(world, **values), seed, out, named=named)
    typer.echo(f"{out}: {len(people)} tracks of {len(set(people.values()))} people, truth in {out / 'truth.json'}")


def _range(text: str) -> tuple[int, int]:
    from reid_stream.errors import ConfigError

    begin, separator, end = text.partition(":")
    if not (separator and begin.isdigit() and end.isdigit()):
        raise ConfigError(f"--persons must be BEGIN:END, got {text!r}")
    return int(begin), int(end)


def _change(text: str) -> tuple[str, Any]:
    from reid_stream.errors import ConfigError

    key, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"--set must be KEY=VALUE, got {text!r}")
    return key, _value(value)


def _bench(
    crops: str, part: str, world: Path | None, changes: list[str] | None, calm: bool, seeds: int, embedder: str
) -> "tuple[Bench, Match]":
    from pydantic import ValidationError

    from benchmarks.simulator import scenario
    from benchmarks.simulator.experiments import Bench
    from reid_stream.bundles import catalog
    from reid_stream.config.settings import Match
    from reid_stream.errors import ConfigError

    values: dict[str, Any] = dict(scenario.CALM) if calm else {}
    match_settings: dict[str, Any] = {}
    for text in changes or []:
        key, value = _change(text)
        (match_settings if key.startswith("match.") else values)[key.removeprefix("match.")] = value
    try:
        match = Match.model_validate(match_settings)
    except ValidationError as error:
        faults = [f"--set match.{details['loc'][0]}: {details['msg']}" for details in error.errors()]
        raise ConfigError("\n".join(faults)) from None
    bench = Bench(
        bundle=catalog.embedder(embedder)[1],
        crops=crops,
        part=part,
        scenario=scenario.load(world, **values),
        seeds=range(seeds),
        progress=lambda text: typer.echo(text, err=True),
    )
    return bench, match


def _value(text: str) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _looks(crops: str, data: Path | None, part: str, embedder: str, threads: int) -> "Looks":
    import platformdirs

    from benchmarks.simulator import crops as images
    from benchmarks.simulator import looks
    from reid_stream.errors import ConfigError

    if part not in ("validation", "test"):
        raise ConfigError(f"--part must be validation or test, got {part!r}")
    found = images.read(crops, data, "validation" if part == "validation" else "test")
    return looks.read(found, embedder, platformdirs.user_cache_path("reid-stream") / "looks", threads)


_SHOWN = {
    "IDF1": "idf1",
    "at once": "idf1_at_once",
    "HOTA": "hota",
    "AssPr": "ass_pr",
    "AssRe": "ass_re",
    "wrong merges": "wrong_merges",
    "missed links": "missed_links",
    "links": "links",
    "returned": "returned",
    "p99 ms": "update_p99_ms",
    "obs/s": "observations_per_s",
}


def _show(found: "Experiment") -> None:
    from rich.table import Table

    from reid_stream.console.output import Output

    table = Table("variant", *_SHOWN, "per comparison", "per arrival", box=None, header_style="bold")
    for variant in found.variants:
        cells = []
        for figure in _SHOWN.values():
            value, spread = variant.mean(figure), variant.spread(figure)
            form = ".3f" if value < 2 else ".1f" if value < 1000 else ".0f"
            cells.append(f"{value:{form}}" + (f" ± {spread:{form}}" if figure == "idf1" and spread else ""))
        rates = (variant.pooled("false_matches", chances)[0] for chances in ("comparisons", "newcomers"))
        table.add_row(variant.name, *cells, *(f"{rate:.2g}" for rate in rates))
    Output().print(table)
    for note in found.notes:
        typer.echo(note)


def _write(found: "Experiment", file: Path | None) -> None:
    import msgspec

    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
