"""`reid-stream perceive` and `reid-stream identify`: the two halves of a site on many hosts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from reid_stream.config.settings import Settings

SiteOption = Annotated[
    str | None, typer.Option("--site", help="Name of the site, the same on all hosts. Default: `site` of the file.")
]
DurationOption = Annotated[float | None, typer.Option(min=0.1, help="Stop after this many seconds.")]
PlainOption = Annotated[bool, typer.Option("--plain", help="Print lines instead of the live table.")]


@dataclass(frozen=True, slots=True)
class Half:
    """Which part of a site a process runs."""

    kind: Literal["both", "perceive", "identify"] = "both"
    site: str | None = None
    """Overrides `site` of the file."""
    url: str | None = None
    """Overrides `redis.url` of the file."""
    host: str | None = None
    """Name of a perceive host; None for that of the machine."""

    @property
    def is_perceive(self) -> bool:
        """Whether only perception runs here."""
        return self.kind == "perceive"

    @property
    def is_identify(self) -> bool:
        """Whether only identification runs here."""
        return self.kind == "identify"

    def settings(self, sources: Sequence[str]) -> "Settings":
        """Read the settings from the values of `--cameras`; identification may do without.

        Raises:
            ConfigError: see `load_settings`.
        """
        from reid_stream.config import cams_yaml
        from reid_stream.config.identify_settings import IdentifySettings
        from reid_stream.config.sources import load_settings

        if not self.is_identify:
            found = load_settings(sources)
        elif sources:
            found = cams_yaml.load(Path(sources[0]), kind=IdentifySettings)
        else:
            found = cams_yaml.from_values({}, Path.cwd(), "reid-stream identify", kind=IdentifySettings)
        return self.named(found)

    def named(self, settings: "Settings") -> "Settings":
        """Return settings with the site and the Redis that the options name.

        Raises:
            ConfigError: they are not of the allowed form.
        """
        from reid_stream.config import cams_yaml
        from reid_stream.config.identify_settings import IdentifySettings

        if self.site is not None:
            # Checked as the file is, with the option's name in the message.
            site = cams_yaml.from_values({"site": self.site}, Path.cwd(), "--site", kind=IdentifySettings).site
            settings = settings.model_copy(update={"site": site})
        if self.url is not None:
            redis = cams_yaml.from_values(
                {"redis": {"url": self.url}}, Path.cwd(), "--url", kind=IdentifySettings
            ).redis
            settings = settings.model_copy(update={"redis": settings.redis.model_copy(update={"url": redis.url})})
        return settings


def perceive(
    cameras: Annotated[
        list[str],
        typer.Option(help="cams.yaml with the cameras of this host; or video files and URLs of cameras."),
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
    from reid_stream.commands.run import run

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
    from reid_stream.commands.run import run

    run(
        [] if cameras is None else [str(cameras)],
        duration_s=duration,
        fast=False,
        run_id=None,
        plain=plain,
        standby=standby,
        half=Half("identify", site, url),
    )
