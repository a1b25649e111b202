"""`reid-stream events`: print the events of a site, as lines on a terminal or JSON lines in a pipe."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reid_stream.commands.reach import CamerasOption, SiteOption, UrlOption, reach

if TYPE_CHECKING:
    from reid_stream.publish.subscribe import Received

_MOST_TEXT = 300
"""Characters shown of one field."""


def events(
    settings: CamerasOption = None,
    url: UrlOption = None,
    site: SiteOption = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from", help="0 (all), $ (new ones), a stream position or an ISO time. Default: 0, or $ with --follow."
        ),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only this type or prefix: identity.entered, identity, camera (repeatable)."),
    ] = None,
    camera: Annotated[list[str] | None, typer.Option("--camera", help="Only this camera (repeatable).")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for new events until Ctrl-C.")] = False,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many events.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print CloudEvents as JSON lines, as in a pipe.")] = False,
) -> None:
    """Print the events of a site: lines on a terminal, JSON lines in a pipe."""
    from reid_stream.publish.subscribe import subscribe

    at = reach(settings, url, site)
    plain = as_json or not sys.stdout.isatty()
    show = _json_line if plain else _text_line()
    subscription = subscribe(
        at.url,
        site=at.site,
        start=start if start is not None else "$" if follow else "0",
        types=tuple(types or ()),
        cameras=tuple(camera or ()),
        settings=at.login,
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
        # The reader has closed the pipe (`| head`); nothing may be flushed to it at exit.
        sys.stderr.close()
    finally:
        subscription.close()
    if subscription.missed:
        from reid_stream.console import output

        words = output.count(subscription.missed, "event was", "events were")
        output.Output(error=True).say(f"{words} trimmed from the stream before this command read them")


def _json_line(event: "Received") -> None:
    from reid_stream.console.output import write_data

    write_data(event.body)


def _text_line() -> "Callable[[Received], None]":
    from rich.text import Text

    from reid_stream.console.output import Output
    from reid_stream.console.printable import printable

    colours = {
        "entered": "green",
        "left": "red",
        "merged": "magenta",
        "split": "magenta",
        "named": "magenta",
        "up": "cyan",
        "down": "red",
    }
    out = Output()

    def show(event: "Received") -> None:
        short = printable(event.type.removeprefix("io.reid-stream.").rpartition(".")[0])
        line = Text(event.time.astimezone().strftime("%H:%M:%S.%f")[:-3], style="dim")
        line.append(f"  {short:<19}", style=colours.get(short.rpartition(".")[2], ""))
        line.append(f" {printable(event.subject):<14}", style="bold")
        line.append(f" {_details(event.data)}")
        out.say(line)

    return show


def _details(data: Any) -> str:
    from reid_stream.console.printable import printable

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
            shown = printable(text.format(value))
            parts.append(shown if len(shown) <= _MOST_TEXT else f"{shown[:_MOST_TEXT]}...")
    return "  ".join(parts)
