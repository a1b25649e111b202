"""People, their journeys and their pictures."""

from http import HTTPStatus
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request
from pydantic import AfterValidator
from starlette.responses import Response

from reid_stream.records import CameraId, TrackId
from reid_stream.store.labels import Key
from reid_stream.web import pictures
from reid_stream.web.api.parts import PROBLEMS, SiteParts, Viewer
from reid_stream.web.directory import PeopleFilter
from reid_stream.web.journey import TRACKS, VISITS, Window, best_picture
from reid_stream.web.schemas import CameraName, People, Person, PersonId, RunName, TrackRecord
from reid_stream.web.site import WebSite
from reid_stream.web.track_index import IndexedTrack

router = APIRouter(tags=["people"], responses=PROBLEMS)


def _known_width(width: int | None) -> int | None:
    if width is not None and width not in pictures.WIDTHS:
        raise ValueError(f"must be one of {', '.join(map(str, pictures.WIDTHS))}")
    return width


Width = Annotated[
    int | None, Query(description="Scale down to so many pixels: 64, 128 or 256."), AfterValidator(_known_width)
]
TrackNumber = Annotated[int, Path(ge=0, le=2**53)]


@router.get("/people")
def list_people(
    web: SiteParts,
    _visitor: Viewer,
    *,
    here: Annotated[bool | None, Query(description="Only those in view, or only others.")] = None,
    camera: Annotated[CameraName | None, Query(description="Only those who were on this camera.")] = None,
    since: Annotated[float | None, Query(description="Seen at or after, UTC seconds.")] = None,
    until: Annotated[float | None, Query(description="Seen at or before, UTC seconds.")] = None,
    text: Annotated[str, Query(max_length=100, description="Part of the label or the global ID.")] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 60,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> People:
    """List people, those in view first, then those seen last."""
    web.feed.refresh()
    wanted = PeopleFilter(here=here, camera=camera, since=since, until=until, text=text)
    found = web.directory.page(wanted, offset, limit)
    return People(people=found.people, total=found.total, is_complete=web.feed.is_complete)


@router.get("/people/{person}")
def show_person(
    web: SiteParts,
    _visitor: Viewer,
    person: Annotated[PersonId, Path()],
    limit: Annotated[int, Query(ge=1, le=500, description="Most visits of the journey: the latest.")] = VISITS,
    offset: Annotated[int, Query(ge=0, description="How many of the latest visits to leave out.")] = 0,
    tracks: Annotated[int, Query(ge=1, le=500, description="Most tracks of each visit: the latest.")] = TRACKS,
    tracks_offset: Annotated[int, Query(ge=0, description="How many of each visit's latest tracks to leave out.")] = 0,
) -> Person:
    """Return a person with journey and history; a merged ID gives the successor.

    `visits` is the number of all visits; `journey` has the latest `limit` of them behind `offset`, each with its latest
    `tracks` tracks behind `tracks_offset`.
    """
    web.feed.refresh()
    found = web.directory.person(person, Window(limit, offset), Window(tracks, tracks_offset))
    if found is None:
        fate = web.directory.fate(person)
        status = HTTPStatus.GONE if fate else HTTPStatus.NOT_FOUND
        raise HTTPException(status, f"{person} is {fate}" if fate else f"no person is called {person}")
    return found


@router.get("/people/{person}/picture", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
def person_picture(
    web: SiteParts, _visitor: Viewer, request: Request, person: Annotated[PersonId, Path()], width: Width = None
) -> Response:
    """Return the best stored picture of a person."""
    tracks = web.directory.stored(web.directory.today(person))
    if best_picture(tracks) is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no picture of {person} is stored")
    best = max(tracks, key=lambda track: max(track.qualities))
    return _jpeg(web, request, best.folder, best.crop(best.best), width)


@router.get("/tracks/{camera}/{run}/{track}")
def show_track(
    web: SiteParts,
    _visitor: Viewer,
    camera: Annotated[CameraName, Path()],
    run: Annotated[RunName, Path()],
    track: TrackNumber,
) -> TrackRecord:
    """Return a stored track with its pictures."""
    return web.directory.track(track_of(web, camera, run, track))


@router.get(
    "/tracks/{camera}/{run}/{track}/crops/{number}",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}},
)
def show_crop(
    web: SiteParts,
    _visitor: Viewer,
    request: Request,
    camera: Annotated[CameraName, Path()],
    run: Annotated[RunName, Path()],
    track: TrackNumber,
    number: Annotated[int, Path(ge=1, le=10_000)],
    width: Width = None,
) -> Response:
    """Return one stored crop of a track, numbered from 1."""
    found = track_of(web, camera, run, track)
    try:
        path = found.crop(number)
    except LookupError:
        raise HTTPException(HTTPStatus.NOT_FOUND, "this crop is not stored any more") from None
    return _jpeg(web, request, found.folder, path, width)


@router.get(
    "/snapshots/{camera}/{run}/{track}/{milliseconds}",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}},
)
def show_snapshot(
    web: SiteParts,
    _visitor: Viewer,
    request: Request,
    camera: Annotated[CameraName, Path()],
    run: Annotated[RunName, Path()],
    track: TrackNumber,
    milliseconds: Annotated[int, Path(ge=0, le=2**53)],
    width: Width = None,
) -> Response:
    """Return the picture that `identity.left` names as the visit's best."""
    return _snapshot(web, request, (CameraId(camera), run, TrackId(track)), milliseconds, width)


@router.get(
    "/snapshots/{camera}/{run}/{track}", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}}
)
def show_track_snapshot(
    web: SiteParts,
    _visitor: Viewer,
    request: Request,
    camera: Annotated[CameraName, Path()],
    run: Annotated[RunName, Path()],
    track: TrackNumber,
    width: Width = None,
) -> Response:
    """Return the best picture of a track; the best so far while the track lasts."""
    return _snapshot(web, request, (CameraId(camera), run, TrackId(track)), None, width)


def _snapshot(web: WebSite, request: Request, key: Key, milliseconds: int | None, width: int | None) -> Response:
    if web.index.get(key) is not None:
        found = track_of(web, *key)
        return _jpeg(web, request, found.folder, found.crop(found.crop_at(milliseconds)), width)
    now = web.index.now(key)
    if now is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no picture of {key[0]}/{key[1]}/{key[2]} is stored")
    return _jpeg(web, request, now, now, width)


def track_of(web: WebSite, camera: str, run: str, track: int) -> IndexedTrack:
    """Return a stored track.

    Raises:
        HTTPException: 404, it is not stored (any more).
    """
    found = web.index.get((CameraId(camera), run, TrackId(track)))
    if found is None or web.directory.is_erased(found):
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no track {camera}/{run}/{track} is stored")
    return found


def _jpeg(web: WebSite, request: Request, dated: FilePath, path: FilePath, width: int | None) -> Response:
    """Return a stored picture; `dated` is the file or folder whose time changes with it."""
    try:
        tag = f'"{dated.stat().st_mtime_ns:x}-{path.stem}-{width or 0}"'
        # Asked again at each use: retention and erasure hold for caches, too.
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if request.headers.get("if-none-match") == tag and path.is_file():
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        body = pictures.jpeg(path, width, blur=web.settings.web.blur)
    except OSError:
        raise HTTPException(HTTPStatus.NOT_FOUND, "this crop is not stored any more") from None
    return Response(body, media_type="image/jpeg", headers=headers)
