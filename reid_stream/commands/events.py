"""`reid-stream events`: what the daemon says, on a terminal or in a pipe."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reid_stream.commands.reach import reach

if TYPE_CHECKING:
    from reid_stream.publish.subscribe import Received


def events(
    settings: Annotated[
        Path | None,
        typer.Option("--cameras", help="cams.yaml: where Redis is, how to get in, and the site."),
    ] = None,
    url: Annotated[
        str, typer.Option(help="Redis that the daemon writes to.", envvar="REID_STREAM_REDIS")
    ] = "redis://127.0.0.1:6379/0",
    site: Annotated[str, typer.Option(help="`site` of cams.yaml.")] = "site",
    start: Annotated[
        str | None,
        typer.Option("--from", help="0 (all), $ (new ones), a stream position or an ISO time; 0 unless --follow."),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only these: identity.entered, identity, camera ... (repeatable)."),
    ] = None,
    camera: Annotated[list[str] | None, typer.Option("--camera", help="Only this camera (repeatable).")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for new events until Ctrl-C.")] = False,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after so many events.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="CloudEvents JSON lines, as in a pipe.")] = False,
) -> None:
    """Show the events of a site: lines on a terminal, JSON lines in a pipe."""
    from reid_stream.publish.subscribe import subscribe

    login, url, site = reach(settings, url, site)
    plain = as_json or not sys.stdout.isatty()
    show = _json_line if plain else _rich_line()
    subscription = subscribe(
        url,
        site=site,
        start=start if start is not None else "$" if follow else "0",
        types=tuple(types or ()),
        cameras=tuple(camera or ()),
        settings=login,
        block_s=None if follow else 0,
    )
    try:
        for number, event in enumerate(subscription, start=1):
            show(event)
            if number == count:
                break
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # `| head` has enough; nothing may be flushed to the closed pipe at exit.
        sys.stderr.close()
    finally:
        subscription.close()
    if subscription.missed:
        typer.echo(f"{subscription.missed} events had already left the stream", err=True)


def _json_line(event: "Received") -> None:
    sys.stdout.write(event.body + "\n")
    sys.stdout.flush()


def _rich_line() -> Any:
    from rich.console import Console
    from rich.text import Text

    colours = {
        "entered": "green",
        "left": "red",
        "merged": "magenta",
        "split": "magenta",
        "named": "magenta",
        "up": "cyan",
        "down": "red",
    }
    console = Console(highlight=False)

    def show(event: "Received") -> None:
        short = event.type.removeprefix("io.reid-stream.").rpartition(".")[0]
        line = Text(event.time.astimezone().strftime("%H:%M:%S.%f")[:-3], style="dim")
        line.append(f"  {short:<19}", style=colours.get(short.rpartition(".")[2], ""))
        line.append(f"{event.subject:<14}", style="bold")
        line.append(_details(event.data))
        console.print(line, soft_wrap=True)

    return show


def _details(data: Any) -> str:
    parts = []
    for name, text in (
        ("camera", "{}"),
        ("state", "{}"),
        ("similarity", "similarity {:.2f}"),
        ("probability", "P {:.2f}"),
        ("previous", "was {}"),
        ("into", "into {}"),
        ("label", "{}"),
        ("do", "{}"),
        ("outcome", "{}"),
        ("text", "{}"),
        ("by", "by {}"),
        ("reason", "{}"),
        ("people", "{} in view"),
        ("cameras_up", "{} cameras up"),
    ):
        value = getattr(data, name, None)
        if value is not None:
            parts.append(text.format(value))
    return "  ".join(parts)
