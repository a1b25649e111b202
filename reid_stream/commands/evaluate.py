"""`reid-stream eval`: score cameras, a recording or a tracklet store against ground truth."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reid_stream.config.settings import Settings
    from reid_stream.console.output import Output
    from reid_stream.evaluation.align import Alignment
    from reid_stream.evaluation.budget import BudgetRecordings
    from reid_stream.evaluation.recording import Recording
    from reid_stream.evaluation.run import ReplayedRun
    from reid_stream.evaluation.stream import Timeline
    from reid_stream.evaluation.sweep import Sweep


def evaluate(
    cameras: Annotated[
        Path | None, typer.Option(help="cams.yaml with file cameras, which are replayed through the daemon.")
    ] = None,
    truth: Annotated[
        list[str] | None,
        typer.Option(help="CAMERA=FILE: ground truth in MOT format, IDs shared by all cameras (once per camera)."),
    ] = None,
    recording: Annotated[
        Path | None,
        typer.Option(help="Recording of --keep, matched again with the settings of --cameras or the defaults."),
    ] = None,
    store: Annotated[Path | None, typer.Option(help="A tracklet store, scored as it is; needs --begin.")] = None,
    begin: Annotated[
        list[str] | None,
        typer.Option(
            help="CAMERA=TIME@FPS: UTC time of the first frame of the ground truth, and its rate (once per camera)."
        ),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Write the observations to this file, to match them again later.")
    ] = None,
    budget: Annotated[
        bool, typer.Option("--budget", help="Error budget: make boxes, tracks and links perfect one after the other.")
    ] = False,
    lanes: Annotated[
        Path | None, typer.Option(help="Draw true and found identities over time to this file (.png, .svg).")
    ] = None,
    sweep: Annotated[
        str | None, typer.Option(help="SETTING=VALUE,VALUE,...: score each value; match.* takes seconds per value.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the trade-off of --sweep to this file (.png, .svg).")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
) -> None:
    """Score identities against ground truth, across cameras and within each, when first sent and after corrections."""
    import msgspec

    from reid_stream.console.output import Output
    from reid_stream.errors import ConfigError

    if (sum(given is not None for given in (cameras, store)) != 1 and recording is None) or (recording and store):
        raise ConfigError("eval must be given one of --cameras, --recording or --store")
    if plot is not None and sweep is None:
        raise ConfigError("--plot needs --sweep, found none")
    _check_outputs([file for file in (keep, lanes, plot, json) if file is not None], [lanes, plot])
    named = _files(truth or [])
    console = Output()
    if store is not None:
        if keep or sweep or budget:
            raise ConfigError("--keep, --sweep and --budget need --cameras or --recording, found --store")
        figures = _store(store, named, begin or [], lanes, console)
    else:
        from reid_stream.evaluation.sweep import parse

        if begin:
            raise ConfigError("--begin needs --store, found none; file cameras have their own times")
        chosen = parse(sweep) if sweep is not None else None
        if recording is not None and chosen is not None and not chosen.is_replayed:
            raise ConfigError(
                f"{chosen.setting} cannot be swept over a recording, in which {chosen.section} is fixed; sweep match.* "
                "or give --cameras alone"
            )
        figures = _footage(_Wanted(cameras, recording, named, keep, budget, lanes, chosen, plot), console)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The options of the command."""

    cameras: Path | None
    recording: Path | None
    truth: Mapping[str, Path]
    keep: Path | None
    budget: bool
    lanes: Path | None
    sweep: "Sweep | None"
    plot: Path | None


@dataclass(frozen=True, slots=True)
class _Footage:
    """The footage to score."""

    name: str
    settings: "Settings"
    kept: "Recording | None"
    """The recording; None where the daemon replays the cameras."""
    takes: "BudgetRecordings | None"
    """The recordings with perfect stages, for an error budget."""


def _footage(wanted: _Wanted, console: "Output") -> dict[str, object]:
    """Score file cameras or a recording of them; return the JSON value."""
    from reid_stream.evaluation import budget, report
    from reid_stream.evaluation.run import evaluate_run, rewatch, watch

    with console.status("replaying the cameras" if wanted.recording is None else "reading the recording"):
        footage = _look(wanted)
    figures: dict[str, object] = {}
    kept, match, topology = footage.kept, footage.settings.match, footage.settings.topology
    if footage.takes is not None:
        with console.status("matching with perfect stages"):
            figures["budget"] = costs = budget.budget(footage.takes, match, topology)
        report.show_budget(costs, console)
    with console.status("the daemon replays the cameras" if kept is None else "matching"):
        watched = watch(footage.settings, wanted.truth) if kept is None else rewatch(kept, match, topology)
    scored = evaluate_run(watched)
    figures |= {field.name: getattr(scored, field.name) for field in fields(scored)}
    report.show(scored, console)
    if wanted.lanes is not None:
        _draw(watched, wanted.lanes, footage.name)
    if wanted.sweep is not None:
        figures["sweep"] = _sweep(wanted, wanted.sweep, footage, console)
    return figures


def _look(wanted: _Wanted) -> _Footage:
    """Load or make the recording, where one is needed."""
    from reid_stream.evaluation import budget, recording
    from reid_stream.evaluation.footage import truth_for

    settings = _settings(wanted.cameras)
    kept: Recording | None = None
    takes: BudgetRecordings | None = None
    if wanted.recording is not None:
        kept = _with_truth(recording.load(wanted.recording), wanted.truth)
        takes = replace(budget.load(wanted.recording), ours=kept) if wanted.budget else None
    elif wanted.budget:
        takes = budget.record_all(settings, truth_for(settings, wanted.truth), name=settings.site)
        kept = takes.ours
    elif wanted.keep is not None or wanted.sweep is not None:
        kept = _recorded(settings, wanted)
    if wanted.keep is not None and takes is not None:
        budget.save(takes, wanted.keep)
    elif wanted.keep is not None and kept is not None:
        recording.save(kept, wanted.keep)
    return _Footage(kept.name if kept is not None else settings.site, settings, kept, takes)


def _recorded(settings: "Settings", wanted: _Wanted) -> "Recording":
    from reid_stream.evaluation.footage import recorded, truth_for

    return recorded(settings, truth_for(settings, wanted.truth), name=settings.site)


def _sweep(wanted: _Wanted, sweep: "Sweep", footage: _Footage, console: "Output") -> object:
    """Score the values of a setting; return the JSON value."""
    from reid_stream.evaluation import report
    from reid_stream.evaluation.sweep import points

    def record(settings: "Settings") -> "Recording":
        is_there = footage.kept is not None and settings == footage.settings
        return footage.kept if is_there and footage.kept is not None else _recorded(settings, wanted)

    tried = []
    with console.status("trying values") as status:
        for point in points(sweep, footage.settings, record):
            tried.append(point)
            status.update(f"{sweep.setting}: {len(tried)} of {len(sweep.values)} values tried")
    report.show_sweep(sweep.setting, tried, console)
    if wanted.plot is not None:
        from reid_stream.evaluation.plots import draw_sweep

        draw_sweep(sweep.setting, tried, wanted.plot, footage.name)
    return {"setting": sweep.setting, "points": tried}


def _settings(cameras: Path | None) -> "Settings":
    """Return the settings of cams.yaml, or the defaults for a recording, which holds its cameras."""
    from pydantic import SecretStr

    from reid_stream.config import cams_yaml
    from reid_stream.config.settings import Camera, Settings
    from reid_stream.observe import logs

    if cameras is not None:
        settings = cams_yaml.load(cameras)
        # Start and end of the files are expected here.
        logs.configure(settings.observe.model_copy(update={"log_level": "error"}))
        logs.hide(settings)
        return settings
    return Settings(cameras=(Camera(id="recorded", url=SecretStr("recorded")),))


def _with_truth(kept: "Recording", truth: Mapping[str, Path]) -> "Recording":
    """Replace the ground truth of a recording, where one is given."""
    from reid_stream.errors import ConfigError
    from reid_stream.evaluation.footage import with_truth
    from reid_stream.evaluation.truth import check_cameras, read_truth

    if truth:
        check_cameras(list(truth), list(kept.cameras))
        return with_truth(kept, read_truth(truth))
    if not kept.truth:
        raise ConfigError(f"a recording must be scored against truth, {kept.name} has none; give --truth CAMERA=FILE")
    return kept


def _draw(watched: "ReplayedRun", path: Path, name: str) -> None:
    from reid_stream.evaluation.align import align
    from reid_stream.evaluation.stream import boxes_of

    boxes = boxes_of(watched.events, watched.cameras)
    _draw_aligned(
        watched.cameras, align(watched.truth, boxes.at_once), align(watched.truth, boxes.in_the_end), path, name
    )


def _draw_aligned(
    cameras: "Mapping[str, Timeline]", at_once: "Alignment", in_the_end: "Alignment", path: Path, name: str
) -> None:
    from reid_stream.evaluation.lanes import lanes
    from reid_stream.evaluation.plots import draw_lanes
    from reid_stream.evaluation.visits import visits

    found = visits(at_once, {camera: line.fps for camera, line in cameras.items()})
    draw_lanes(lanes(cameras, at_once, in_the_end, found), path, name)


def _store(
    store: Path, truth: Mapping[str, Path], begin: list[str], drawn: Path | None, console: "Output"
) -> dict[str, object]:
    """Score a tracklet store; return the JSON value."""
    from reid_stream.errors import ConfigError
    from reid_stream.evaluation import report
    from reid_stream.evaluation.align import align
    from reid_stream.evaluation.stored import parse_timeline, read_store
    from reid_stream.evaluation.summary import summarize_aligned
    from reid_stream.evaluation.truth import read_truth

    lines = dict(parse_timeline(text) for text in begin)
    if not truth or set(lines) != set(truth):
        raise ConfigError(
            f"--store needs --truth and --begin of the same cameras, got truth of {', '.join(sorted(truth)) or 'none'}"
            f" and times of {', '.join(sorted(lines)) or 'none'}"
        )
    aligned = align(read_truth(truth), read_store(store, lines))
    found = summarize_aligned(aligned, {camera: line.fps for camera, line in lines.items()})
    report.show_accounts([("as stored", found)], console)
    if drawn is not None:
        _draw_aligned(lines, aligned, aligned, drawn, store.name)
    return {"as_stored": found}


def _check_outputs(files: list[Path], plots: list[Path | None]) -> None:
    """Check that the output files can be written, before minutes of work are lost."""
    from reid_stream.errors import ConfigError

    for file in files:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{file} must be in a folder that can be made: {error.strerror}") from error
        if file.is_dir() or not os.access(file.parent, os.W_OK):
            raise ConfigError(f"{file} must be a file that can be written, found a folder or no permission")
    for plot in plots:
        if plot is not None:
            from reid_stream.evaluation.plots import check

            check(plot)


def _files(named: list[str]) -> dict[str, Path]:
    from reid_stream.errors import ConfigError

    pairs: dict[str, Path] = {}
    for text in named:
        camera, separator, file = text.partition("=")
        if not separator or not camera:
            raise ConfigError(f"--truth must be CAMERA=FILE, got {text!r}")
        if camera in pairs:
            raise ConfigError(f"--truth must be given once a camera, got {camera} twice")
        pairs[camera] = Path(file)
    return pairs
