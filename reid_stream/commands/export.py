"""`reid-stream export`: visits as a table for spreadsheets and notebooks."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from reid_stream.commands.reach import CamerasOption, SiteOption, UrlOption, reach

app = typer.Typer(help="Export visits as a table.", no_args_is_help=True)


class TableFormat(StrEnum):
    """File format of a table."""

    csv = "csv"
    parquet = "parquet"


@app.callback()
def export() -> None:
    """Export visits as a table."""


@app.command()
def visits(
    cameras: CamerasOption = None,
    url: UrlOption = None,
    site: SiteOption = None,
    form: Annotated[TableFormat, typer.Option("--format", help="csv, or parquet (extra `parquet`).")] = TableFormat.csv,
    out: Annotated[Path | None, typer.Option("--out", help="File. Default: the standard output, for csv.")] = None,
    since: Annotated[str | None, typer.Option(help="Only visits that last after this ISO time.")] = None,
    until: Annotated[str | None, typer.Option(help="Only visits that start before this ISO time.")] = None,
) -> None:
    """Write visits, corrections applied: person, name, camera, from, until, P(same), picture."""
    from reid_stream.console.output import Output, count
    from reid_stream.errors import ConfigError
    from reid_stream.outlets.visits import visit_rows, write_csv, write_parquet
    from reid_stream.publish.subscribe import subscribe

    at = reach(cameras, url, site)
    if form is TableFormat.parquet and out is None:
        raise ConfigError("--out must name a file for --format parquet")
    with subscribe(at.url, site=at.site, start="0", settings=at.login, block_s=0) as events:
        rows = visit_rows(events, _seconds("--since", since, float("-inf")), _seconds("--until", until, float("inf")))
        if out is None:
            write_csv(rows, sys.stdout)
            return
        part = out.with_name(f".{out.name}.part")
        try:
            if form is TableFormat.parquet:
                number = write_parquet(rows, part)
            else:
                with part.open("w", encoding="utf-8", newline="") as file:
                    number = write_csv(rows, file)
            part.replace(out)
        except OSError as error:
            raise ConfigError(f"--out must be a file that can be written, {out}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)
    Output().say(f"{out}: {count(number, 'visit')}")


def _seconds(option: str, text: str | None, none: float) -> float:
    from datetime import UTC, datetime

    from reid_stream.errors import ConfigError

    if text is None:
        return none
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option} must be an ISO time such as 2026-11-30T08:00:00Z, got {text!r}") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
