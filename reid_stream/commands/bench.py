"""`reid-stream bench`: how fast, as shares of what the parts could do alone in the same run."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Measure speed and memory, as shares of floors measured in the same run.", no_args_is_help=True)


@app.command()
def pipeline(
    clip: Annotated[
        list[Path] | None, typer.Option(help="Video file; several are used in turn. Default: the demo's clip.")
    ] = None,
    cameras: Annotated[int, typer.Option(min=1, max=64, help="Replayed cameras.")] = 4,
    seconds: Annotated[float, typer.Option(min=1, help="Footage per camera.")] = 30.0,
    max_fps: Annotated[float, typer.Option(min=0.1, help="Rate cap per camera.")] = 10.0,
    people: Annotated[
        int | None,
        typer.Option(min=0, help="So many people in every picture, whoever is there. Default: those of the clip."),
    ] = None,
    find_max: Annotated[
        bool, typer.Option("--find-max", help="Find the most cameras that are held live at --max-fps, instead.")
    ] = False,
    gpu_frames: Annotated[
        bool, typer.Option("--gpu-frames", help="Decode on an NVIDIA GPU and leave the pictures there.")
    ] = False,
    detector: Annotated[str, typer.Option(help="Bundle.")] = "default",
    embedder: Annotated[str, typer.Option(help="Bundle.")] = "default",
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Replay cameras as fast as they go: decode, detector and embedder alone, then the whole pipeline."""
    from reid_stream.bench.pipeline import measure, show

    clips = clip or [demo_clip()]
    if find_max:
        if people is not None:
            raise typer.BadParameter("--find-max takes the people of the clip, got --people as well")
        live(
            clips,
            cameras,
            seconds,
            max_fps,
            find_max=True,
            gpu_frames=gpu_frames,
            detector=detector,
            embedder=embedder,
            json=json,
        )
        return
    figures = measure(
        clips=clips,
        people=people,
        cameras=cameras,
        seconds=seconds,
        max_fps=max_fps,
        detector=detector,
        embedder=embedder,
        gpu_frames=gpu_frames,
    )
    show(figures)
    write_figures(figures, json)


@app.command()
def live(
    clip: Annotated[
        list[Path] | None, typer.Option(help="Video file; several are used in turn. Default: the demo's clip.")
    ] = None,
    cameras: Annotated[
        int, typer.Option(min=1, max=256, help="Cameras; with --find-max, where the search begins.")
    ] = 4,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each trial.")] = 30.0,
    max_fps: Annotated[float, typer.Option(min=0.1, help="Rate of each camera.")] = 10.0,
    find_max: Annotated[bool, typer.Option("--find-max", help="Search for the most cameras that are held.")] = False,
    gpu_frames: Annotated[
        bool, typer.Option("--gpu-frames", help="Decode on an NVIDIA GPU and leave the images there.")
    ] = False,
    detector: Annotated[str, typer.Option(help="Bundle.")] = "default",
    embedder: Annotated[str, typer.Option(help="Bundle.")] = "default",
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Run file cameras at their own pace: are they held live, and how many can be?"""
    from reid_stream.bench import live
    from reid_stream.bench.pipeline import on_gpu
    from reid_stream.config.settings import Ingest

    clips = clip or [demo_clip()]
    ingest = Ingest.model_validate(on_gpu() if gpu_frames else {})

    def holds(count: int) -> live.LiveLoad:
        typer.echo(f"{count} cameras", err=True)
        return live.hold(clips, count, max_fps, seconds, detector=detector, embedder=embedder, ingest=ingest)

    loads = live.find_max(holds, cameras) if find_max else [holds(cameras)]
    live.show(loads)
    write_figures(loads, json)


@app.command()
def engines(
    bundle: Annotated[list[str] | None, typer.Argument(help="Bundles. Default: both that are served.")] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, max=256, help="Pictures a call. Default: three.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="For each batch size of all engines.")] = 5.0,
    threads: Annotated[int, typer.Option(min=0, help="Of engines on the processor; 0 for all cores.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Run every engine that this machine has, in turn: how fast, how near to float32."""
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from reid_stream.bench.engines import measure
    from reid_stream.bundles import catalog

    folders = [catalog.any_bundle(name) for name in bundle or ()] or [
        catalog.detector("default"),
        catalog.embedder("default"),
    ]
    rows = [
        row
        for folder, found in folders
        for row in measure(found, folder, seconds=seconds, threads=threads, batches=batch or ())
    ]
    table = Table("network", "engine", "batch", "pictures/s", "share of the fastest", "from float32", box=None)
    for row in rows:
        told = f"{row.pictures_per_s:.1f}", f"{row.share:.2f}", f"{row.difference:.4f}"
        table.add_row(row.network, row.engine, str(row.batch), *told)
    Console().print(table)
    write_figures([asdict(row) for row in rows], json)


def demo_clip() -> Path:
    """Return the demo's clip."""
    import os

    from reid_stream.commands.demo import footage

    return footage(os.environ, lambda text: typer.echo(text, err=True))


def write_figures(figures: object, file: Path | None) -> None:
    """Write figures as JSON to `file`, if there is one."""
    import msgspec

    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
