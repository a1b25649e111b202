"""Draw the live table of a running site as SVG: `python -m docs.generators.live_table cams.yaml OUT.svg`.

The site runs as `reid-stream --cameras` runs it; after `--after` seconds its table is drawn and the site ends. The
picture in README is made of the demo's (`python -m reid_stream.commands.demo`).
"""

import re
import threading
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME

from reid_stream.assembly.site import assemble
from reid_stream.commands.watch import Watch
from reid_stream.config import cams_yaml
from reid_stream.console.table import Snapshot, live

_EVERY_S = 0.5
_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_MONOSPACE = "font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"


def draw(snapshot: Snapshot, *, title: str, width: int = 100, height: int = 32) -> str:
    """Return the live table of a snapshot as SVG of `width` by at most `height` characters, without web fonts."""
    console = Console(record=True, width=width, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(live(snapshot, height))
    svg = console.export_svg(title=title, theme=SVG_EXPORT_THEME, unique_id="live-table")
    # Rich names a web font, which would be fetched from a third party.
    return _FONT_FACE.sub("", svg).replace("font-family: Fira Code, monospace", _MONOSPACE).rstrip() + "\n"


def main(
    cameras: Annotated[Path, typer.Argument(help="cams.yaml of the site.")],
    out: Annotated[Path, typer.Argument(help="SVG to write.")],
    after: Annotated[float, typer.Option(help="Draw after so many seconds.")] = 40.0,
) -> None:
    """Run a site for some seconds and draw its live table."""
    settings = cams_yaml.load(cameras)
    stop = threading.Event()
    with assemble(settings, run="live-table", continues=False, fast=False) as site:
        watch = Watch(site, settings, is_table=False)
        until = time.monotonic() + after

        def look() -> None:
            snapshot = watch.snapshot()
            # Several looks, since frame rates are counted between them.
            while time.monotonic() < until:
                time.sleep(_EVERY_S)
                snapshot = watch.snapshot()
            # A path of this machine is nothing to show.
            snapshot = replace(snapshot, events_to=snapshot.events_to.replace(f"{Path.cwd()}/", ""))
            out.write_text(draw(snapshot, title=f"reid-stream --cameras {cameras}"), encoding="utf-8")
            stop.set()

        threading.Thread(target=look, name="look", daemon=True).start()
        site.daemon.run(stop)


if __name__ == "__main__":
    typer.run(main)
