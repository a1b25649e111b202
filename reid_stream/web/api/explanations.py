"""Why two tracks match: the regions of their best pictures that decide."""

from http import HTTPStatus
from typing import Annotated, Literal, get_args

from fastapi import APIRouter, Depends, HTTPException, Path
from starlette.responses import Response

from reid_stream.web.api.parts import PROBLEMS, SiteParts, Viewer, spends
from reid_stream.web.api.people import TrackNumber, track_of
from reid_stream.web.explanations import DrawnExplanation
from reid_stream.web.journey import API
from reid_stream.web.schemas import CameraName, Record, RunName, TrackRecord
from reid_stream.web.site import WebSite
from reid_stream.web.track_index import IndexedTrack

router = APIRouter(tags=["people"], responses=PROBLEMS)
Name = Literal["left-alike", "right-alike", "left-apart", "right-apart"]
_ROUTE = "/explanations/{camera}/{run}/{track}/{other_camera}/{other_run}/{other_track}"


class MatchExplanation(Record):
    """Regions of two tracks' best pictures that make them alike, and those that set them apart."""

    left: TrackRecord
    right: TrackRecord
    cosine: float
    """Cosine of the two pictures' vectors."""
    probability: float
    """P(same person) of these two pictures alone."""
    cosine_covered: float
    """Cosine with the hottest fifth of both pictures covered."""
    cosine_covered_elsewhere: float
    """Mean cosine with regions of the same shape covered elsewhere: the higher than `cosine_covered`, the more the
    regions account for the match."""
    pictures: dict[Name, str]
    """Paths of JPEGs: the regions on the pictures."""
    model: str
    """Hash of the embedder."""


def _pair_of(
    web: SiteParts,
    camera: Annotated[CameraName, Path()],
    run: Annotated[RunName, Path()],
    track: TrackNumber,
    other_camera: Annotated[CameraName, Path()],
    other_run: Annotated[RunName, Path()],
    other_track: TrackNumber,
) -> tuple[IndexedTrack, IndexedTrack]:
    return track_of(web, camera, run, track), track_of(web, other_camera, other_run, other_track)


TrackPair = Annotated[tuple[IndexedTrack, IndexedTrack], Depends(_pair_of)]
"""Two stored tracks of a path."""


def track_path(track: TrackRecord) -> str:
    """Return a track's part of a path."""
    return f"{track.camera}/{track.run}/{track.track}"


def explanation_path(pair: tuple[IndexedTrack, IndexedTrack]) -> str:
    """Return the path of an explanation below the API's."""
    return "/explanations/" + "/".join(str(part) for track in pair for part in track.key)


@router.get(_ROUTE, dependencies=[Depends(spends("search"))])
def explain_match(web: SiteParts, _visitor: Viewer, pair: TrackPair) -> MatchExplanation:
    """Explain why the best pictures of two tracks match, or do not; takes a second or two the first time."""
    found = _explained(web, pair)
    path = f"{API}{explanation_path(pair)}"
    return MatchExplanation(
        left=web.directory.track(pair[0]),
        right=web.directory.track(pair[1]),
        cosine=found.regions.cosine,
        probability=found.regions.same,
        cosine_covered=found.regions.covered,
        cosine_covered_elsewhere=found.regions.covered_elsewhere,
        pictures={name: f"{path}/{name}" for name in get_args(Name)},
        model=found.regions.bundle,
    )


@router.get(f"{_ROUTE}/{{picture}}", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
def show_explanation(
    web: SiteParts,
    _visitor: Viewer,
    pair: TrackPair,
    picture: Name,
) -> Response:
    """Return one picture of an explanation: the regions that make it like the other, or set it apart."""
    return Response(_explained(web, pair).pictures[picture], media_type="image/jpeg")


def _explained(web: WebSite, pair: tuple[IndexedTrack, IndexedTrack]) -> DrawnExplanation:
    try:
        return web.explanations.explain(*pair)
    except OSError:
        raise HTTPException(HTTPStatus.NOT_FOUND, "a picture of these tracks is not stored any more") from None
