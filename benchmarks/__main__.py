"""`python -m benchmarks`: measurements and drills that need a checkout of the repository."""

import sys

import typer

from benchmarks.commands import accuracy, drill, simulate, speed
from benchmarks.commands.peers import peers
from benchmarks.commands.size import path, size
from reid_stream.errors import ReidStreamError

app = typer.Typer(
    name="benchmarks",
    help="Measure speed and accuracy, inject faults, simulate sites.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(speed.app, name="speed")
app.add_typer(accuracy.app, name="accuracy")
app.add_typer(drill.app, name="drill")
app.add_typer(simulate.app, name="simulate")
app.command()(peers)
app.command()(size)
app.command()(path)


def main() -> None:
    """Run a command; an expected error is one message and an exit code, never a traceback."""
    try:
        app()
    except ReidStreamError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
