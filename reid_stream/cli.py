"""The command line: `reid-stream --cameras cams.yaml` runs the daemon, subcommands do the rest.

Nothing heavy is imported here: each command imports what it needs when it is called, so that `--help` is quick.
Exit codes: 0 success, 1 another error, 2 configuration or usage, 3 model, 4 Redis, 5 a stage hung, 6 in use.
"""

import errno
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from reid_stream.commands import (
    annotate,
    bench,
    check,
    evaluate,
    events,
    export,
    halves,
    identity,
    init,
    models,
    outlet,
    reidentify,
    topology,
    web,
)
from reid_stream.commands.compile import compile_engines
from reid_stream.config.command_help import hide_flag_types
from reid_stream.config.home import ensure_home, ensure_safe_imports, ensure_utf8, temporary_fault
from reid_stream.engines.cpus import bound_libraries
from reid_stream.errors import ReidStreamError, StuckError

_SOURCES = "--cameras"
_EXTRAS = {
    "av": "gpu",
    "matplotlib": "eval",
    "nncf": "int8",
    "onnx": "train",
    "onnxruntime": "onnx",
    "pandas": "eval",
    "pyarrow": "parquet",
    "reid_hota": "eval",
    "tensorrt": "gpu",
    "tensorrt_rtx": "rtx",
    "torch": "train",
    "torchvision": "train",
    "ultralytics": "train",
}
"""The extra that installs a package; `av` is there, but newer with `gpu`."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Replay(StrEnum):
    """Modes of replaying file cameras."""

    realtime = "realtime"
    fast = "fast"


class _SourcesGroup(TyperGroup):
    """A group whose `--cameras` takes several values: `reid-stream --cameras a.mp4 rtsp://HOST/x --plain`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, repeat_option(args, until=self.commands))


class _SourcesCommand(TyperCommand):
    """A command whose `--cameras` takes several values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, repeat_option(args, until=()))


def repeat_option(args: list[str], *, until: Any) -> list[str]:
    """Repeat `--cameras` before each of its values, which end at the next option or at a name in `until`."""
    found: list[str] = []
    is_value = False
    for index, argument in enumerate(args):
        if argument in until and not (index and args[index - 1] == _SOURCES):
            return [*found, *args[index:]]
        if argument.startswith("-"):
            is_value = argument == _SOURCES
        elif is_value and args[index - 1] != _SOURCES:
            found.append(_SOURCES)
        found.append(argument)
    return found


app = typer.Typer(
    name="reid-stream",
    cls=_SourcesGroup,
    help="Follow people across cameras: one global ID per person, every change an event on Redis.",
    rich_markup_mode="rich",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    cameras: Annotated[
        list[str] | None,
        typer.Option(
            help="cams.yaml: site, Redis, models and cameras. Or video files and URLs of cameras, without a cams.yaml: "
            "`--cameras door.mp4 rtsp://HOST/stream`."
        ),
    ] = None,
    duration: Annotated[float | None, typer.Option(min=0.1, help="Stop after this many seconds.")] = None,
    replay: Annotated[
        Replay,
        typer.Option(help="Read file cameras at their own rate, or as fast as possible (same events every time)."),
    ] = Replay.realtime,
    run_id: Annotated[
        str | None, typer.Option(help="Name of this run in events. Default: a random one each time.")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Print lines instead of the live table.")] = False,
    standby: Annotated[
        bool, typer.Option("--standby", help="While another daemon runs the site, wait and take over when it is gone.")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option("--save", help="With --replay fast: write annotated videos of the file cameras to this folder."),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Run the daemon until Ctrl-C, SIGTERM, or the end of all files; SIGHUP reads cams.yaml again."""
    if version:
        from reid_stream import __version__

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is not None:
        return
    if not cameras:
        typer.echo(context.get_help())
        raise typer.Exit(2)
    from reid_stream.commands.run import run as run_daemon

    run_daemon(
        cameras,
        duration_s=duration,
        fast=replay is Replay.fast,
        run_id=run_id,
        plain=plain,
        standby=standby,
        save=save,
    )


app.command()(annotate.annotate)
app.command(cls=_SourcesCommand)(check.check)
app.command("compile")(compile_engines)
app.command()(events.events)
app.command("eval")(evaluate.evaluate)
app.command()(halves.identify)
app.command()(init.init)
app.command(cls=_SourcesCommand)(halves.perceive)
app.command()(reidentify.reidentify)
app.command()(topology.topology)
app.add_typer(bench.app, name="bench")
app.add_typer(export.app, name="export")
app.add_typer(identity.app, name="identity")
app.add_typer(models.app, name="models")
app.add_typer(outlet.app, name="outlet")
app.add_typer(web.app, name="web")


def main() -> None:
    """Run a command; an error that the user can fix is one message and an exit code, never a traceback."""
    ensure_safe_imports()
    ensure_utf8("reid_stream.cli")
    _mask_arguments()
    ensure_home()
    bound_libraries()
    try:
        command = typer.main.get_command(app)
        hide_flag_types(command)
        command(prog_name="reid-stream")
    except ReidStreamError as error:
        _print_error(str(error))
        if isinstance(error, StuckError):
            # A thread is inside native code, which must not be unloaded under it.
            sys.stderr.flush()
            os._exit(error.exit_code)
        raise SystemExit(error.exit_code) from None
    except Exception as error:
        extra = missing_extra(error)
        if extra is not None:
            _print_error(extra)
            raise SystemExit(1) from None
        if isinstance(error, FileNotFoundError) and (fault := temporary_fault()) is not None:
            _print_error(fault)
            raise SystemExit(1) from None
        if isinstance(error, OSError) and error.errno in _FULL:
            _print_error(f"{error.filename or 'the output'} must be written, found: {error.strerror}; free some space")
            # What is buffered for the output cannot be written at the exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise SystemExit(1) from None
        from reid_stream.observe.logs import catch

        catch()
        raise


def missing_extra(error: Exception) -> str | None:
    """Return the message for a package of an extra that is not installed; none for any other error."""
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if package not in _EXTRAS:
        return None
    return (
        f"this command needs the package {package}, which is not installed; install the extra `{_EXTRAS[package]}`: "
        f"pip install 'reid-stream[{_EXTRAS[package]}]', or pip install '.[{_EXTRAS[package]}]' in a checkout"
    )


def _print_error(text: str) -> None:
    from reid_stream.console.printable import printable_lines
    from reid_stream.observe.logs import scrub

    print(f"reid-stream: {printable_lines(scrub(text))}", file=sys.stderr)  # noqa: T201 (the message is the output)


def _mask_arguments() -> None:
    """Take passwords out of the command line that `ps` shows of this process."""
    if not any("@" in argument or "=" in argument for argument in sys.argv):
        return
    from setproctitle import setproctitle

    from reid_stream.config.yaml_lines import redacted
    from reid_stream.observe.logs import scrub

    shown = [scrub(redacted(argument) if "://" in argument else argument) for argument in sys.argv]
    if shown != sys.argv:
        setproctitle(" ".join(shown))
