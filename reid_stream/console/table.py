"""Render a snapshot of a site: a live table on a terminal, or one line per change in a pipe (pure).

`Watch` takes a `Snapshot` a few times a second and hands it to `live`, or prints `changes` from the one before. Times
are UTC seconds; the table shows local time, the lines UTC, like log lines. Names and camera ids are text from outside:
all of them go through `printable`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import groupby
from typing import Literal

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from reid_stream.console.output import count
from reid_stream.console.printable import printable
from reid_stream.console.times import local_clock
from reid_stream.publish.projection import SiteView

# One colour per identity, so that the eye finds a person again; readable on dark and on light grounds.
_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta", "bright_green")
_STATES = {"up": "green", "down": "red", "waiting": "yellow", "ended": "dim"}
_LEAST_ROWS = 3
_NARROW = 100
"""Columns of a terminal below which the tables are set closely, to fit 80."""
_MOST_NAME, _MOST_CAMERA = 24, 12
"""Characters of a name and of a camera id in a narrow table; longer ones end in an ellipsis."""


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
    """Cosine similarity to the identity; none for a new one."""
    label: str = ""
    """Name given by an operator; empty for none."""

    @property
    def name(self) -> str:
        """Global ID and name."""
        return printable(f"{self.person} {self.label}".rstrip())


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
    """Frames dropped so far."""
    clock: str | None
    """`rtcp`, `arrival` or `file`; none before the first frame."""
    size: tuple[int, int] | None
    """(width, height) in pixels; none before the first frame."""
    latency_s: float | None = None
    """Capture to event, over the last events; none where time is a file's own."""
    limit_fps: float | None = None
    """Frames per second it is limited to by overload; none where it is not."""
    reason: str = ""
    """Why it is down; empty while it is up."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A site at one moment; immutable."""

    site: str
    at: float
    """UTC seconds."""
    people: Sequence[PersonRow]
    """A person on two cameras has two rows."""
    cameras: Sequence[CameraRow]
    people_seen: int
    """Identities seen since the start."""
    people_on_two: int
    """People seen on at least two cameras under one global ID."""
    events: int
    """Published since the start."""
    uptime_s: float
    events_to: str = ""
    """Where subscribers read: URL without password, and stream."""
    people_known: int = 0
    """Identities that can be matched, those of earlier runs included."""
    overload: str = ""
    """Problem and remedy while the machine is overloaded; empty otherwise."""


def live(snapshot: Snapshot, height: int = 40, width: int = 120, zone: tzinfo | None = None) -> RenderableType:
    """Draw a snapshot in at most `height` lines of `width` columns; `zone` is the machine's by default."""
    is_narrow = width < _NARROW
    cameras = _cameras(snapshot, max(_LEAST_ROWS, height // 3), is_narrow=is_narrow)
    troubles = _troubles(snapshot, height // 6)
    trouble_lines = len(troubles) + (len(snapshot.overload) + 1) // width
    # Headline, footline, and of each table two blank lines, head, rule, and perhaps `and n more`.
    left = height - cameras.row_count - trouble_lines - 11
    people = _people(snapshot, max(_LEAST_ROWS, left), zone, is_narrow=is_narrow)
    return Group(_headline(snapshot, is_narrow=is_narrow), *troubles, cameras, people, _footline(snapshot))


def changes(before: Snapshot | None, after: Snapshot) -> Iterator[str]:
    """Yield one line for each change between two snapshots."""
    stamp = datetime.fromtimestamp(after.at, UTC).strftime("%H:%M:%SZ")
    known = {row.camera: row.state for row in before.cameras} if before else {}
    for camera in after.cameras:
        if known.get(camera.camera) != camera.state:
            size = f" {camera.size[0]}x{camera.size[1]}" if camera.size else ""
            clock = f" clock={camera.clock}" if camera.clock else ""
            yield f"{stamp} camera {printable(camera.camera)} {camera.state}{size}{clock}"
    if after.overload and not (before and before.overload):
        yield f"{stamp} {after.overload}"
    was = {(row.person, row.camera): row for row in before.people} if before else {}
    now = {(row.person, row.camera): row for row in after.people}
    for key, row in now.items():
        where = printable(row.camera)
        if key not in was:
            similarity = "" if row.similarity is None else f" similarity={row.similarity:.2f}"
            yield f"{stamp} person {row.name} entered {where} {row.state}{similarity}"
        elif was[key].state != row.state:
            yield f"{stamp} person {row.name} {row.state} on {where}"
    for key, row in was.items():
        if key not in now:
            yield f"{stamp} person {row.name} left {printable(row.camera)} after {after.at - row.since:.0f} s"


def summary(snapshot: Snapshot) -> str:
    """Return a few lines about a whole run."""
    frames = "; ".join(
        f"{printable(row.camera)} {row.fps_used:.1f} frames/s used, {row.dropped} dropped" for row in snapshot.cameras
    )
    cameras = "both cameras" if len(snapshot.cameras) == 2 else f"at least two of {len(snapshot.cameras)} cameras"
    kept = ""
    if len(snapshot.cameras) > 1:
        kept = f"{count(snapshot.people_on_two, 'person', 'people')} kept one global ID over {cameras}\n"
    return (
        f"{kept}{count(snapshot.people_seen, 'global ID')}, {count(snapshot.events, 'event')} in "
        f"{_span(snapshot.uptime_s)}{f' ({snapshot.events_to})' if snapshot.events_to else ''}\n{frames}"
    )


def _headline(snapshot: Snapshot, *, is_narrow: bool) -> Text:
    up = sum(row.state == "up" for row in snapshot.cameras)
    here = len({row.person for row in snapshot.people})
    known = max(snapshot.people_known, snapshot.people_seen)
    gap = "  " if is_narrow else "   "
    parts = [
        (f"up {_span(snapshot.uptime_s)}", "bold"),
        (f"cameras {up}/{len(snapshot.cameras)}", "" if up == len(snapshot.cameras) else "yellow"),
        (f"in view {here}", ""),
        (f"{'IDs' if is_narrow else 'global IDs'} {known}", ""),
        (f"events {snapshot.events}", ""),
    ]
    if len(snapshot.cameras) > 1:
        words = f"{'on 2+' if is_narrow else 'on 2+ cameras'} {snapshot.people_on_two}"
        parts.insert(4, (words, "bold green" if snapshot.people_on_two else ""))
    text = Text(no_wrap=True, overflow="ellipsis").append(f" {snapshot.site} ", style="bold reverse")
    for words, style in parts:
        text.append(gap).append(words, style=style)
    return text


def _troubles(snapshot: Snapshot, most: int) -> list[Text]:
    """Return a line for an overload and one for each camera that is down, at most `most`."""
    lines = [Text(f" {snapshot.overload}", style="bold red")] if snapshot.overload else []
    for row in snapshot.cameras:
        if row.state == "down" and row.reason and len(lines) < max(1, most):
            text = f" {printable(row.camera)}: {printable(row.reason)}"
            lines.append(Text(text, style="red", no_wrap=True, overflow="ellipsis"))
    return lines


def _grid(*, is_narrow: bool) -> Table:
    padding = (0, 1, 0, 0) if is_narrow else (0, 1)
    return Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, expand=False, padding=padding)


def _cameras(snapshot: Snapshot, most: int, *, is_narrow: bool) -> Table:
    table = _grid(is_narrow=is_narrow)
    bounds = (None, _MOST_CAMERA) if is_narrow else (14, None)
    table.add_column("camera", no_wrap=True, overflow="ellipsis", min_width=bounds[0], max_width=bounds[1])
    table.add_column("state", no_wrap=True)
    for name in ("fps in", "used" if is_narrow else "fps used", "dropped", "latency"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("clock", no_wrap=True)
    table.add_column("size", no_wrap=True)
    table.add_column("people", justify="right", no_wrap=True)
    # Those in trouble first, so that they are seen when not all fit.
    ordered = list(snapshot.cameras)
    if len(ordered) > most:
        ordered.sort(key=lambda row: row.state == "up")
    for row in ordered[:most]:
        table.add_row(
            Text(printable(row.camera)),
            Text(f"● {row.state}", style=_STATES[row.state]),
            Text(f"{row.fps_in:.1f}"),
            Text(f"{row.fps_used:.1f}", style="" if row.limit_fps is None else "red"),
            Text(str(row.dropped)),
            Text("-" if row.latency_s is None else f"{row.latency_s * 1000:.0f} ms"),
            Text(row.clock or "-"),
            Text(f"{row.size[0]}x{row.size[1]}" if row.size else "-"),
            Text(str(sum(person.camera == row.camera for person in snapshot.people))),
        )
    if len(snapshot.cameras) > most:
        table.add_row(Text(f"and {len(snapshot.cameras) - most} more", style="dim"))
    return table


def _people(snapshot: Snapshot, most: int, zone: tzinfo | None, *, is_narrow: bool) -> Table:
    table = _grid(is_narrow=is_narrow)
    table.add_column(
        "person", no_wrap=True, overflow="ellipsis", min_width=14, max_width=_MOST_NAME if is_narrow else None
    )
    table.add_column("camera", no_wrap=True, overflow="ellipsis", max_width=_MOST_CAMERA if is_narrow else None)
    table.add_column("since", no_wrap=True)
    table.add_column("for", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("similarity", no_wrap=True, min_width=15)
    rows = sorted(snapshot.people, key=lambda row: (_number(row.person), row.since))
    groups = [list(group) for _, group in groupby(rows, key=lambda row: row.person)]
    # People on several cameras first; then the others, by number.
    groups.sort(key=lambda group: len(group) < 2)
    shown = 0
    for group in groups:
        for index, row in enumerate(group):
            shown += 1
            if shown <= most:
                table.add_row(*_person(row, snapshot.at, zone, is_first=index == 0, is_several=len(group) > 1))
    if shown > most:
        table.add_row(Text(f"and {shown - most} more", style="dim"))
    if not shown:
        table.add_row(Text("no people in view", style="dim"))
    return table


def _person(row: PersonRow, at: float, zone: tzinfo | None, *, is_first: bool, is_several: bool) -> tuple[Text, ...]:
    colour = _COLOURS[_number(row.person)[1] % len(_COLOURS)]
    person = printable(row.person)
    name = Text(person if is_first else f"{' ' * (len(person) - 1)}└", style=f"bold {colour}")
    if is_several and is_first:
        name.append(" ⇄", style="bold")
    if row.label and is_first:
        name.append(f" {printable(row.label)}", style="not bold")
    return (
        name,
        Text(printable(row.camera)),
        Text(local_clock(row.since, zone)),
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
    where = f"   events on {printable(snapshot.events_to)}" if snapshot.events_to else ""
    return Text(f" Ctrl-C stops{where}", style="dim", no_wrap=True, overflow="ellipsis")


def _number(person: str) -> tuple[str, int]:
    site, _, number = person.rpartition("-")
    return (site, int(number)) if number.isdecimal() and len(number) < 20 else (person, 0)


def _span(seconds: float) -> str:
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"
