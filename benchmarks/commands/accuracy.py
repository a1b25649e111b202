"""`python -m benchmarks accuracy`: every set with truth below $REID_STREAM_DATA and of `make worlds`.

record [SET ...]        keep what perception observed, so that matching replays in seconds
compare FILE.rec ...    our linking beside simpler ones and the oracle
settle FILE.rec ...     the event stream as published and after corrections
battery [WORLD ...]     the matcher on simulated sites that nothing was tuned on, by group and half
savings [SET ...]       what the gate, packing and the adaptive rate spare, and cost
gate [SET ...]          what the gate skips, loses and costs at night, in rain, of shaking cameras and so on
score [SET ...]         `make score`: the figures that matter, the battery's among them, kept per commit
"""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from benchmarks.accuracy import sets
from reid_stream.config.settings import Models, Observe
from reid_stream.observe import logs

if TYPE_CHECKING:
    from benchmarks.simulator.battery_report import Results
    from reid_stream.evaluation.recording import Recording
    from reid_stream.runtime.networks import Networks

KEPT = Path("scores")

app = typer.Typer(help="Measurements over sets with truth.", pretty_exceptions_enable=False, no_args_is_help=True)
console = Console(highlight=False)

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SET]...", help="Sets whose names contain one of these words; default: all."),
]
Detector = Annotated[str, typer.Option(help="As models.detector in cams.yaml.")]
Embedder = Annotated[str, typer.Option(help="As models.embedder in cams.yaml.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads for the networks; 0 for all cores.")]


@app.command()
def record(
    names: Names = None,
    to: Annotated[Path, typer.Option(help="Folder for the recordings.")] = Path(".recordings"),
    detector: Detector = "default",
    embedder: Embedder = "default",
    threads: Threads = 0,
) -> None:
    """Run detector, tracker and embedder over sets (default: all) and keep their output."""
    from reid_stream.runtime.networks import load_networks

    models = Models(detector=detector, embedder=embedder, threads=threads)
    chosen = sets.find(sets.roots(), names or ())
    networks = load_networks(chosen[0].settings(models))
    for _ in _recorded(chosen, models, networks, to, again=True):
        pass


@app.command()
def compare(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recordings with truth.")],
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Compare our linking, unlinked tracks, plain cosine, average linkage and the oracle on the same tracks."""
    from benchmarks.accuracy.compare import compare as compared
    from benchmarks.accuracy.compare import show
    from reid_stream.evaluation import recording

    found = [compared(recording.load(file)) for file in files]
    show(found, console)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")


@app.command()
def settle(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recordings with truth.")],
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Measure the effect of corrections: scores as published and after them, their number, wrong merges undone."""
    from benchmarks.accuracy import corrections
    from reid_stream.evaluation import recording

    found = [corrections.settle(recording.load(file)) for file in files]
    corrections.show(found, console)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")


@app.command()
def battery(
    names: Annotated[list[str] | None, typer.Argument(metavar="[WORLD]...", help="Parts of names of worlds.")] = None,
    half: Annotated[str | None, typer.Option(help="development or reported; both, where none is given.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of `match`; may be repeated.")] = None,
    embedder: Embedder = "default",
    threads: Threads = 0,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
    lanes: Annotated[Path | None, typer.Option(help="Draw the swim lanes of each world to this folder.")] = None,
) -> None:
    """Run the matcher on simulated sites of three groups of people: half for development, half that is reported."""
    from benchmarks.simulator import battery_report

    results = _battery(embedder, threads, half, changes or (), names or (), lanes)
    battery_report.show(results, console)
    if json is not None:
        battery_report.write(results, json)


@app.command()
def score(
    names: Names = None,
    kept: Annotated[
        Path | None,
        typer.Option(help="Folder of recordings; reused where bundles and settings are the same, else written."),
    ] = None,
    detector: Detector = "default",
    embedder: Embedder = "default",
    threads: Threads = 0,
) -> None:
    """Score sets (default: all but those for tuning): one table, kept per commit in scores/."""
    from benchmarks.accuracy import scorecard
    from benchmarks.accuracy.compare import compare as compared
    from reid_stream.bench.pipeline import measure
    from reid_stream.commands.demo import footage as street
    from reid_stream.evaluation.recording import replay
    from reid_stream.evaluation.summary import summarize_stream
    from reid_stream.runtime.networks import load_networks

    logs.configure(
        Observe(log_level="warning")
    )  # the bench runs a daemon, whose starts and stops are not of interest here
    models = Models(detector=detector, embedder=embedder, threads=threads)
    chosen = [each for each in sets.find(sets.roots(), names or ()) if names or not each.is_for_tuning]
    networks = load_networks(chosen[0].settings(models))
    single, links = {}, {}
    for footage, made in zip(chosen, _recorded(chosen, models, networks, kept), strict=True):
        stream = summarize_stream(made.true_boxes(), replay(made), made.cameras)
        single[footage.name] = stream.in_the_end.single.hota
        if footage.has_links:
            links[footage.name] = compared(made)
    speed = measure(
        clips=[street(os.environ, lambda text: typer.echo(text, err=True))],
        cameras=4,
        seconds=10,
        max_fps=10,
        detector=detector,
        embedder=embedder,
    )
    card = scorecard.ScoreCard(
        commit=_commit(),
        at=time.time(),
        embedder=networks.embedder.hash,
        detector=networks.detector.hash,
        figures={
            **scorecard.of_embedder(networks.embedder.metrics),
            **scorecard.of_sets(single, links),
            **({} if names else _battery_groups(embedder, threads)),
            scorecard.SPEED: {"4 cameras": speed.share_of_ceiling},
        },
        compared=links,
    )
    before = scorecard.latest(KEPT)
    console.print(scorecard.table(card.figures, before))
    console.print(f"kept in {scorecard.keep(card, KEPT)}", style="dim")


@app.command()
def savings(
    names: Names = None,
    row: Annotated[list[str] | None, typer.Option(help="Rows; default: all. Pixels refer to the first.")] = None,
    detector: Detector = "default",
    embedder: Embedder = "default",
    threads: Threads = 0,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Measure the detector work saved by gate, packing and adaptive rate, with HOTA and IDF1 of each."""
    from benchmarks.accuracy import savings as measured
    from reid_stream.runtime.networks import load_networks

    models = Models(detector=detector, embedder=embedder, threads=threads)
    chosen = sets.find(sets.roots(), names or ())
    networks = load_networks(chosen[0].settings(models))
    found = []
    for each in chosen:
        found += measured.measure(each.name, each.settings(models), each.truth(), networks, row or list(measured.ROWS))
        measured.show(found, console)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")


@app.command()
def gate(
    names: Names = None,
    disturbance: Annotated[list[str] | None, typer.Option(help="Night, rain and so on; default: all.")] = None,
    frames: Annotated[int, typer.Option(min=20, help="Images with people of each camera; as many without.")] = 120,
    detector: Detector = "default",
    embedder: Embedder = "default",
    threads: Threads = 1,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Measure the motion gate on filtered footage: frames skipped, HOTA and IDF1 beside `gate: off`, its own cost."""
    from tempfile import TemporaryDirectory

    from benchmarks.accuracy import gate as measured
    from benchmarks.accuracy.disturbances import DISTURBANCES
    from reid_stream.errors import ConfigError
    from reid_stream.runtime.networks import load_networks

    wanted = disturbance or list(DISTURBANCES)
    if unknown := sorted(set(wanted) - set(DISTURBANCES)):
        raise ConfigError(f"--disturbance must be one of {', '.join(DISTURBANCES)}, got {', '.join(unknown)}")
    models = Models(detector=detector, embedder=embedder, threads=threads)
    chosen = sets.find(sets.roots(), names or ())
    networks = load_networks(chosen[0].settings(models))
    found: list[measured.GateRow] = []
    with TemporaryDirectory() as folder:
        for each in chosen:
            for row in measured.measure(each, models, networks, wanted, frames, Path(folder)):
                found.append(row)
                console.print(f"{row.name} {row.disturbance}: loss {row.loss:+.3f}, cost {row.cost:+.3f}", style="dim")
    measured.show(found, console)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(measured.summaries(found)), indent=2) + b"\n")


def _recorded(
    chosen: Sequence[sets.FootageSet], models: Models, networks: "Networks", folder: Path | None, *, again: bool = False
) -> "Iterator[Recording]":
    """Record sets, or load recordings made by the same bundles and settings."""
    from reid_stream.evaluation import recording
    from reid_stream.evaluation.footage import with_truth

    for footage in chosen:
        settings = footage.settings(models)
        file = folder / f"{footage.name.replace('/', '-')}.rec" if folder is not None else None
        if file is not None and file.is_file() and not again:
            made = recording.load(file)
            if recording.is_of(made, settings, networks):
                yield with_truth(made, footage.truth())
                continue
        made = recording.record(settings, footage.truth(), name=footage.name, networks=networks)
        line = f"{footage.name}: {made.frames} frames of {len(made.cameras)} cameras in {made.seconds:.1f} s"
        if file is not None:
            recording.save(made, file)
            line += f", {file} {file.stat().st_size / 1e6:.1f} MB"
        console.print(line, style="dim")
        yield made


def _battery(
    embedder: str,
    threads: int,
    half: str | None = None,
    changes: Sequence[str] = (),
    names: Sequence[str] = (),
    lanes: Path | None = None,
) -> "Results":
    import platformdirs
    from pydantic import ValidationError

    from benchmarks.simulator import battery_report
    from benchmarks.simulator.battery import HALVES
    from reid_stream.bundles import catalog
    from reid_stream.config.settings import Match
    from reid_stream.errors import ConfigError

    data = os.environ.get("REID_STREAM_DATA")
    if data is None:
        raise ConfigError("the battery needs the folder that holds people/: set REID_STREAM_DATA")
    if half is not None and half not in HALVES:
        raise ConfigError(f"--half must be {' or '.join(HALVES)}, got {half!r}")
    pairs = [text.partition("=") for text in changes]
    try:
        match = Match.model_validate({key.removeprefix("match."): value for key, _, value in pairs})
    except ValidationError as error:
        raise ConfigError(f"--set must be KEY=VALUE of match: {error.errors()[0]['msg']}") from None
    found = battery_report.run(
        catalog.embedder(embedder)[1],
        embedder,
        match,
        Path(data),
        platformdirs.user_cache_path("reid-stream") / "looks",
        [name for name in HALVES if half in (None, name)],
        threads,
        names,
        lanes,
    )
    return battery_report.collected(found)


def _battery_groups(embedder: str, threads: int) -> dict[str, dict[str, float]]:
    """Return the battery's groups of the scorecard; none where the images of people are absent."""
    from benchmarks.simulator import battery_report
    from reid_stream.errors import ConfigError

    try:
        return battery_report.score_groups(_battery(embedder, threads))
    except ConfigError as error:
        console.print(f"without the battery: {error}", style="dim")
        return {}


def _commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unversioned"
