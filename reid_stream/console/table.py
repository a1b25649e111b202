"""Snapshot -> a live table on a terminal, or one line per change in a pipe (pure: rich renderables and text).

The shell takes a `Snapshot` a few times a second and hands it to `live`; or keeps the last one and prints `changes`.
Times are UTC seconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Literal

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from reid_stream.publish.projection import SiteView

# One colour per identity, so that the eye finds a person again; readable on dark and on light grounds.
_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta", "bright_green")
_STATES = {"up": "green", "down": "red", "waiting": "yellow", "ended": "dim"}
_LEAST_ROWS = 3


@dataclass(frozen=True, slots=True)
class PersonRow:
    """One person on one camera now."""

    person: str
    """Global ID."""
    camera: str
    since: float
    """UTC seconds at which the person came into this camera's view."""
    state: Literal["provisional", "confirmed"]
    similarity: float | None
    """Cosine to the identity; none for somebody new."""
    label: str = ""
    """What people call this person; empty for nothing."""

    @property
    def name(self) -> str:
        """Global ID, and what people say."""
        return f"{self.person} {self.label}".rstrip()


def people_in_view(view: SiteView) -> list[PersonRow]:
    """Return one row per person and camera, ordered by global ID and camera."""
    return [
        PersonRow(
            person=person.person,
            camera=visit.camera,
            since=visit.since,
            state=person.state,
            similarity=view.similarity(person, visit),
            label=person.label,
        )
        for person, visit in view.visits_now()
    ]


@dataclass(frozen=True, slots=True)
class CameraRow:
    """One camera now."""

    camera: str
    state: Literal["up", "down", "waiting", "ended"]
    fps_in: float
    """Frames decoded per second, over the last seconds."""
    fps_used: float
    """Frames that went through the detector per second."""
    dropped: int
    """Frames left out so far."""
    clock: str | None
    """`rtcp`, `arrival` or `file`; none before the first frame."""
    size: tuple[int, int] | None
    """(width, height) in pixels; none before the first frame."""
    latency_s: float | None = None
    """Capture to event, lately; none where time is a file's own."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known at one moment; nothing in it changes later."""

    site: str
    at: float
    """UTC seconds."""
    people: Sequence[PersonRow]
    """A person on two cameras has two rows."""
    cameras: Sequence[CameraRow]
    people_seen: int
    """Identities since the start."""
    people_on_two: int
    """Those of them seen on at least two cameras under one global ID."""
    events: int
    """Published since the start."""
    uptime_s: float
    events_to: str = ""
    """Where subscribers read: URL without password, and stream."""


def live(snapshot: Snapshot, height: int = 40) -> RenderableType:
    """Draw a snapshot in at most `height` lines."""
    cameras = _cameras(snapshot, max(_LEAST_ROWS, height // 3))
    # Headline, footline, and of each table two blank lines, head, rule, and perhaps `and n more`.
    left = height - cameras.row_count - 11
    return Group(_headline(snapshot), cameras, _people(snapshot, max(_LEAST_ROWS, left)), _footline(snapshot))


def changes(before: Snapshot | None, after: Snapshot) -> Iterator[str]:
    """Say in one line each what has changed between two snapshots."""
    stamp = datetime.fromtimestamp(after.at, UTC).strftime("%H:%M:%SZ")
    known = {row.camera: row.state for row in before.cameras} if before else {}
    for camera in after.cameras:
        if known.get(camera.camera) != camera.state:
            size = f" {camera.size[0]}x{camera.size[1]}" if camera.size else ""
            clock = f" clock={camera.clock}" if camera.clock else ""
            yield f"{stamp} camera {camera.camera} {camera.state}{size}{clock}"
    was = {(row.person, row.camera): row for row in before.people} if before else {}
    now = {(row.person, row.camera): row for row in after.people}
    for key, row in now.items():
        if key not in was:
            similarity = "" if row.similarity is None else f" similarity={row.similarity:.2f}"
            yield f"{stamp} person {row.name} entered {row.camera} {row.state}{similarity}"
        elif was[key].state != row.state:
            yield f"{stamp} person {row.name} {row.state} on {row.camera}"
    for key, row in was.items():
        if key not in now:
            yield f"{stamp} person {row.name} left {row.camera} after {after.at - row.since:.0f} s"


def summary(snapshot: Snapshot) -> str:
    """Say in a few lines what a run has done."""
    frames = "; ".join(
        f"{row.camera} {row.fps_used:.1f} frames/s used, {row.dropped} dropped" for row in snapshot.cameras
    )
    cameras = "both cameras" if len(snapshot.cameras) == 2 else f"at least two of {len(snapshot.cameras)} cameras"
    kept = ""
    if len(snapshot.cameras) > 1:
        verb = "person" if snapshot.people_on_two == 1 else "people"
        kept = f"{snapshot.people_on_two} {verb} kept one global ID over {cameras}\n"
    return (
        f"{kept}{snapshot.people_seen} global IDs, {snapshot.events} events in {_span(snapshot.uptime_s)}"
        f"{f' ({snapshot.events_to})' if snapshot.events_to else ''}\n{frames}"
    )


def _headline(snapshot: Snapshot) -> Text:
    up = sum(row.state == "up" for row in snapshot.cameras)
    here = len({row.person for row in snapshot.people})
    text = Text()
    text.append(f" {snapshot.site} ", style="bold reverse")
    text.append(f"  up {_span(snapshot.uptime_s)}", style="bold")
    text.append(f"   cameras {up}/{len(snapshot.cameras)}   in view {here}   global IDs {snapshot.people_seen}   ")
    text.append(f"on 2+ cameras {snapshot.people_on_two}", style="bold green" if snapshot.people_on_two else "")
    text.append(f"   events {snapshot.events}")
    return text


def _cameras(snapshot: Snapshot, most: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, expand=False)
    table.add_column("camera", min_width=14)
    table.add_column("state")
    for name in ("fps in", "fps used", "dropped", "latency"):
        table.add_column(name, justify="right")
    table.add_column("clock")
    table.add_column("size")
    table.add_column("people", justify="right")
    # The ones in trouble first, so that they are seen when not all fit.
    ordered = list(snapshot.cameras)
    if len(ordered) > most:
        ordered.sort(key=lambda row: row.state == "up")
    for row in ordered[:most]:
        table.add_row(
            row.camera,
            Text(f"● {row.state}", style=_STATES[row.state]),
            f"{row.fps_in:.1f}",
            f"{row.fps_used:.1f}",
            str(row.dropped),
            "-" if row.latency_s is None else f"{row.latency_s * 1000:.0f} ms",
            row.clock or "-",
            f"{row.size[0]}x{row.size[1]}" if row.size else "-",
            str(sum(person.camera == row.camera for person in snapshot.people)),
        )
    if len(snapshot.cameras) > most:
        table.add_row(Text(f"and {len(snapshot.cameras) - most} more", style="dim"))
    return table


def _people(snapshot: Snapshot, most: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, expand=False)
    table.add_column("person", min_width=14)
    table.add_column("camera", min_width=10)
    table.add_column("since (UTC)")
    table.add_column("for", justify="right")
    table.add_column("state")
    table.add_column("similarity", min_width=16)
    rows = sorted(snapshot.people, key=lambda row: (_number(row.person), row.since))
    groups = [list(group) for _, group in groupby(rows, key=lambda row: row.person)]
    # Those on several cameras are what one wants to see; then the others, in the order of their numbers.
    groups.sort(key=lambda group: len(group) < 2)
    shown = 0
    for group in groups:
        for index, row in enumerate(group):
            shown += 1
            if shown <= most:
                table.add_row(*_person(row, snapshot.at, is_first=index == 0, is_several=len(group) > 1))
    if shown > most:
        table.add_row(Text(f"and {shown - most} more", style="dim"))
    if not shown:
        table.add_row(Text("nobody in view", style="dim"))
    return table


def _person(row: PersonRow, at: float, *, is_first: bool, is_several: bool) -> tuple[Text, ...]:
    colour = _COLOURS[_number(row.person)[1] % len(_COLOURS)]
    name = Text(row.person if is_first else f"{' ' * (len(row.person) - 1)}└", style=f"bold {colour}")
    if is_several and is_first:
        name.append(" ⇄", style="bold")
    if row.label and is_first:
        name.append(f" {row.label}", style="not bold")
    return (
        name,
        Text(row.camera),
        Text(datetime.fromtimestamp(row.since, UTC).strftime("%H:%M:%S")),
        Text(_span(at - row.since)),
        Text(row.state, style="green" if row.state == "confirmed" else "yellow"),
        _bar(row.similarity),
    )


def _bar(similarity: float | None) -> Text:
    if similarity is None:
        return Text("new", style="dim")
    filled = round(10 * min(1.0, max(0.0, similarity)))
    return Text.assemble(f"{similarity:.2f} ", ("━" * filled, "green"), ("━" * (10 - filled), "bright_black"))


def _footline(snapshot: Snapshot) -> Text:
    where = f" events on {snapshot.events_to}   " if snapshot.events_to else " "
    return Text(f"{where}Ctrl-C stops", style="dim")


def _number(person: str) -> tuple[str, int]:
    site, _, number = person.rpartition("-")
    return (site, int(number)) if number.isdecimal() else (person, 0)


def _span(seconds: float) -> str:
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"
