"""`reid-stream identity`: look at people, and decide about them: merge, split, name, erase, undo; and who decided what.

What is decided goes to the daemon as an instruction on a Redis Stream, and comes back as events. Where no daemon runs,
the next one carries it out.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reid_stream.commands.reach import reach

if TYPE_CHECKING:
    from rich.table import Table

    from reid_stream.instructions import Instruction
    from reid_stream.operators.client import InstructionClient
    from reid_stream.publish.projection import PersonView, SiteView

app = typer.Typer(help="Look at people, and decide about them yourself.", no_args_is_help=True)

Settings = Annotated[Path | None, typer.Option("--cameras", help="cams.yaml: where Redis is, how to get in, the site.")]
Url = Annotated[str, typer.Option(help="Redis that the daemon writes to.", envvar="REID_STREAM_REDIS")]
Site = Annotated[str, typer.Option(help="`site` of cams.yaml.")]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
Who = Annotated[str | None, typer.Option(help="Who decides, for the record; default: user and machine.")]
Why = Annotated[str, typer.Option(help="Why, for the record.")]
Wait = Annotated[float, typer.Option(min=0, help="Seconds to wait for the daemon; 0: hand in and go.")]
_URL, _SITE, _WAIT_S, _ERASE_S = "redis://127.0.0.1:6379/0", "site", 10.0, 120.0


@app.command("list")
def list_people(settings: Settings = None, url: Url = _URL, site: Site = _SITE, as_json: Json = False) -> None:
    """Who is known now."""
    from reid_stream.operators.listing import list_identities

    client, where, site = _connect(settings, url, site)
    rows = list_identities(client, site, where)
    if as_json:
        _print_json(rows)
        return
    table = _table("person", "name", "state", "here", "last seen", "first seen", "revision")
    for row in rows:
        last = f"{_time(row.seen_at)} {row.camera or ''}"
        table.add_row(
            row.person, row.label, row.state, " ".join(row.here), last, _time(row.first_seen_at), str(row.revision)
        )
    _print(table)
    _print(f"{len(rows)} people, {sum(bool(row.here) for row in rows)} in view", dim=True)


@app.command()
def show(
    person: Annotated[str, typer.Argument(help="Global ID, such as shop-7.")],
    settings: Settings = None,
    url: Url = _URL,
    site: Site = _SITE,
    as_json: Json = False,
    explain: Annotated[
        Path | None, typer.Option(help="PNG file: why the least sure two tracks match, and where the network looks.")
    ] = None,
    beside: Annotated[
        str | None, typer.Option(help="With --explain: another person, and why they might be one.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="With --explain: the tracklet store; default: cams.yaml's.")
    ] = None,
) -> None:
    """One person: visits, and how the identity came to be what it is."""
    if explain is None and (beside is not None or store is not None):
        from reid_stream.errors import ConfigError

        raise ConfigError("--beside and --store belong to --explain")
    client, where, site = _connect(settings, url, site)
    fold = _fold(client, where, site)
    known = _find(fold, person)
    if explain is not None:
        other = None if beside is None else _find(fold, beside).person
        _print(_explained(settings, store, known.person, other, explain))
        return
    if as_json:
        import msgspec

        found = {
            **msgspec.to_builtins(known),
            "tracks": [msgspec.to_builtins(track) for track in known.tracks.values()],
        }
        _print_json(found | {"probability": known.probability})
        return
    if known.person != person:
        _print(f"{person} is {known.person} now\n")
    sure = "" if known.probability is None else f", P {known.probability:.2f} for its least sure track"
    name = f" ({known.label})" if known.label else ""
    _print(f"{known.person}{name}: {known.state}, revision {known.revision}, {len(known.tracks)} tracks{sure}\n")
    visits = _table("visit", "camera", "from", "to", "", "tracks")
    for number, stay in enumerate(known.visits, 1):
        names = " ".join(f"{run}/{track}" for _, run, track in sorted(stay.tracks))
        visits.add_row(
            str(number), stay.camera, _time(stay.since), _time(stay.last_at), "" if stay.is_over else "here", names
        )
    _print(visits)
    _print("")
    history = _table("when", "what", "", "P", "by")
    for change in known.history:
        sureness = "" if change.probability is None else f"{change.probability:.2f}"
        history.add_row(_time(change.at), change.what, change.text, sureness, change.by or "the matcher")
    _print(history)


@app.command()
def merge(
    gone: Annotated[str, typer.Argument(help="The ID that goes.")],
    into: Annotated[str, typer.Argument(help="The ID that stays.")],
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="They were seen side by side, but as one body found twice.")
    ] = False,
    settings: Settings = None,
    url: Url = _URL,
    site: Site = _SITE,
    who: Who = None,
    why: Why = "",
    wait: Wait = _WAIT_S,
    as_json: Json = False,
) -> None:
    """Two people are one; the matcher never takes them apart again."""
    from reid_stream.instructions import MergePeople
    from reid_stream.records import GlobalId

    desk, _ = _desk(settings, url, site)
    _ask(
        desk,
        lambda words: MergePeople(gone=GlobalId(gone), into=GlobalId(into), duplicates=duplicates, **words),
        who,
        why,
        wait,
        as_json,
    )


@app.command()
def split(
    person: Annotated[str, typer.Argument(help="Whose tracks some are not.")],
    visit: Annotated[list[int] | None, typer.Option(help="Number of a visit, as `show` counts (repeatable).")] = None,
    camera: Annotated[list[str] | None, typer.Option(help="All visits to this camera (repeatable).")] = None,
    track: Annotated[list[str] | None, typer.Option(help="CAMERA/RUN/NUMBER (repeatable).")] = None,
    settings: Settings = None,
    url: Url = _URL,
    site: Site = _SITE,
    who: Who = None,
    why: Why = "",
    wait: Wait = _WAIT_S,
    as_json: Json = False,
) -> None:
    """Some visits or tracks are somebody else's, a new person's; the two are apart for good."""
    from reid_stream.errors import ConfigError
    from reid_stream.instructions import SplitTracks, TrackSpan
    from reid_stream.records import CameraId, GlobalId

    if not visit and not camera and not track:
        raise ConfigError("a split must say what leaves: --visit, --camera or --track, found none of them")
    desk, fold = _desk(settings, url, site)
    tracks = [_track(text) for text in track or ()]
    if visit:
        stays = _find(fold(), person).visits
        wrong = [number for number in visit if not 1 <= number <= len(stays)]
        if wrong:
            raise ConfigError(
                f"--visit must be 1 to {len(stays)}, as `identity show {person}` counts, found {wrong[0]}"
            )
        tracks += [key for number in visit for key in sorted(stays[number - 1].tracks)]
    visits = tuple(TrackSpan(camera=CameraId(name)) for name in camera or ())
    _ask(
        desk,
        lambda words: SplitTracks(person=GlobalId(person), tracks=tuple(tracks), visits=visits, **words),
        who,
        why,
        wait,
        as_json,
    )


@app.command()
def name(
    person: Annotated[str, typer.Argument(help="Global ID.")],
    label: Annotated[str, typer.Argument(help="What people call this person; empty for nothing any more.")],
    settings: Settings = None,
    url: Url = _URL,
    site: Site = _SITE,
    who: Who = None,
    why: Why = "",
    wait: Wait = _WAIT_S,
    as_json: Json = False,
) -> None:
    """Call a person something."""
    from reid_stream.instructions import NamePerson
    from reid_stream.records import GlobalId

    desk, _ = _desk(settings, url, site)
    _ask(desk, lambda words: NamePerson(person=GlobalId(person), label=label, **words), who, why, wait, as_json)


@app.command()
def erase(
    person: Annotated[str, typer.Argument(help="Global ID.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    settings: Settings = None,
    url: Url = _URL,
    site: Site = _SITE,
    who: Who = None,
    why: Why = "",
    wait: Wait = _ERASE_S,
    as_json: Json = False,
) -> None:
    """Delete all that is kept of a person: vectors, crops, journal, name. Whoever comes back is somebody new."""
    from reid_stream.instructions import ErasePerson
    from reid_stream.records import GlobalId

    if not yes:
        typer.confirm(f"Delete all that is kept of {person}? This cannot be undone.", abort=True, err=True)
    desk, _ = _desk(settings, url, site)
    _ask(desk, lambda words: ErasePerson(person=GlobalId(person), **words), who, why, wait, as_json)


@app.command()
def undo(
    instruction: Annotated[str, typer.Argument(help="Its id, as `log` shows it.")],
    settings: Settings = None,
    url: Url = _URL,
    site: Site = _SITE,
    who: Who = None,
    why: Why = "",
    wait: Wait = _WAIT_S,
    as_json: Json = False,
) -> None:
    """Take an earlier merge, split or name back."""
    from reid_stream.instructions import Undo

    desk, _ = _desk(settings, url, site)
    _ask(desk, lambda words: Undo(instruction=instruction, **words), who, why, wait, as_json)


@app.command()
def log(settings: Settings = None, url: Url = _URL, site: Site = _SITE, as_json: Json = False) -> None:
    """Everything that people decided, when, why, and what became of it."""
    from reid_stream.instructions import Erased

    desk, _ = _desk(settings, url, site)
    entries = [entry for entry in desk.entries() if not isinstance(entry.instruction, Erased)]
    if as_json:
        _print_json(entries)
        return
    table = _table("id", "when", "who", "what", "why", "outcome")
    for entry in entries:
        said, answer = entry.instruction, entry.answer
        outcome = "waits for a daemon" if answer is None else f"{answer.outcome}: {answer.text}"
        table.add_row(said.id, _time(said.at), said.who, said.told, said.why, outcome)
    _print(table)


def _connect(settings: Path | None, url: str, site: str) -> tuple[Any, str, str]:
    from reid_stream.config.settings import Redis
    from reid_stream.publish.redis_client import check, connect

    login, url, site = reach(settings, url, site)
    client = connect(login or Redis(), url=url)
    check(client, url)
    return client, url, site


def _desk(settings: Path | None, url: str, site: str) -> "tuple[InstructionClient, Callable[[], SiteView]]":
    from reid_stream.operators.client import InstructionClient

    client, where, site = _connect(settings, url, site)
    return InstructionClient(client, site, where), lambda: _fold(client, where, site)


def _fold(client: Any, where: str, site: str) -> "SiteView":
    from reid_stream.publish.projection import SiteView
    from reid_stream.publish.subscribe import Subscription

    events = Subscription(client, where=where, site=site, start="0", types=(), cameras=(), block_s=0)
    return SiteView(event.data for event in events)


def _explained(settings: Path | None, store: Path | None, person: str, other: str | None, out: Path) -> str:
    from reid_stream.bundles import catalog
    from reid_stream.config import cams_yaml
    from reid_stream.config.settings import Models
    from reid_stream.errors import ConfigError
    from reid_stream.explain import page

    found = None if settings is None else cams_yaml.load(settings)
    folder = store or (found.store.folder if found is not None else None)
    if folder is None:
        raise ConfigError("--explain needs the crops: --cameras with store.folder set, or --store FOLDER")
    models = Models() if found is None else found.models
    return page(catalog.find(models.embedder, "embedder"), folder, person, other, out)


def _find(fold: "SiteView", person: str) -> "PersonView":
    from reid_stream.errors import ConfigError
    from reid_stream.records import GlobalId

    known = fold.people.get(fold.successor(GlobalId(person)))
    if known is None:
        became = fold.gone.get(GlobalId(person), "the events do not name it")
        raise ConfigError(f"{person} must be known now, but: {became}; `identity list` shows who is")
    return known


def _ask(
    desk: "InstructionClient",
    say: "Callable[[dict[str, Any]], Instruction]",
    who: str | None,
    why: str,
    wait_s: float,
    as_json: bool,
) -> None:
    import getpass
    import socket

    from reid_stream.errors import ConfigError
    from reid_stream.operators.client import RefusedError

    try:
        said = say({"at": time.time(), "who": who or f"{getpass.getuser()}@{socket.gethostname()}", "why": why})
    except ValueError as error:
        raise ConfigError(str(error)) from None
    behind = desk.events_end()
    place = desk.submit(said)
    answer = desk.answer(place, behind, wait_s) if wait_s > 0 else None
    if answer is None:
        _print(
            f"{place} is handed in, but not answered yet; a daemon that is not running does it when it is started, and"
            " `identity log` tells",
            error=True,
        )
        return
    if answer.outcome == "refused":
        raise RefusedError(answer.text)
    if as_json:
        _print_json(answer)
    else:
        _print(f"{answer.text}\nundo: reid-stream identity undo {place}" if answer.do != "erase" else answer.text)


def _track(text: str) -> Any:
    from reid_stream.errors import ConfigError

    camera, _, rest = text.partition("/")
    run, _, number = rest.rpartition("/")
    if not camera or not run or not number.isdecimal():
        raise ConfigError(f"--track must be CAMERA/RUN/NUMBER, as `identity show` lists them, found {text!r}")
    return camera, run, int(number)


def _time(at: float | None) -> str:
    from datetime import UTC, datetime

    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _table(*columns: str) -> "Table":
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    table.columns[0].no_wrap = True  # IDs are there to be copied
    return table


def _print(what: "Table | str", *, dim: bool = False, error: bool = False) -> None:
    from rich.console import Console

    Console(highlight=False, stderr=error).print(what, style="dim" if dim else None, soft_wrap=isinstance(what, str))


def _print_json(what: object) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.encode(what).decode() + "\n")
