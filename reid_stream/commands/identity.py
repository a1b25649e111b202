"""`reid-stream identity`: list people, and correct identities: merge, split, name, erase, undo, and the log of it.

A correction goes to the daemon as an instruction on a Redis Stream and comes back as events. Where no daemon runs, the
next one carries it out.
"""

import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reid_stream.commands.reach import CamerasOption, SiteAddress, SiteOption, UrlOption, reach

if TYPE_CHECKING:
    from reid_stream.config.settings import Settings
    from reid_stream.instructions import Instruction
    from reid_stream.operators.client import InstructionClient
    from reid_stream.publish.projection import PersonView, SiteView

app = typer.Typer(help="List people and correct identities.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Who = Annotated[str | None, typer.Option(help="Operator, for the record. Default: user and host name.")]
Why = Annotated[str, typer.Option(help="Reason, for the record.")]
Wait = Annotated[float, typer.Option(min=0, help="Seconds to wait for the daemon's answer; 0 does not wait.")]
_WAIT_S, _ERASE_S = 10.0, 120.0


@app.command("list")
def list_people(
    settings: CamerasOption = None, url: UrlOption = None, site: SiteOption = None, as_json: Json = False
) -> None:
    """List the people that are known now."""
    from reid_stream.commands.identity_tables import print_people
    from reid_stream.console.output import write_json
    from reid_stream.operators.listing import list_identities

    client, at = _connect(settings, url, site)
    rows = list_identities(client, at.site, at.url)
    if as_json:
        write_json(rows)
    else:
        print_people(rows)


@app.command()
def show(
    person: Annotated[str, typer.Argument(help="Global ID, such as shop-7.")],
    settings: CamerasOption = None,
    url: UrlOption = None,
    site: SiteOption = None,
    as_json: Json = False,
    explain: Annotated[
        Path | None,
        typer.Option(help="PNG file to draw: why the least certain two tracks match, and what the network looks at."),
    ] = None,
    beside: Annotated[
        str | None, typer.Option(help="With --explain: another global ID, to see why the two might be one person.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="With --explain: the tracklet store. Default: `store.folder` of cams.yaml.")
    ] = None,
) -> None:
    """Show one person: visits, and the history of the identity."""
    from reid_stream.commands.identity_tables import print_person
    from reid_stream.console.output import Output, write_json
    from reid_stream.errors import ConfigError

    if explain is None and (beside is not None or store is not None):
        raise ConfigError("--beside and --store need --explain, found none; add --explain FILE.png")
    client, at = _connect(settings, url, site)
    view = _site_view(client, at)
    known = _find(view, person, at)
    if explain is not None:
        other = None if beside is None else _find(view, beside, at).person
        Output().say(_explained(settings, store, known.person, other, explain))
        return
    if as_json:
        import msgspec

        found = {
            **msgspec.to_builtins(known),
            "tracks": [msgspec.to_builtins(track) for track in known.tracks.values()],
        }
        write_json(found | {"probability": known.probability})
        return
    print_person(known, person)


@app.command()
def merge(
    gone: Annotated[str, typer.Argument(help="The global ID that goes.")],
    into: Annotated[str, typer.Argument(help="The global ID that stays.")],
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Allow it for two seen side by side: one body detected twice.")
    ] = False,
    settings: CamerasOption = None,
    url: UrlOption = None,
    site: SiteOption = None,
    who: Who = None,
    why: Why = "",
    wait: Wait = _WAIT_S,
    as_json: Json = False,
) -> None:
    """Merge two identities of one person; the matcher never separates them again."""
    from reid_stream.instructions import MergePeople
    from reid_stream.records import GlobalId

    site_client, _ = _site_client(settings, url, site)
    _instruct(
        site_client,
        lambda words: MergePeople(gone=GlobalId(gone), into=GlobalId(into), duplicates=duplicates, **words),
        who,
        why,
        wait,
        as_json,
    )


@app.command()
def split(
    person: Annotated[str, typer.Argument(help="Global ID that holds tracks of two people.")],
    visit: Annotated[
        list[int] | None, typer.Option(help="Number of a visit that leaves, by `identity show` (repeatable).")
    ] = None,
    camera: Annotated[list[str] | None, typer.Option(help="Camera whose visits all leave (repeatable).")] = None,
    track: Annotated[list[str] | None, typer.Option(help="Track that leaves, CAMERA/RUN/NUMBER (repeatable).")] = None,
    settings: CamerasOption = None,
    url: UrlOption = None,
    site: SiteOption = None,
    who: Who = None,
    why: Why = "",
    wait: Wait = _WAIT_S,
    as_json: Json = False,
) -> None:
    """Split visits or tracks off into a new identity; the two stay apart for good."""
    from reid_stream.errors import ConfigError
    from reid_stream.instructions import SplitTracks, TrackSpan
    from reid_stream.records import CameraId, GlobalId

    if not visit and not camera and not track:
        raise ConfigError("a split must name what leaves: --visit, --camera or --track, found none of them")
    site_client, view = _site_client(settings, url, site)
    tracks = [_track(text) for text in track or ()]
    if visit:
        stays = _find(view(), person, site_client.at).visits
        wrong = [number for number in visit if not 1 <= number <= len(stays)]
        if wrong:
            raise ConfigError(
                f"--visit must be 1 to {len(stays)}, as `{site_client.at.hint(f'identity show {person}')}` counts, "
                f"found {wrong[0]}"
            )
        tracks += [key for number in visit for key in sorted(stays[number - 1].tracks)]
    visits = tuple(TrackSpan(camera=CameraId(name)) for name in camera or ())
    _instruct(
        site_client,
        lambda words: SplitTracks(person=GlobalId(person), tracks=tuple(tracks), visits=visits, **words),
        who,
        why,
        wait,
        as_json,
    )


@app.command()
def name(
    person: Annotated[str, typer.Argument(help="Global ID.")],
    label: Annotated[str, typer.Argument(help="Name of the person; empty removes it.")],
    settings: CamerasOption = None,
    url: UrlOption = None,
    site: SiteOption = None,
    who: Who = None,
    why: Why = "",
    wait: Wait = _WAIT_S,
    as_json: Json = False,
) -> None:
    """Name a person."""
    from reid_stream.instructions import NamePerson
    from reid_stream.records import GlobalId

    site_client, _ = _site_client(settings, url, site)
    _instruct(
        site_client, lambda words: NamePerson(person=GlobalId(person), label=label, **words), who, why, wait, as_json
    )


@app.command()
def erase(
    person: Annotated[str, typer.Argument(help="Global ID.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    settings: CamerasOption = None,
    url: UrlOption = None,
    site: SiteOption = None,
    who: Who = None,
    why: Why = "",
    wait: Wait = _ERASE_S,
    as_json: Json = False,
) -> None:
    """Delete everything kept of a person: vectors, crops, journal, name. The person gets a new ID when seen again."""
    from reid_stream.console.printable import printable
    from reid_stream.instructions import ErasePerson
    from reid_stream.records import GlobalId

    if not yes:
        question = f"Delete everything kept of {printable(person)}? This cannot be undone."
        typer.confirm(question, abort=True, err=True)
    site_client, _ = _site_client(settings, url, site)
    _instruct(site_client, lambda words: ErasePerson(person=GlobalId(person), **words), who, why, wait, as_json)


@app.command()
def undo(
    instruction: Annotated[str, typer.Argument(help="ID of the instruction, by `identity log`.")],
    settings: CamerasOption = None,
    url: UrlOption = None,
    site: SiteOption = None,
    who: Who = None,
    why: Why = "",
    wait: Wait = _WAIT_S,
    as_json: Json = False,
) -> None:
    """Undo an earlier merge, split or name."""
    from reid_stream.instructions import Undo

    site_client, _ = _site_client(settings, url, site)
    _instruct(site_client, lambda words: Undo(instruction=instruction, **words), who, why, wait, as_json)


@app.command()
def log(settings: CamerasOption = None, url: UrlOption = None, site: SiteOption = None, as_json: Json = False) -> None:
    """List every instruction: when, by whom, why, and its outcome."""
    from reid_stream.commands.identity_tables import print_log
    from reid_stream.console.output import write_json
    from reid_stream.instructions import Erased

    site_client, _ = _site_client(settings, url, site)
    entries = [entry for entry in site_client.client.entries() if not isinstance(entry.instruction, Erased)]
    if as_json:
        write_json(entries)
    else:
        print_log(entries)


class _SiteClient:
    """The instruction client of a site, and how it was reached."""

    def __init__(self, client: "InstructionClient", at: SiteAddress) -> None:
        self.client = client
        self.at = at


def _connect(settings: Path | None, url: str | None, site: str | None) -> tuple[Any, SiteAddress]:
    from reid_stream.config.settings import Redis
    from reid_stream.publish.redis_client import check, connect

    at = reach(settings, url, site)
    client = connect(at.login or Redis(), url=at.url)
    check(client, at.url)
    return client, at


def _site_client(
    settings: Path | None, url: str | None, site: str | None
) -> "tuple[_SiteClient, Callable[[], SiteView]]":
    from reid_stream.operators.client import InstructionClient

    client, at = _connect(settings, url, site)
    return _SiteClient(InstructionClient(client, at.site, at.url), at), lambda: _site_view(client, at)


def _site_view(client: Any, at: SiteAddress) -> "SiteView":
    from reid_stream.publish.event_check import sound
    from reid_stream.publish.projection import SiteView
    from reid_stream.publish.subscribe import Subscription

    events = Subscription(client, where=at.url, site=at.site, start="0", types=(), cameras=(), block_s=0)
    return SiteView(event.data for event in sound(events))


def _explained(cameras: Path | None, store: Path | None, person: str, other: str | None, out: Path) -> str:
    from reid_stream.bundles import catalog
    from reid_stream.config import cams_yaml
    from reid_stream.config.settings import Models
    from reid_stream.errors import ConfigError
    from reid_stream.explain import page

    found: Settings | None = None if cameras is None else cams_yaml.load(cameras)
    folder = store or (found.store.folder if found is not None else None)
    if folder is None:
        raise ConfigError("--explain needs the crops: give --cameras with store.folder set, or --store FOLDER")
    models = Models() if found is None else found.models
    return page(catalog.find(models.embedder, "embedder"), folder, person, other, out)


def _find(view: "SiteView", person: str, at: SiteAddress) -> "PersonView":
    from reid_stream.errors import ConfigError
    from reid_stream.records import GlobalId

    known = view.people.get(view.successor(GlobalId(person)))
    if known is None:
        became = view.gone.get(GlobalId(person), "the events do not name it")
        raise ConfigError(f"{person} must be known now, but: {became}; `{at.hint('identity list')}` shows who is")
    return known


def _instruct(
    site_client: _SiteClient,
    make: "Callable[[dict[str, Any]], Instruction]",
    who: str | None,
    why: str,
    wait_s: float,
    as_json: bool,
) -> None:
    """Hand an instruction in, wait for the daemon's answer and print it."""
    from reid_stream.console.output import Output, write_json
    from reid_stream.console.printable import printable
    from reid_stream.errors import ConfigError
    from reid_stream.operators.client import RefusedError

    try:
        instruction = make({"at": time.time(), "who": who or _user(), "why": why})
    except ValueError as error:
        raise ConfigError(str(error)) from None
    behind = site_client.client.events_end()
    place = site_client.client.submit(instruction)
    answer = site_client.client.answer(place, behind, wait_s) if wait_s > 0 else None
    if answer is None:
        Output(error=True).say(
            f"{place} is handed in, but not answered yet; if no daemon runs, the next one carries it out. Outcome: "
            f"{site_client.at.hint('identity log')}"
        )
        return
    if answer.outcome == "refused":
        raise RefusedError(printable(answer.text))
    if as_json:
        write_json(answer)
        return
    out = Output()
    out.say(printable(answer.text))
    if answer.do not in ("erase", "undo"):
        out.say(f"undo: {site_client.at.hint(f'identity undo {shlex.quote(place)}')}")


def _user() -> str:
    import getpass
    import os
    import socket

    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user ID without an account
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _track(text: str) -> Any:
    from reid_stream.errors import ConfigError

    camera, _, rest = text.partition("/")
    run, _, number = rest.rpartition("/")
    if not camera or not run or not number.isdecimal():
        raise ConfigError(f"--track must be CAMERA/RUN/NUMBER, as `identity show` lists them, found {text!r}")
    return camera, run, int(number)
