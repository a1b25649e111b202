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
    detector: Annotated[str, typer.Option(help="Bundle.")] = "default",
    embedder: Annotated[str, typer.Option(help="Bundle.")] = "default",
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Replay cameras as fast as they go: decode, detector and embedder alone, then the whole pipeline."""
    import os

    from reid_stream.bench.pipeline import measure, show
    from reid_stream.demo import footage

    figures = measure(
        clips=clip or [footage(os.environ, lambda text: typer.echo(text, err=True))],
        cameras=cameras,
        seconds=seconds,
        max_fps=max_fps,
        detector=detector,
        embedder=embedder,
    )
    show(figures)
    if json is not None:
        import msgspec

        json.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
