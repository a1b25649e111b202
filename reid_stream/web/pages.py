"""The console's pages, rendered from the same records as the API; what they change goes through the API."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

import jinja2
import msgspec
from fastapi import APIRouter, HTTPException, Query, Request
from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse, Response

from reid_stream.records import GlobalId
from reid_stream.web.api.cameras import Admin, entry_of
from reid_stream.web.api.corrections import list_instructions
from reid_stream.web.api.explanations import TrackPair, explanation_path, track_path
from reid_stream.web.api.parts import SiteParts, Viewer, visitor_of
from reid_stream.web.api.people import track_of
from reid_stream.web.counts import HOUR_S
from reid_stream.web.directory import PeopleFilter
from reid_stream.web.drawing import hour_bars, lanes, topology_graph
from reid_stream.web.journey import TRACKS, VISITS, Window
from reid_stream.web.schemas import CameraName, Person, PersonId, TrackRecord
from reid_stream.web.sessions import Visitor
from reid_stream.web.site import WebSite

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
_EACH = 60
"""People on a page."""
_OFFERED = 300
"""People offered where a person's other ID is typed."""
_NAV = (
    ("wall", "Wall", "w"),
    ("people", "People", "p"),
    ("cameras", "Cameras", "c"),
    ("search", "Search", "s"),
    ("review", "Review", "r"),
    ("events", "Events", "e"),
    ("topology", "Topology", "t"),
    ("corrections", "Corrections", "l"),
    ("system", "System", "y"),
)
"""Path, name, and the key that opens it after `g`."""
_NONE = "\N{EN DASH}"
Text = Annotated[str, Query(max_length=100)]
Name = Annotated[str, Query(max_length=63)]


def _time(at: float | None) -> Markup:
    """Render a time: in the browser's zone once its script has run, in UTC without."""
    if not at or not math.isfinite(at):
        return Markup("{}").format(_NONE)
    try:
        moment = datetime.fromtimestamp(at, UTC)
    except (OverflowError, ValueError, OSError):  # no year from 1 to 9999
        return Markup("{}").format(_NONE)
    template = Markup('<time datetime="{}" data-at="{:.3f}">{}</time>')
    return template.format(moment.isoformat(), at, moment.strftime("%Y-%m-%d %H:%M:%SZ"))


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return _NONE
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    if seconds < 2 * 86_400:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    return f"{seconds / 86_400:.0f} days"


def _percent(share: float | None) -> str:
    if share is None:
        return _NONE
    return f"{100 * share:.1f} %" if 0.99 <= share < 1 else f"{100 * share:.0f} %"


def _size(count: float | None) -> str:
    if count is None:
        return _NONE
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit in ("B", "kB") else f"{count:.1f} {unit}"
        count /= 1000
    return ""


_environment = jinja2.Environment(
    loader=jinja2.PackageLoader("reid_stream.web"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(at=_time, duration=_duration, percent=_percent, size=_size)


def page(request: Request, name: str, status: int = HTTPStatus.OK, **values: Any) -> HTMLResponse:
    """Render a template."""
    web: WebSite = request.app.state.web
    here = name.partition(".")[0]
    text = _environment.get_template(name).render(
        nav=_NAV,
        here={"person": "people", "camera": "cameras", "add_camera": "cameras", "explain": "people"}.get(here, here),
        site=web.settings.site,
        visitor=visitor_of(request),
        needs_login=web.sessions.accounts is not None,
        is_of_proxy=request.state.is_of_proxy,
        fault=web.feed.fault,
        is_complete=web.feed.is_complete,
        is_running=web.overview.is_running(),
        silent_s=web.overview.silent_s,
        **values,
    )
    return HTMLResponse(text, status)


def error_page(request: Request, status: int, detail: str) -> Response:
    """Render an error."""
    return page(request, "error.html", status, code=status, title=HTTPStatus(status).phrase, detail=detail)


@router.get("/")
def home(_visitor: Viewer) -> Response:
    """Go to the people."""
    return RedirectResponse("/people", HTTPStatus.SEE_OTHER)


@router.get("/login")
def login(request: Request) -> Response:
    """Sign in, where that is needed."""
    return (
        page(request, "login.html")
        if visitor_of(request) is None
        else RedirectResponse("/people", HTTPStatus.SEE_OTHER)
    )


@router.get("/people")
def people(
    web: SiteParts,
    _visitor: Viewer,
    request: Request,
    here: Annotated[str, Query(pattern="^(|yes|no)$")] = "",
    camera: Name = "",
    since: Annotated[str, Query(pattern="^(|[0-9]{1,9})$")] = "",
    text: Text = "",
    offset: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """All people, with filters."""
    web.feed.refresh()
    now = datetime.now(UTC).timestamp()
    wanted = PeopleFilter(
        here={"yes": True, "no": False}.get(here),
        camera=camera or None,
        since=now - int(since) if since else None,
        text=text,
    )
    found = web.directory.page(wanted, offset, _EACH)
    asked = {"here": here, "camera": camera, "since": since, "text": text}

    def link(place: int) -> str:
        return "/people?" + urlencode({key: value for key, value in {**asked, "offset": place or ""}.items() if value})

    return page(
        request,
        "people.html",
        people=found.people,
        total=found.total,
        in_view=found.in_view,
        offset=offset,
        before=link(max(0, offset - _EACH)) if offset else "",
        after=link(offset + _EACH) if offset + _EACH < found.total else "",
        asked=asked,
        cameras=[one.id for one in web.cameras.all()],
        has_store=web.index.store is not None,
    )


@router.get("/people/{person}")
def person(
    web: SiteParts,
    _visitor: Viewer,
    request: Request,
    person: PersonId,
    offset: Annotated[int, Query(ge=0)] = 0,
    only: Annotated[bool, Query()] = False,
    tracks_offset: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """One person's journey.

    `offset`: how many of the latest visits to leave out; `only`: one visit, of whose tracks so many of the latest are
    left out.
    """
    web.feed.refresh()
    found = web.directory.person(
        person, Window(1 if only else VISITS, offset), Window(TRACKS, tracks_offset if only else 0)
    )
    if found is None:
        fate = web.directory.fate(person)
        status = HTTPStatus.GONE if fate else HTTPStatus.NOT_FOUND
        return error_page(request, status, f"{person} is {fate}." if fate else f"No person is called {person}.")
    colors = _colors(web)
    first = max(1, found.visits - offset - len(found.journey) + 1)
    return page(
        request,
        "person.html",
        person=found,
        first=first,
        offset=offset,
        only=only,
        tracks_offset=tracks_offset,
        most_visits=VISITS,
        most_tracks=TRACKS,
        lanes=lanes(found, colors, first),
        colors=colors,
        others=[one for one in web.directory.latest(_OFFERED) if one[0] != found.person],
        has_vectors=any(track.pictures for visit in found.journey for track in visit.tracks),
        beside=_beside(found),
    )


@router.get("/wall")
def wall(web: SiteParts, _visitor: Viewer, request: Request) -> Response:
    """Cameras, live."""
    cameras = [one.id for one in web.cameras.enabled()]
    return page(request, "wall.html", cameras=cameras, is_published=web.settings.web.enabled)


@router.get("/cameras")
def cameras(web: SiteParts, visitor: Viewer, request: Request) -> Response:
    """Health of the cameras."""
    web.feed.refresh()
    records = web.overview.cameras()
    labels = {
        person: summary.label or person
        for camera in records
        for person in camera.here
        if (summary := web.directory.summary(GlobalId(person))) is not None
    }
    now = datetime.now(UTC).timestamp()
    counts = web.overview.counts(now - 23 * HOUR_S, now)
    configured = web.cameras.all()
    return page(
        request,
        "cameras.html",
        cameras=records,
        labels=labels,
        hours=hour_bars(counts.hours, now),
        places=web.overview.places(now - 23 * HOUR_S),
        zoned={one.id: len(one.zones) + len(one.lines) for one in configured},
        switched_off=[one.id for one in configured if not one.enabled],
        may_change=_may_change(web, visitor),
    )


@router.get("/cameras/{camera}")
def camera(web: SiteParts, visitor: Viewer, request: Request, camera: CameraName) -> Response:
    """One camera: its zones, lines and region, its entry in cams.yaml."""
    found = next((one for one in web.cameras.all() if one.id == camera), None)
    if found is None:
        return error_page(request, HTTPStatus.NOT_FOUND, f"There is no camera {camera}.")
    places = {"zones": found.zones, "lines": found.lines, "region": found.region, "ignore": found.ignore}
    return page(
        request,
        "camera.html",
        camera=found.id,
        places=places,
        is_published=web.settings.web.enabled,
        entry=entry_of(web, found.id) if _may_change(web, visitor) else None,
    )


@router.get("/add-camera")
def add_camera(web: SiteParts, _visitor: Admin, request: Request) -> Response:
    """Add a camera."""
    if web.cameras.path is None:
        return error_page(request, HTTPStatus.CONFLICT, "This site has no cams.yaml that could be changed.")
    return page(request, "add_camera.html")


@router.get("/search")
def search(
    web: SiteParts,
    _visitor: Viewer,
    request: Request,
    camera: Name = "",
    run: Annotated[str, Query(max_length=100)] = "",
    track: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """Search by a picture, or by a stored track."""
    result, asked = None, None
    if camera:
        web.feed.refresh()
        request.state.limits.spend(request.state.address, "search")
        stored = track_of(web, camera, run, track)
        asked = web.directory.track(stored)
        result = web.search.by_track(stored, 24)
        if result is None:
            raise HTTPException(HTTPStatus.CONFLICT, "This track has no vectors of the present embedder.")
    return page(request, "search.html", result=result, asked=asked, has_store=web.index.store is not None)


@router.get("/explain/{camera}/{run}/{track}/{other_camera}/{other_run}/{other_track}")  # noqa: FAST003 (of TrackPair)
def explain(web: SiteParts, _visitor: Viewer, request: Request, tracks: TrackPair) -> Response:
    """Why two tracks' pictures match."""
    web.feed.refresh()
    sides = []
    for track in tracks:
        owner = web.directory.owner(track.key, track)
        sides.append((web.directory.summary(owner) if owner is not None else None, web.directory.track(track)))
    return page(request, "explain.html", sides=sides, path=explanation_path(tracks))


@router.get("/review")
def review(web: SiteParts, _visitor: Viewer, request: Request) -> Response:
    """Pairs of which the matcher is not sure."""
    return page(request, "review.html", has_store=web.index.store is not None)


@router.get("/events")
def events(web: SiteParts, _visitor: Viewer, request: Request) -> Response:
    """Events, live."""
    web.feed.refresh()
    recent = [{**msgspec.json.decode(event.body), "position": event.position} for event in web.feed.recent(300)]
    return page(request, "events.html", recent=recent, cameras=[one.id for one in web.cameras.all()])


@router.get("/topology")
def topology(web: SiteParts, _visitor: Viewer, request: Request) -> Response:
    """How people get from camera to camera."""
    record = web.overview.topology()
    return page(request, "topology.html", topology=record, graph=topology_graph(record))


@router.get("/corrections")
def corrections(web: SiteParts, visitor: Viewer, request: Request) -> Response:
    """Instructions with their operators and outcomes."""
    web.feed.refresh()
    return page(request, "corrections.html", entries=list_instructions(web, visitor, 200))


@router.get("/system")
def system(web: SiteParts, _visitor: Viewer, request: Request) -> Response:
    """The daemon, its models and its bounds."""
    web.feed.refresh()
    return page(request, "system.html", system=web.overview.system())


def _beside(person: Person) -> dict[str, str]:
    """Return the path that explains each track beside the person's best one of another camera, else of the same."""

    def quality(track: TrackRecord) -> float:
        return max(picture.quality for picture in track.pictures)

    tracks = [track for visit in person.journey for track in visit.tracks if track.pictures]
    best: dict[str, list[TrackRecord]] = {}
    for track in sorted(tracks, key=quality, reverse=True):
        best.setdefault(track.camera, []).append(track)
    found = {}
    for track in tracks:
        others = [of_camera[0] for camera, of_camera in best.items() if camera != track.camera]
        others = others or [other for other in best[track.camera][:2] if other is not track]
        if others:
            found[track_path(track)] = f"/explain/{track_path(max(others, key=quality))}/{track_path(track)}"
    return found


def _may_change(web: WebSite, visitor: Visitor) -> bool:
    """Whether a visitor may change cams.yaml."""
    return visitor.may("admin") and web.cameras.path is not None


def _colors(web: WebSite) -> Callable[[str], int]:
    order = {camera.id: number % 8 for number, camera in enumerate(web.cameras.all())}
    return lambda camera: order.get(camera, 7)
