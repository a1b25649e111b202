"""Search by an uploaded picture or by a stored track."""

from http import HTTPStatus
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, HTTPException, Query, Request

from reid_stream.web import pictures
from reid_stream.web.api.parts import PROBLEMS, SiteParts, Viewer, spends
from reid_stream.web.api.people import track_of
from reid_stream.web.schemas import CameraName, RunName, SearchResult

router = APIRouter(tags=["search"], responses=PROBLEMS, dependencies=[Depends(spends("search"))])
Limit = Annotated[int, Query(ge=1, le=200)]
_waiting = anyio.CapacityLimiter(2)
"""Most searches at once: one is computed while the next is read."""
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("image/jpeg", "image/png", "image/webp")
        },
    }
}


@router.post("/search", openapi_extra=_BODY)
async def search_by_picture(web: SiteParts, _visitor: Viewer, request: Request, limit: Limit = 20) -> SearchResult:
    """Rank people by a picture of one (JPEG, PNG or WebP as the body); in a wide picture the surest person counts."""
    body = await request.body()

    def search() -> SearchResult:
        web.feed.refresh()
        return web.search.by_picture(pictures.decode(body), limit)

    try:
        return await anyio.to_thread.run_sync(search, limiter=_waiting)
    except pictures.PictureError as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None


@router.get("/search")
def search_by_track(
    web: SiteParts,
    _visitor: Viewer,
    camera: Annotated[CameraName, Query()],
    run: Annotated[RunName, Query()],
    track: Annotated[int, Query(ge=0, le=2**53)],
    limit: Limit = 20,
) -> SearchResult:
    """Rank people by a stored track; the track's own person comes first."""
    web.feed.refresh()
    found = web.search.by_track(track_of(web, camera, run, track), limit)
    if found is None:
        raise HTTPException(HTTPStatus.CONFLICT, "this track has no vectors of the present embedder; upload its crop")
    return found
