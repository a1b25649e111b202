"""`reid-stream annotate`: write videos with boxes, global IDs, names and trails."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reid_stream.annotate.identity_log import IdentityLog
    from reid_stream.annotate.render import Rendered, Report
    from reid_stream.config.settings import Settings
    from reid_stream.console.output import Output
    from reid_stream.records import GlobalId


def annotate(
    sources: Annotated[
        list[str], typer.Argument(metavar="VIDEO...", help="Videos of the cameras of one site, or a cams.yaml.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the annotated videos, one per camera.")],
    name: Annotated[
        list[str] | None, typer.Option("--name", help="Show a name for a global ID: `site-3=Anna` (repeatable).")
    ] = None,
    trail_s: Annotated[float, typer.Option(min=0, max=60, help="Length of trails, seconds; 0 for none.")] = 3.0,
    max_fps: Annotated[
        float | None, typer.Option(min=0.1, max=120, help="Frames used per second. Default: that of cams.yaml, or 10.")
    ] = None,
) -> None:
    """Write videos with boxes, global IDs, names and trails; all videos together are one site."""
    from reid_stream.annotate.render import annotate as render
    from reid_stream.config.sources import load_settings
    from reid_stream.console.output import Output
    from reid_stream.observe import logs

    settings = load_settings(sources, "VIDEO")
    logs.configure(settings.observe.model_copy(update={"log_level": "warning"}))
    logs.hide(settings)
    labels = _names(name or [])
    if max_fps is not None:
        cameras = tuple(camera.model_copy(update={"max_fps": max_fps}) for camera in settings.cameras)
        settings = settings.model_copy(update={"cameras": cameras})
    with reporting() as report:
        rendered, log = render(settings, out, labels=labels, trail_s=trail_s, report=report)
    show(Output(), rendered, log)


def _names(given: list[str]) -> "dict[GlobalId, str]":
    from reid_stream.errors import ConfigError
    from reid_stream.records import GlobalId

    labels: dict[GlobalId, str] = {}
    for one in given:
        person, equals, label = one.partition("=")
        if not equals or not person.rpartition("-")[2].isdigit():
            raise ConfigError(f"--name must be a global ID and a name, such as site-3=Anna, got {one!r}")
        labels[GlobalId(person)] = label
    return labels


class SavedReplay:
    """`reid-stream --replay fast --save DIR`: watches the daemon's decisions, then writes the videos."""

    def __init__(self, settings: "Settings", out: Path, *, fast: bool) -> None:
        """Check the requirements of `write`.

        Raises:
            ConfigError: the replay is not fast, or see `annotate.render.annotate`.
        """
        from reid_stream.annotate.identity_log import IdentityLog
        from reid_stream.annotate.render import file_settings
        from reid_stream.errors import ConfigError

        if not fast:
            raise ConfigError("--save needs --replay fast: a live camera has no frames to draw on once they are shown")
        self._settings, self._out = file_settings(settings, out), out
        if any(camera.loop and camera.enabled for camera in settings.cameras):
            raise ConfigError("--save needs files that end, found `loop: true`; remove it, or use reid-stream annotate")
        self.log = IdentityLog()

    def write(self, out: "Output") -> None:
        """Write the videos with the final identities."""
        from reid_stream.annotate.render import render

        cameras = [camera for camera in self._settings.cameras if camera.enabled]
        with reporting() as report:
            rendered = render(self._settings, cameras, self.log, self._out, report=report)
        show(out, rendered, self.log)


@contextmanager
def reporting() -> "Iterator[Report]":
    """Show progress in seconds of footage on the standard error output while the block runs."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from reid_stream.console.output import Output

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} s", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Output(error=True), transient=True) as bar:
        tasks: dict[str, int] = {}

        def report(what: str, done: float, of: float) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=of)
            bar.update(tasks[what], completed=done, total=max(of, done))  # type: ignore[arg-type]

        yield report


def show(out: "Output", rendered: "list[Rendered]", log: "IdentityLog") -> None:
    """Print the files and the number of people seen."""
    from reid_stream.console.output import count

    for one in rendered:
        out.say(f"{one.path}: {count(one.frames, 'frame')}")
    people = log.people()
    several = sum(len(cameras) > 1 for cameras in people.values())
    out.say(f"{count(len(people), 'person', 'people')}, {several} of them on several cameras")
