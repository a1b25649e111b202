"""Print to the terminal; text from outside (names of files, bundles, teachers) cannot control it."""

import sys

import typer

from reid_stream.console.printable import printable_lines


def say(text: str) -> None:
    """Print lines to the standard output."""
    typer.echo(printable_lines(text))


def fail(text: str) -> None:
    """Exit with status 1 and a message on the standard error output."""
    sys.exit(printable_lines(f"reid-train: {text}"))
