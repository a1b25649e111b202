"""`reid-stream bench`: speed and memory, as shares of what the parts do alone in the same run."""

import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

Scene = Literal["quiet", "ordinary", "crowded"]

app = typer.Typer(help="Measure speed and memory of this machine.", no_args_is_help=True)


@app.command()
def pipeline(
    clip: Annotated[
        list[Path] | None,
        typer.Option(help="Video file; repeat it for several, used in rotation. Default: the demo's clip."),
    ] = None,
    cameras: Annotated[int, typer.Option(min=1, max=64, help="Replayed cameras.")] = 4,
    seconds: Annotated[float, typer.Option(min=1, help="Footage per camera.")] = 30.0,
    max_fps: Annotated[float, typer.Option(min=0.1, help="Rate cap per camera.")] = 10.0,
    people: Annotated[
        int | None,
        typer.Option(min=0, help="Number of simulated people in every image. Default: the people of the clip."),
    ] = None,
    find_max: Annotated[
        bool, typer.Option("--find-max", help="Find the largest number of cameras held live at --max-fps instead.")
    ] = False,
    gpu_frames: Annotated[
        bool, typer.Option("--gpu-frames", help="Decode on an NVIDIA GPU and keep the images in its memory.")
    ] = False,
    detector: Annotated[str, typer.Option(help="Folder or name of a bundle.")] = "default",
    embedder: Annotated[str, typer.Option(help="Folder or name of a bundle.")] = "default",
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
) -> None:
    """Measure decoder, detector and embedder alone, then the whole pipeline, as fast as possible."""
    from reid_stream.bench.pipeline import measure, show

    clips = clip or [demo_clip()]
    if find_max:
        if people is not None:
            raise typer.BadParameter("--find-max uses the people of the clip, found --people as well")
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
        list[Path] | None,
        typer.Option(help="Video file; repeat it for several, used in rotation. Default: the demo's clip."),
    ] = None,
    cameras: Annotated[
        int, typer.Option(min=1, max=256, help="Cameras; with --find-max, where the search starts.")
    ] = 4,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each trial.")] = 30.0,
    max_fps: Annotated[float, typer.Option(min=0.1, help="Rate of each camera.")] = 10.0,
    find_max: Annotated[
        bool, typer.Option("--find-max", help="Search for the largest number of cameras that is held.")
    ] = False,
    scene: Annotated[
        Scene | None,
        typer.Option(
            help="Traffic, composed from each clip and empty stretches of the same camera: no people (quiet), people a "
            "tenth of the time (ordinary), all the time (crowded). Default: the clip as it is."
        ),
    ] = None,
    gate: Annotated[Literal["auto", "off"], typer.Option(help="detect.gate")] = "auto",
    packing: Annotated[Literal["auto", "off"], typer.Option(help="detect.packing")] = "off",
    min_fps: Annotated[float | None, typer.Option(min=0.01, help="detect.min_fps. Default: none.")] = None,
    gpu_frames: Annotated[
        bool, typer.Option("--gpu-frames", help="Decode on an NVIDIA GPU and keep the images in its memory.")
    ] = False,
    detector: Annotated[str, typer.Option(help="Folder or name of a bundle.")] = "default",
    embedder: Annotated[str, typer.Option(help="Folder or name of a bundle.")] = "default",
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
) -> None:
    """Measure whether this many live cameras are held: nearly every frame used, with little latency."""
    from reid_stream.bench import live, scenes
    from reid_stream.bench.pipeline import on_gpu
    from reid_stream.config.settings import Detect, Ingest
    from reid_stream.console import output

    clips = clip or [demo_clip()]
    ingest = Ingest.model_validate(on_gpu() if gpu_frames else {})
    detect = Detect(gate=gate, packing=packing, min_fps=min_fps)

    def holds(count: int) -> live.LiveLoad:
        output.Output(error=True).say(output.count(count, "camera"))
        return live.hold(
            clips, count, max_fps, seconds, detector=detector, embedder=embedder, ingest=ingest, detect=detect
        )

    with tempfile.TemporaryDirectory(prefix="reid-stream-scene-") as folder:
        if scene is not None:
            fps = max(1, round(max_fps))
            composed = [scenes.compose(one, scene, Path(folder) / str(n), fps=fps) for n, one in enumerate(clips)]
            clips = [each for one in zip(*composed, strict=True) for each in one]
        loads = live.find_max(holds, cameras) if find_max else [holds(cameras)]
    live.show(loads)
    write_figures(loads, json)


@app.command()
def engines(
    bundle: Annotated[
        list[str] | None, typer.Argument(help="Folders or names of bundles. Default: both that are used.")
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, max=256, help="Images per call (repeatable). Default: three sizes.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds for each batch size of all engines.")] = 5.0,
    threads: Annotated[int, typer.Option(min=0, help="Threads of engines on the CPU; 0 for all cores.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
) -> None:
    """Measure every engine of this machine: images per second, difference from float32."""
    from dataclasses import asdict

    from reid_stream.bench.engines import measure
    from reid_stream.commands.compile import find_bundles
    from reid_stream.console.output import Output, Rows

    rows = [
        row
        for folder, found in find_bundles(list(bundle or ()))
        for row in measure(found, folder, seconds=seconds, threads=threads, batches=batch or ())
    ]
    heads = ("network", "engine", "batch", "images/s", "share of the fastest", "from float32")
    table = Rows(*heads, right=heads[2:])
    for row in rows:
        figures = f"{row.pictures_per_s:.1f}", f"{row.share:.2f}", f"{row.difference:.4f}"
        table.add_row(row.network, row.engine, str(row.batch), *figures)
    Output().print(table)
    write_figures([asdict(row) for row in rows], json)


def demo_clip() -> Path:
    """Return the demo's clip."""
    import os

    from reid_stream.commands.demo import footage
    from reid_stream.console.output import Output

    return footage(os.environ, Output(error=True).say)


def write_figures(figures: object, file: Path | None) -> None:
    """Write figures as JSON to `file`, if there is one."""
    import msgspec

    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
