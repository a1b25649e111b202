"""`python -m benchmarks speed`: stages, matcher, recovery, store, workers and long runs, beside measured floors."""

from pathlib import Path
from typing import Annotated

import typer

from reid_stream.commands.bench import demo_clip, write_figures

app = typer.Typer(help="Measure speed and memory, as shares of floors measured in the same run.", no_args_is_help=True)


@app.command("all")
def everything(
    clip: Annotated[Path | None, typer.Option(help="Video file of people. Default: the demo's clip.")] = None,
    cameras: Annotated[int, typer.Option(min=1, max=64, help="Replayed cameras.")] = 4,
    seconds: Annotated[float, typer.Option(min=1, help="Footage per camera.")] = 30.0,
    readme: Annotated[
        Path | None, typer.Option(help="Put the table there, between <!-- bench --> and <!-- /bench -->.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Measure stages, pipeline, cameras held and matcher in one run, and print them as a table."""
    from benchmarks.speed import table

    found = table.measure(clip or demo_clip(), cameras, seconds, lambda text: typer.echo(text, err=True))
    typer.echo(table.markdown(found))
    write_figures(found, json)
    if readme is not None:
        table.write(found, readme)


@app.command()
def decode(
    clip: Annotated[Path | None, typer.Option(help="Video file. Default: the demo's clip.")] = None,
    frames: Annotated[int, typer.Option(min=10, help="Number of frames.")] = 600,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Measure decoding as the daemon does it, against FFmpeg alone."""
    from benchmarks.speed import stages

    found = [stages.decode(clip or demo_clip(), frames)]
    stages.show(found)
    write_figures(found, json)


@app.command()
def detector(
    clip: Annotated[Path | None, typer.Option(help="Video file. Default: the demo's clip.")] = None,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, max=64, help="Images per call; may be repeated. Default: 1, 4, 8.")
    ] = None,
    calls: Annotated[int, typer.Option(min=2, help="Number of calls of each.")] = 40,
    bundle: Annotated[str, typer.Option(help="Detector's bundle.")] = "default",
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Measure detection, against the network alone."""
    from benchmarks.speed import stages

    found = [stages.detector(clip or demo_clip(), size, calls, bundle) for size in batch or (1, 4, 8)]
    stages.show(found)
    write_figures(found, json)


@app.command()
def embedder(
    clip: Annotated[Path | None, typer.Option(help="Video file of people. Default: the demo's clip.")] = None,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, max=64, help="Crops per call; may be repeated. Default: 1, 8, 16.")
    ] = None,
    calls: Annotated[int, typer.Option(min=2, help="Number of calls of each.")] = 100,
    bundle: Annotated[str, typer.Option(help="Embedder's bundle.")] = "default",
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Measure embedding, against the network alone."""
    from benchmarks.speed import stages

    found = [stages.embedder(clip or demo_clip(), size, calls, bundle) for size in batch or (1, 8, 16)]
    stages.show(found)
    write_figures(found, json)


@app.command()
def console(
    what: Annotated[str, typer.Argument(help="wall or people.")] = "wall",
    clip: Annotated[Path | None, typer.Option(help="Video file of people. Default: the demo's clip.")] = None,
    cameras: Annotated[int, typer.Option(min=1, max=64, help="Replayed cameras.")] = 4,
    viewers: Annotated[int, typer.Option(min=1, max=180, help="Walls open in the last spell.")] = 50,
    seconds: Annotated[float, typer.Option(min=2, help="Length of a spell.")] = 20.0,
    people: Annotated[int, typer.Option(min=1, help="People in the store.")] = 10_000,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Measure what the web console costs: closed, with one wall open, with many; or its pages over many people."""
    from benchmarks.speed import console as module

    if what not in ("wall", "people"):
        raise typer.BadParameter("WHAT must be wall or people")
    is_wall = what == "wall"
    found = module.wall(clip or demo_clip(), cameras, viewers, seconds) if is_wall else module.people(people)
    module.show(found)
    write_figures(found, json)


@app.command()
def substream(
    clip: Annotated[Path | None, typer.Option(help="Video file of people. Default: the demo's clip.")] = None,
    main: Annotated[tuple[int, int], typer.Option(help="Width and height of the main stream.")] = (1280, 720),
    sub: Annotated[tuple[int, int], typer.Option(help="Width and height of the substream.")] = (640, 360),
    frames: Annotated[int, typer.Option(min=10, help="Images of the clip, shown in a loop.")] = 150,
    seconds: Annotated[float, typer.Option(min=5, help="Time to follow both for.")] = 30.0,
    max_fps: Annotated[float, typer.Option(min=1, help="Frames used per second.")] = 5.0,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads for the networks; 0 for all cores.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Compare a camera with `detect_url` with the same one without: CPU time of its process, boxes, global IDs."""
    from benchmarks.rtsp.clips import why_not
    from benchmarks.speed import substream as measured
    from reid_stream.config.settings import Models
    from reid_stream.errors import ConfigError

    if reason := why_not():
        raise ConfigError(reason)
    found = measured.measure(clip or demo_clip(), main, sub, frames, seconds, max_fps, Models(threads=threads))
    measured.show(found)
    write_figures(found, json)


@app.command()
def matcher(
    size: Annotated[
        list[int] | None, typer.Option(min=1, help="Stored identities; may be repeated. Default: 1e3, 1e4, 1e5, 1e6.")
    ] = None,
    exemplars: Annotated[
        int | None, typer.Option(min=1, max=64, help="Vectors of each; default: 8, fewer beyond 1e6 vectors in all.")
    ] = None,
    updates: Annotated[int, typer.Option(min=20, help="Updates to time at each size.")] = 300,
    seconds: Annotated[
        float, typer.Option(min=1, help="Time limit in seconds at each size, for at least 20 updates.")
    ] = 60.0,
    embedder: Annotated[str, typer.Option(help="Bundle.")] = "default",
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Measure updates of a matcher with many identities: time against a raw matmul and FAISS, memory per identity."""
    from benchmarks.speed.matcher import SIZES, measure, show
    from reid_stream.bundles import catalog

    bundle = catalog.embedder(embedder)[1]
    rows = measure(bundle, size or SIZES, exemplars, updates, seconds, lambda text: typer.echo(text, err=True))
    show(rows)
    write_figures(rows, json)


@app.command()
def recovery(
    size: Annotated[
        list[int] | None, typer.Option(min=1, help="Known people; may be repeated. Default: 1e2, 1e3, 1e4, 1e5.")
    ] = None,
    cameras: Annotated[int, typer.Option(min=1, max=500, help="Simulated cameras that fill the journal.")] = 20,
    embedder: Annotated[str, typer.Option(help="Bundle.")] = "default",
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Measure the cost of durable identities: the journal per step, a snapshot, recovery after a crash."""
    from benchmarks.speed.recovery import SIZES, measure, show
    from reid_stream.bundles import catalog

    found = measure(catalog.embedder(embedder)[1], size or SIZES, cameras, lambda text: typer.echo(text, err=True))
    show(found)
    write_figures(found, json)


@app.command()
def day(
    cameras: Annotated[int, typer.Option(min=1, max=500, help="Simulated cameras.")] = 20,
    hours: Annotated[float, typer.Option(min=1, help="Length of the day.")] = 24.0,
    people_per_hour: Annotated[float, typer.Option(min=1, help="Number of people, each different.")] = 200.0,
    retention_s: Annotated[
        float, typer.Option(min=60, help="match.retention_s, which bounds how many are known.")
    ] = 7200.0,
    embedder: Annotated[str, typer.Option(help="Bundle.")] = "default",
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them there (PNG; extra eval).")] = None,
) -> None:
    """Run the matcher on a simulated day of many cameras; its time and memory must stay flat."""
    from benchmarks.speed import day as days
    from reid_stream.bundles import catalog
    from reid_stream.config.settings import Match

    found = days.measure(
        catalog.embedder(embedder)[1],
        cameras,
        hours,
        people_per_hour,
        Match(retention_s=retention_s),
        lambda text: typer.echo(text, err=True),
    )
    typer.echo(
        f"{found.observations} observations of {found.cameras} cameras in {found.matched_s:.0f} s "
        f"({found.observations_per_s:.0f} per second); memory grows {found.growth_mb_per_hour:.2f} MB an hour in the "
        f"second half; p99 of the last quarter is {found.p99_change:.2f} times that of the second"
    )
    write_figures(found, json)
    if plot is not None:
        days.plot(found, plot)


@app.command()
def store(
    crops: Annotated[int, typer.Option(min=100, help="Number of crops.")] = 100_000,
    per_track: Annotated[int, typer.Option(min=1, max=1000, help="Crops per track.")] = 8,
    tracks_per_hour: Annotated[
        float, typer.Option(min=1, help="Tracks per hour, which set the time that the store covers.")
    ] = 600.0,
    embedder: Annotated[str, typer.Option(help="Bundle.")] = "default",
    folder: Annotated[Path | None, typer.Option(help="On the disk to measure; default: the temporary folder.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Fill a tracklet store with made-up crops, open it again and replay it: rates, disk, memory."""
    import tempfile

    from benchmarks.speed.store import measure, show
    from reid_stream.bundles import catalog

    with tempfile.TemporaryDirectory(prefix="reid-stream-store-", dir=folder) as place:
        found = measure(
            Path(place) / "store",
            catalog.embedder(embedder)[1],
            crops,
            per_track,
            tracks_per_hour,
            lambda text: typer.echo(text, err=True),
        )
    show(found)
    write_figures(found, json)


@app.command()
def workers(
    count: Annotated[list[int] | None, typer.Option(min=1, max=64, help="May be repeated. Default: 1, 2, 4.")] = None,
    cameras: Annotated[
        int, typer.Option(min=2, max=256, help="Number of cameras; more than the machine can process.")
    ] = 16,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds per number of workers.")] = 30.0,
    clip: Annotated[Path | None, typer.Option(help="Video of people. Default: the demo's clip.")] = None,
    detector: Annotated[str, typer.Option(help="Bundle.")] = "default",
    embedder: Annotated[str, typer.Option(help="Bundle.")] = "default",
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Run perception in 1, 2, 4 processes on the same cores; then kill one and measure recovery and losses."""
    from benchmarks.speed import workers as bench
    from reid_stream.config.settings import Models

    figures = bench.measure(
        clip or demo_clip(),
        count or [1, 2, 4],
        cameras,
        seconds,
        Models(detector=detector, embedder=embedder),
        lambda text: typer.echo(text, err=True),
    )
    bench.show(figures)
    write_figures(figures, json)


@app.command()
def soak(
    minutes: Annotated[float, typer.Option(min=0.1, help="Duration in minutes.")] = 30.0,
    cameras: Annotated[int, typer.Option(min=1, max=64, help="Looping cameras, RTSP where GStreamer is there.")] = 2,
    max_fps: Annotated[float, typer.Option(min=0.1, help="Rate cap per camera.")] = 10.0,
    clip: Annotated[Path | None, typer.Option(help="Video of people. Default: the demo's clip.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them there (PNG; extra eval).")] = None,
) -> None:
    """Run the daemon on looping cameras; memory, threads and open files must stay flat."""
    import os
    import tempfile
    from contextlib import ExitStack

    from benchmarks.rtsp.clips import loop_clip, serve_clips, why_not
    from benchmarks.speed import soak as soaks
    from reid_stream.commands.demo import footage

    def progress(text: str) -> None:
        typer.echo(text, err=True)

    source = clip or footage(os.environ, progress)
    names = [f"cam{n + 1}" for n in range(cameras)]
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="reid-stream-soak-")))
        missing = why_not()
        if missing is None:
            # The server ends the connection with the clip: every two minutes all cameras reconnect.
            looped = loop_clip(source, folder / "clip.mp4", seconds=120)
            server = opened.enter_context(serve_clips(dict.fromkeys(names, looped)))
            settings = [{"id": name, "url": server.url(name), "max_fps": max_fps} for name in names]
        else:
            progress(f"cameras are files, not RTSP: {missing}")
            settings = [{"id": name, "url": str(source), "max_fps": max_fps, "loop": True} for name in names]
        found = soaks.measure(settings, minutes, folder, progress)
    soaks.show(found)
    write_figures(found, json)
    if plot is not None:
        soaks.plot(found, plot)


@app.command()
def links(
    seconds: Annotated[float, typer.Option(min=1, help="Length of each part of a round.")] = 5.0,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each link.")] = 2,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Measure what carries observations: ZeroMQ between processes, Redis Streams between hosts."""
    from benchmarks.speed import links as measured

    found = measured.measure(seconds, rounds)
    measured.show(found)
    write_figures(found, json)
