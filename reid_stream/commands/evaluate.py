"""`reid-stream eval`: score cameras, a recording or a tracklet store against truth: who was followed how well."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from reid_stream.config import Settings
    from reid_stream.evaluation.align import Aligned
    from reid_stream.evaluation.recording import Recording
    from reid_stream.evaluation.run import Watched
    from reid_stream.evaluation.stream import Timeline


def evaluate(
    cameras: Annotated[
        Path | None, typer.Option(help="cams.yaml with file cameras: replayed through the daemon.")
    ] = None,
    truth: Annotated[
        list[str] | None, typer.Option(help="CAMERA=FILE: MOT text, ids shared by all cameras; once a camera.")
    ] = None,
    recording: Annotated[
        Path | None,
        typer.Option(help="What --keep wrote, matched again with the settings of --cameras or the defaults."),
    ] = None,
    store: Annotated[Path | None, typer.Option(help="A tracklet store, as it is; needs --begin.")] = None,
    begin: Annotated[
        list[str] | None,
        typer.Option(help="CAMERA=TIME@FPS: when the truth's first frame was, UTC, and its rate; once a camera."),
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="Write what was perceived there, to match it again later.")] = None,
    budget: Annotated[
        bool, typer.Option("--budget", help="Make boxes, tracks and links perfect in turn: what does each cost?")
    ] = False,
    lanes: Annotated[Path | None, typer.Option(help="Draw who was where and whom we said it was (.png, .svg).")] = None,
    sweep: Annotated[
        str | None, typer.Option(help="SETTING=VALUE,VALUE,...: score each; match.* takes seconds a value.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the trade-off of --sweep there (.png, .svg).")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Score who was followed how well, across cameras and within each, as told at once and after corrections."""
    import msgspec
    from rich.console import Console

    from reid_stream.errors import ConfigError

    if (sum(given is not None for given in (cameras, store)) != 1 and recording is None) or (recording and store):
        raise ConfigError("eval must be given one of --cameras, --recording or --store")
    if plot is not None and sweep is None:
        raise ConfigError("--plot draws the trade-off of --sweep, which is missing")
    if budget and (recording or store):
        raise ConfigError("--budget looks at the pictures again: it needs --cameras, without --recording and --store")
    named = _files(truth or [])
    console = Console()
    if store is not None:
        if keep or sweep:
            raise ConfigError("--keep and --sweep match again: they go with --cameras or --recording")
        told = _store(store, named, begin or [], lanes, console)
    else:
        if begin:
            raise ConfigError("--begin is for --store: file cameras have their own times")
        told = _footage(
            cameras, recording, named, keep, budget=budget, lanes=lanes, sweep=sweep, plot=plot, console=console
        )
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")


def _footage(
    cameras: Path | None,
    recording: Path | None,
    truth: Mapping[str, Path],
    keep: Path | None,
    *,
    budget: bool,
    lanes: Path | None,
    sweep: str | None,
    plot: Path | None,
    console: "Console",
) -> dict[str, object]:
    """Score file cameras or a recording of them; return what is written as JSON."""
    from reid_stream.evaluation import recording as recordings
    from reid_stream.evaluation import report
    from reid_stream.evaluation.run import figures, rewatch, watch
    from reid_stream.evaluation.sweep import parse, points

    settings = _settings(cameras)
    wanted = parse(sweep) if sweep is not None else None
    kept: Recording | None = None
    told: dict[str, object] = {}
    if recording is not None:
        kept = _with_truth(recordings.load(recording), truth)
        name = kept.name
    else:
        assert cameras is not None
        name = settings.site
        if budget:
            kept, told["budget"] = _budget(settings, truth, console)
        elif keep is not None or wanted is not None:
            kept = _recorder(truth, name)(settings)
    with console.status("replaying the cameras" if kept is None else "matching"):
        watched = watch(settings, truth) if kept is None else rewatch(kept, settings.match)
    if keep is not None and kept is not None:
        recordings.save(kept, keep)
    scored = figures(watched)
    told |= {field: getattr(scored, field) for field in scored.__dataclass_fields__}
    report.show(scored, console)
    if lanes is not None:
        _draw(watched, lanes, name)
    if wanted is not None:
        if recording is not None and not wanted.is_replayed:
            from reid_stream.errors import ConfigError

            raise ConfigError(
                f"a recording has settled {wanted.section}, so {wanted.setting} cannot be swept over it; sweep match.*"
                " or give --cameras alone"
            )

        def record(with_it: "Settings") -> "Recording":
            return kept if kept is not None and with_it == settings else _recorder(truth, name)(with_it)

        found = list(points(wanted, settings, record))
        report.show_sweep(wanted.setting, found, console)
        told["sweep"] = {"setting": wanted.setting, "points": found}
        if plot is not None:
            from reid_stream.evaluation.plots import draw_sweep

            draw_sweep(wanted.setting, found, plot, name)
    return told


def _settings(cameras: Path | None) -> "Settings":
    """Settings of cams.yaml, or the defaults for a recording, which has its cameras inside."""
    from pydantic import SecretStr

    from reid_stream import configfile
    from reid_stream.config import Camera, Settings

    if cameras is not None:
        return configfile.load(cameras)
    return Settings(cameras=(Camera(id="recorded", url=SecretStr("recorded")),))


def _recorder(truth: Mapping[str, Path], name: str) -> "Callable[[Settings], Recording]":
    from reid_stream.evaluation.footage import recorded, truth_for

    return lambda settings: recorded(settings, truth_for(settings, truth), name=name)


def _with_truth(kept: "Recording", truth: Mapping[str, Path]) -> "Recording":
    """Put other truth in the place of a recording's own, where it is given."""
    import msgspec

    from reid_stream.errors import ConfigError
    from reid_stream.evaluation.recording import kept as keeping
    from reid_stream.evaluation.truth import check_cameras, read_truth

    if truth:
        check_cameras(list(truth), list(kept.cameras))
        boxes = read_truth(truth)
        return msgspec.structs.replace(kept, truth={camera: keeping(each) for camera, each in boxes.items()})
    if not kept.truth:
        raise ConfigError(f"a recording must be scored against truth, {kept.name} has none; give --truth CAMERA=FILE")
    return kept


def _budget(settings: "Settings", truth: Mapping[str, Path], console: "Console") -> "tuple[Recording, object]":
    from reid_stream.evaluation import budget, report
    from reid_stream.evaluation.footage import truth_for

    takes = budget.take(settings, truth_for(settings, truth), name=settings.site)
    made = budget.budget(takes, settings.match)
    report.show_budget(made, console)
    return takes.ours, made


def _draw(watched: "Watched", path: Path, name: str) -> None:
    from reid_stream.evaluation.align import align
    from reid_stream.evaluation.stream import boxes_of

    told = boxes_of(watched.events, watched.cameras)
    _draw_aligned(
        watched.cameras, align(watched.truth, told.at_once), align(watched.truth, told.in_the_end), path, name
    )


def _draw_aligned(
    cameras: "Mapping[str, Timeline]", at_once: "Aligned", in_the_end: "Aligned", path: Path, name: str
) -> None:
    from reid_stream.evaluation.lanes import lanes
    from reid_stream.evaluation.plots import draw_lanes
    from reid_stream.evaluation.visits import visits

    found = visits(at_once, {camera: line.fps for camera, line in cameras.items()})
    draw_lanes(lanes(cameras, at_once, in_the_end, found), path, name)


def _store(
    store: Path, truth: Mapping[str, Path], begin: list[str], drawn: Path | None, console: "Console"
) -> dict[str, object]:
    """Score a tracklet store; return what is written as JSON."""
    from reid_stream.errors import ConfigError
    from reid_stream.evaluation import report
    from reid_stream.evaluation.account import account_aligned
    from reid_stream.evaluation.align import align
    from reid_stream.evaluation.stored import parse_timeline, read_store
    from reid_stream.evaluation.truth import read_truth

    lines = dict(parse_timeline(text) for text in begin)
    if not truth or set(lines) != set(truth):
        raise ConfigError(
            f"--store needs --truth and --begin of the same cameras, got truth of {', '.join(sorted(truth)) or 'none'}"
            f" and times of {', '.join(sorted(lines)) or 'none'}"
        )
    aligned = align(read_truth(truth), read_store(store, lines))
    found = account_aligned(aligned, {camera: line.fps for camera, line in lines.items()})
    report.show_accounts([("as stored", found)], console)
    if drawn is not None:
        _draw_aligned(lines, aligned, aligned, drawn, store.name)
    return {"as_stored": found}


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
