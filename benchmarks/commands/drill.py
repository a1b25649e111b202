"""`python -m benchmarks drill`: inject faults and compare the daemon's behavior with its bounds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from benchmarks.faults.report import DrillResult

app = typer.Typer(
    help="Inject faults into cameras and Redis, on servers that the drill starts; each figure beside its bound.",
    no_args_is_help=True,
)


@app.command()
def cameras(
    name: Annotated[
        list[str] | None,
        typer.Argument(
            help="reconnect, sick, udp, crash, clock, own-clock, freeze, finite, hot; all of them by default."
        ),
    ] = None,
    clip: Annotated[Path | None, typer.Option(help="Video of people. Default: the demo's clip.")] = None,
    short: Annotated[bool, typer.Option("--short", help="A slice that takes seconds instead of minutes.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the findings there.")] = None,
) -> None:
    """Kill, freeze, re-encode and disturb real RTSP servers, lose packets, step clocks."""
    import os

    from benchmarks.faults.cameras import run
    from reid_stream.commands.demo import footage

    def progress(text: str) -> None:
        typer.echo(text, err=True)

    _end(
        run(tuple(name or ()), is_short=short, people=lambda: clip or footage(os.environ, progress), progress=progress),
        json,
    )


@app.command()
def redis(
    name: Annotated[
        list[str] | None,
        typer.Argument(
            help="killed, frozen, paused, full, read-only, locked, forbidden, spool-full; all of them by default."
        ),
    ] = None,
    clip: Annotated[Path | None, typer.Option(help="Video of people. Default: the demo's clip.")] = None,
    short: Annotated[bool, typer.Option("--short", help="A slice that takes seconds instead of minutes.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the findings there.")] = None,
) -> None:
    """Let Redis die, hang, fill up or refuse during a replay; compare what a subscriber gets."""
    import os

    from benchmarks.faults.redis import CASES, LONG, SHORT, SLICE, default_settings, run
    from reid_stream.commands.demo import footage
    from reid_stream.config.settings import Observe
    from reid_stream.observe import logs

    def progress(text: str) -> None:
        typer.echo(text, err=True)

    # The drill's servers are meant to fail: what the daemons log about it is not of interest.
    logs.configure(Observe(log_level="critical"))
    settings = default_settings(clip or footage(os.environ, progress))
    chosen = tuple(name or (SLICE if short else CASES))
    _end(run(settings, chosen, SHORT if short else LONG, progress), json)


@app.command()
def crash(
    name: Annotated[
        list[str] | None,
        typer.Argument(help="points, kills, redis, moved, corrupt, ended; all of them by default."),
    ] = None,
    recording: Annotated[
        Path | None, typer.Option(help="Recording of a site (eval --keep). Default: simulated people.")
    ] = None,
    points: Annotated[
        int | None, typer.Option(min=1, help="Number of random points at which a daemon is killed.")
    ] = None,
    kills: Annotated[
        int | None, typer.Option(min=1, help="Number of daemons killed in each of the other cases.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Duration of the footage of those, without restarts.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random generator.")] = 0,
    short: Annotated[bool, typer.Option("--short", help="50 points and 3 kills instead of 1000 and 50.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the findings there.")] = None,
) -> None:
    """Kill daemons (-9) at any instant, kill Redis, move hosts, corrupt snapshots: identities must persist."""
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
            progress=lambda text: typer.echo(text, err=True),
        )
    _end(found, json)


@app.command()
def alerts(json: Annotated[Path | None, typer.Option(help="Write the findings there.")] = None) -> None:
    """Make faults beside a real Prometheus with the alert rules of deploy/prometheus: each must fire its alert."""
    from benchmarks.faults.alerts import run

    _end(run(), json)


@app.command()
def overload(
    clip: Annotated[Path | None, typer.Option(help="Video of people. Default: the demo's clip.")] = None,
    cameras: Annotated[
        int | None, typer.Option(min=4, help="Number of cameras, each at 10 fps. Default: 100, 24 if short.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.05, help="Duration in minutes. Default: 10; 8 s if short.")
    ] = None,
    short: Annotated[bool, typer.Option("--short", help="A slice that takes seconds instead of minutes.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the findings there.")] = None,
) -> None:
    """Overload the machine with cameras: rates must stay even, latency bounded, memory flat."""
    import os

    from benchmarks.faults.overload import run
    from reid_stream.commands.demo import footage

    def progress(text: str) -> None:
        typer.echo(text, err=True)

    found = run(
        is_short=short,
        people=lambda: clip or footage(os.environ, progress),
        cameras=cameras,
        seconds=None if minutes is None else minutes * 60,
        progress=progress,
    )
    _end(found, json)


@app.command()
def state(
    name: Annotated[
        list[str] | None,
        typer.Argument(help="far-id, takeover, fenced-twice, emptied, restored, numbers; all of them by default."),
    ] = None,
    people: Annotated[
        int | None, typer.Option(min=4, help="Number of simulated people. Default: 60, 12 if short.")
    ] = None,
    short: Annotated[bool, typer.Option("--short", help="A slice that takes seconds instead of minutes.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the findings there.")] = None,
) -> None:
    """Write IDs far ahead of the clock, take sites over, empty or roll back Redis; count events lost or repeated."""
    from benchmarks.faults.state import CASES, run
    from reid_stream.config.settings import Observe
    from reid_stream.observe import logs

    logs.configure(Observe(log_level="critical"))
    chosen = tuple(name or CASES)
    _end(run(chosen, people=people or (12 if short else 60), progress=lambda text: typer.echo(text, err=True)), json)


@app.command()
def metrics(
    short: Annotated[bool, typer.Option("--short", help="A slice that takes seconds instead of a minute.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the findings there.")] = None,
) -> None:
    """Connect idle, slow and broken clients to /metrics: health checks must be answered and SIGTERM end the daemon."""
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


@app.command()
def hosts(
    name: Annotated[
        list[str] | None,
        typer.Argument(help="perceive, identify, redis, sentinel, cut, delay; all of them by default."),
    ] = None,
    kills: Annotated[
        int | None, typer.Option(min=1, help="Kills of each kind of process. Default: 30, 1 if short.")
    ] = None,
    cuts: Annotated[int | None, typer.Option(min=1, help="Cuts of a link. Default: 8, 2 if short.")] = None,
    cut_seconds: Annotated[
        float | None, typer.Option(min=1, help="Duration of a cut. Default: 60, 10 if short.")
    ] = None,
    short: Annotated[bool, typer.Option("--short", help="A slice that takes minutes instead of an hour.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the findings there.")] = None,
) -> None:
    """Kill the processes of a site on many hosts, cut and delay its links (in network namespaces of its own)."""
    from benchmarks.faults.bad_link import in_private_namespace
    from benchmarks.faults.hosts import CASES, run

    if (status := in_private_namespace()) is not None:
        raise typer.Exit(status)
    found = run(
        tuple(name or CASES),
        kills=kills or (1 if short else 30),
        cuts=cuts or (2 if short else 8),
        cut_s=cut_seconds or (10.0 if short else 60.0),
        delay_s=10.0 if short else 60.0,
        progress=lambda text: typer.echo(text, err=True),
    )
    _end(found, json)


@app.command()
def upgrade(
    old: Annotated[str, typer.Option(help="Commit or tag of the older release, which is checked out for it.")],
    json: Annotated[Path | None, typer.Option(help="Write the findings there.")] = None,
) -> None:
    """Upgrade from an older release, go back, upgrade by a standby, restore a backup: IDs must stay."""
    from benchmarks.faults.upgrade import run

    _end(run(old, lambda text: typer.echo(text, err=True)), json)


def _end(findings: "list[DrillResult]", path: Path | None) -> None:
    """Print and write the findings; exit with code 1 where a bound does not hold."""
    from benchmarks.faults.report import all_hold, save, show

    show(findings)
    if path is not None:
        save(findings, path)
    if not all_hold(findings):
        raise typer.Exit(1)
