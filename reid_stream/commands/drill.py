"""`reid-stream drill`: break cameras on purpose, and compare what the daemon makes of it with its bounds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reid_stream.drill.report import Finding

app = typer.Typer(
    help="Break cameras and Redis on purpose, on servers of its own; each figure beside its bound.",
    no_args_is_help=True,
)


@app.command()
def cameras(
    name: Annotated[
        list[str] | None, typer.Argument(help="reconnect, sick, udp, crash, clock; all of them by default.")
    ] = None,
    clip: Annotated[Path | None, typer.Option(help="Video of people. Default: the demo's clip.")] = None,
    short: Annotated[bool, typer.Option("--short", help="A slice that takes seconds instead of minutes.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the findings there.")] = None,
) -> None:
    """Real RTSP servers that are killed, frozen, re-encoded, sick, lossy, or whose clock steps."""
    import os

    from reid_stream.demo import footage
    from reid_stream.drill.cameras import run

    def say(text: str) -> None:
        typer.echo(text, err=True)

    _end(run(tuple(name or ()), is_short=short, people=lambda: clip or footage(os.environ, say), say=say), json)


@app.command()
def redis(
    name: Annotated[
        list[str] | None,
        typer.Argument(
            help="killed, frozen, paused, full, read-only, locked, forbidden, spool-full; all of them by default."
        ),
    ] = None,
    clip: Annotated[Path | None, typer.Option(help="Video of people. Default: the demo's clip.")] = None,
    short: Annotated[bool, typer.Option("--short", help="A slice, and seconds instead of minutes.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the findings there.")] = None,
) -> None:
    """Real Redis servers that die, hang, fill up or refuse in the middle of a replay: does a subscriber notice?"""
    import os

    from reid_stream import logs
    from reid_stream.config import Observe
    from reid_stream.demo import footage
    from reid_stream.drill.redis import CASES, LONG, SHORT, SLICE, default_settings, run

    def say(text: str) -> None:
        typer.echo(text, err=True)

    # The drill's own servers are meant to fail: what the daemons say of it is no news.
    logs.configure(Observe(log_level="critical"))
    settings = default_settings(clip or footage(os.environ, say))
    chosen = tuple(name or (SLICE if short else CASES))
    _end(run(settings, chosen, SHORT if short else LONG, say), json)


def _end(findings: "list[Finding]", path: Path | None) -> None:
    """Show and write what was found; exit code 1 where a bound does not hold."""
    from reid_stream.drill.report import all_hold, save, show

    show(findings)
    if path is not None:
        save(findings, path)
    if not all_hold(findings):
        raise typer.Exit(1)
