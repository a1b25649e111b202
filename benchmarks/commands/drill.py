"""`python -m benchmarks drill`: inject faults and compare the daemon's behavior with its bounds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from benchmarks.faults.report import DrillResult

app = typer.Typer(
    help="Break cameras and Redis on purpose, on servers of its own; each figure beside its bound.",
    no_args_is_help=True,
)


@app.command()
def cameras(
    name: Annotated[
        list[str] | None, typer.Argument(help="reconnect, sick, udp, crash, clock, freeze; all of them by default.")
    ] = None,
    clip: Annotated[Path | None, typer.Option(help="Video of people. Default: the demo's clip.")] = None,
    short: Annotated[bool, typer.Option("--short", help="A slice that takes seconds instead of minutes.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the findings there.")] = None,
) -> None:
    """Real RTSP servers that are killed, frozen, re-encoded, sick, lossy, or whose clock steps."""
    import os

    from benchmarks.faults.cameras import run
    from reid_stream.commands.demo import footage

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

    from benchmarks.faults.redis import CASES, LONG, SHORT, SLICE, default_settings, run
    from reid_stream.commands.demo import footage
    from reid_stream.config.settings import Observe
    from reid_stream.observe import logs

    def say(text: str) -> None:
        typer.echo(text, err=True)

    # The drill's own servers are meant to fail: what the daemons say of it is no news.
    logs.configure(Observe(log_level="critical"))
    settings = default_settings(clip or footage(os.environ, say))
    chosen = tuple(name or (SLICE if short else CASES))
    _end(run(settings, chosen, SHORT if short else LONG, say), json)


@app.command()
def crash(
    name: Annotated[
        list[str] | None,
        typer.Argument(help="points, kills, redis, moved, corrupt, ended; all of them by default."),
    ] = None,
    recording: Annotated[
        Path | None, typer.Option(help="What perceive said of a site (eval --keep). Default: people made up.")
    ] = None,
    points: Annotated[int | None, typer.Option(min=1, help="Chance points to be killed at.")] = None,
    kills: Annotated[int | None, typer.Option(min=1, help="Daemons killed in each of the other cases.")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="The footage of those takes so long, restarts aside.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of chance.")] = 0,
    short: Annotated[bool, typer.Option("--short", help="50 points and 3 kills instead of 1000 and 50.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the findings there.")] = None,
) -> None:
    """Daemons killed (-9) at any instant, with Redis, moved, their snapshots spoilt: does anybody's ID change?"""
    import shutil
    import tempfile

    from benchmarks.faults.crash import CASES, run
    from benchmarks.faults.crash_feed import made_up
    from reid_stream.errors import ConfigError
    from reid_stream.evaluation.recording import save

    unknown = sorted(set(name or ()) - set(CASES))
    if unknown:
        raise ConfigError(f"a case must be one of {', '.join(CASES)}, got {', '.join(unknown)}")
    with tempfile.TemporaryDirectory(prefix="reid-stream-drill-") as given:
        folder = Path(given)
        feed = folder / "feed.rec"
        if recording is None:
            save(made_up(12), feed)
        else:
            shutil.copy(recording, feed)
        found = run(
            feed,
            folder,
            tuple(name or CASES),
            points=points or (50 if short else 1000),
            kills=kills or (3 if short else 50),
            lasts_s=seconds or (2.0 if short else 40.0),
            seed=seed,
            say=lambda text: typer.echo(text, err=True),
        )
    _end(found, json)


@app.command()
def overload(
    clip: Annotated[Path | None, typer.Option(help="Video of people. Default: the demo's clip.")] = None,
    cameras: Annotated[int | None, typer.Option(min=4, help="At 10 fps. Default: 100, 24 if short.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.05, help="How long. Default: 10, 8 s if short.")] = None,
    short: Annotated[bool, typer.Option("--short", help="A slice that takes seconds instead of minutes.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the findings there.")] = None,
) -> None:
    """More cameras than the machine can bear: even rates, bounded latency, flat memory, and over by itself?"""
    import os

    from benchmarks.faults.overload import run
    from reid_stream.commands.demo import footage

    def say(text: str) -> None:
        typer.echo(text, err=True)

    found = run(
        is_short=short,
        people=lambda: clip or footage(os.environ, say),
        cameras=cameras,
        seconds=None if minutes is None else minutes * 60,
        say=say,
    )
    _end(found, json)


@app.command()
def state(
    name: Annotated[
        list[str] | None,
        typer.Argument(help="far-id, takeover, emptied, restored, numbers; all of them by default."),
    ] = None,
    people: Annotated[int | None, typer.Option(min=4, help="Made-up people. Default: 60, 12 if short.")] = None,
    short: Annotated[bool, typer.Option("--short", help="A slice that takes seconds instead of minutes.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the findings there.")] = None,
) -> None:
    """Send IDs far ahead of the clock, take sites over, empty or age Redis; count events lost or repeated."""
    from benchmarks.faults.state import CASES, run
    from reid_stream.config.settings import Observe
    from reid_stream.observe import logs

    logs.configure(Observe(log_level="critical"))
    chosen = tuple(name or CASES)
    _end(run(chosen, people=people or (12 if short else 60), say=lambda text: typer.echo(text, err=True)), json)


@app.command()
def metrics(
    short: Annotated[bool, typer.Option("--short", help="A slice that takes seconds instead of a minute.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the findings there.")] = None,
) -> None:
    """Clients of /metrics that are idle, slow or broken: are health checks answered, does SIGTERM end the daemon?"""
    from benchmarks.faults.scrapes import run

    _end(run(is_short=short), json)


@app.command()
def embedded(
    short: Annotated[bool, typer.Option("--short", help="2 kills instead of 5.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the findings there.")] = None,
) -> None:
    """Kill the embedded Redis (-9) under the daemon; check its restart, and that every event is on it once."""
    from benchmarks.faults.embedded import run

    _end(run(is_short=short), json)


def _end(findings: "list[DrillResult]", path: Path | None) -> None:
    """Show and write what was found; exit code 1 where a bound does not hold."""
    from benchmarks.faults.report import all_hold, save, show

    show(findings)
    if path is not None:
        save(findings, path)
    if not all_hold(findings):
        raise typer.Exit(1)
