"""The command line: `reid-stream --cameras cams.yaml` runs the daemon, subcommands do the rest.

Nothing heavy is imported here: each command imports what it needs when it is called, so that `--help` is quick.
Exit codes: 0 fine, 1 another error, 2 configuration or usage, 3 model, 4 Redis, 5 a stage hung.
"""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from reid_stream.commands import bench, check, evaluate, events, identity, models, reidentify, topology, web
from reid_stream.commands.compile import compile_engines
from reid_stream.errors import ReidStreamError, StuckError


class Replay(StrEnum):
    """How file cameras are read."""

    realtime = "realtime"
    fast = "fast"


app = typer.Typer(
    name="reid-stream",
    help="Follow people across cameras: one global ID per person, every change an event on Redis.",
    rich_markup_mode="rich",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    cameras: Annotated[Path | None, typer.Option(help="cams.yaml: site, Redis, models and cameras.")] = None,
    duration: Annotated[float | None, typer.Option(min=0.1, help="Stop after so many seconds.")] = None,
    replay: Annotated[
        Replay,
        typer.Option(help="File cameras: at their own pace, or as fast as the pipeline goes (same events every time)."),
    ] = Replay.realtime,
    run_id: Annotated[
        str | None, typer.Option(help="Name of this run in events; default: a new one each time.")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of the live table.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Run the daemon until Ctrl-C, SIGTERM, or the end of all files."""
    if version:
        from reid_stream import __version__

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is not None:
        return
    if cameras is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
    from reid_stream.commands.run import run as run_daemon

    run_daemon(cameras, duration_s=duration, fast=replay is Replay.fast, run_id=run_id, plain=plain)


app.command()(check.check)
app.command("compile")(compile_engines)
app.command()(events.events)
app.command("eval")(evaluate.evaluate)
app.command()(reidentify.reidentify)
app.command()(topology.topology)
app.add_typer(bench.app, name="bench")
app.add_typer(identity.app, name="identity")
app.add_typer(models.app, name="models")
app.add_typer(web.app, name="web")


def main() -> None:
    """Run a command; errors of ours are one message and an exit code, never a traceback."""
    _cover_arguments()
    try:
        app()
    except ReidStreamError as error:
        from reid_stream.observe.logs import scrub

        print(f"reid-stream: {scrub(str(error))}", file=sys.stderr)  # noqa: T201 (the message is the output)
        if isinstance(error, StuckError):
            # A thread is in the middle of native code, which must not be taken down around it.
            sys.stderr.flush()
            os._exit(error.exit_code)
        raise SystemExit(error.exit_code) from None
    except Exception:
        from reid_stream.observe.logs import catch

        catch()
        raise


def _cover_arguments() -> None:
    """Take passwords out of what `ps` shows of this process."""
    if any("://" in argument for argument in sys.argv):
        from setproctitle import setproctitle

        from reid_stream.observe.logs import scrub

        setproctitle(scrub(" ".join(sys.argv)))
