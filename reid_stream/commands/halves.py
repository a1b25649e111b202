"""`reid-stream perceive` and `reid-stream identify`: the two halves of a site on many hosts."""

from pathlib import Path
from typing import Annotated

import typer

SiteOption = Annotated[
    str | None, typer.Option("--site", help="Name of the site, the same on all hosts. Default: `site` of the file.")
]
DurationOption = Annotated[float | None, typer.Option(min=0.1, help="Stop after this many seconds.")]
PlainOption = Annotated[bool, typer.Option("--plain", help="Print lines instead of the live table.")]


def perceive(
    cameras: Annotated[
        list[str],
        typer.Option(
            help="cams.yaml with the cameras of this host, or with `cameras: shared`; or files and URLs of cameras."
        ),
    ],
    site: SiteOption = None,
    url: Annotated[
        str | None, typer.Option("--url", help="Redis of the site. Default: `redis.url` of the file.")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Name of this host in logs and metrics. Default: that of the machine.")
    ] = None,
    duration: DurationOption = None,
    plain: PlainOption = False,
) -> None:
    """Run the cameras of one host; `reid-stream identify` makes identities of what all hosts see."""
    from reid_stream.commands.run import Half, run

    run(cameras, duration_s=duration, fast=False, run_id=None, plain=plain, half=Half("perceive", site, url, host))


def identify(
    cameras: Annotated[
        Path | None,
        typer.Option(
            "--cameras", help="YAML as cams.yaml, of which `cameras` may be missing: Redis, `match`, `store`, `web`."
        ),
    ] = None,
    site: SiteOption = None,
    url: Annotated[
        str | None, typer.Option("--url", help="Redis of the site. Default: `redis.url` of the file.")
    ] = None,
    standby: Annotated[
        bool, typer.Option("--standby", help="While another daemon runs the site, wait and take over when it is gone.")
    ] = False,
    duration: DurationOption = None,
    plain: PlainOption = False,
) -> None:
    """Run identification of one site whose cameras `reid-stream perceive` reads on other hosts."""
    from reid_stream.commands.run import Half, run

    run(
        [] if cameras is None else [str(cameras)],
        duration_s=duration,
        fast=False,
        run_id=None,
        plain=plain,
        standby=standby,
        half=Half("identify", site, url),
    )
