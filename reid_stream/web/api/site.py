"""Cameras, topology and system."""

import time
from http import HTTPStatus
from typing import Annotated

import anyio
import anyio.to_thread
from fastapi import APIRouter, HTTPException, Path, Query
from starlette.responses import Response

from reid_stream.records import CameraId
from reid_stream.web.api.parts import PROBLEMS, SiteParts, Viewer
from reid_stream.web.count_schemas import Counts
from reid_stream.web.schemas import CameraName, CameraRecord, SystemRecord, TopologyRecord

router = APIRouter(tags=["site"], responses=PROBLEMS)
_WAIT_S, _LOOK_S = 3.0, 0.04


@router.get("/cameras")
def list_cameras(web: SiteParts, _visitor: Viewer) -> list[CameraRecord]:
    """List cameras with their health."""
    web.feed.refresh()
    return web.overview.cameras()


@router.get("/counts")
def count_people(
    web: SiteParts,
    _visitor: Viewer,
    since: Annotated[float | None, Query(description="UTC seconds; default: a day ago.")] = None,
    until: Annotated[float | None, Query(description="UTC seconds; default: now.")] = None,
    camera: Annotated[CameraName | None, Query(description="Only this camera.")] = None,
) -> Counts:
    """Count unique people per hour, by camera and for the site; stays in zones and crossings of lines."""
    web.feed.refresh()
    end = until if until is not None else time.time()
    return web.overview.counts(since if since is not None else end - 86_400, end, camera)


@router.get(
    "/cameras/{camera}/preview",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, 204: {"description": "No frame yet."}},
)
async def show_preview(
    web: SiteParts,
    _visitor: Viewer,
    camera: Annotated[CameraName, Path()],
    after: Annotated[float, Query(description="Wait, up to 3 s, for a frame captured later, UTC seconds.")] = 0.0,
) -> Response:
    """Return the newest frame of a camera with boxes and names; `X-Captured-At` is its time. Needs `web.enabled`."""
    name = CameraId(camera)
    if name not in {one.id for one in web.cameras.enabled()}:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no camera {camera}")
    web.previews.note_viewer(name)
    end = anyio.current_time() + _WAIT_S
    while (at := web.previews.at(name)) is None or at <= after:
        if anyio.current_time() > end:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        await anyio.sleep(_LOOK_S)
    body = await anyio.to_thread.run_sync(web.previews.jpeg, name)
    return Response(body, media_type="image/jpeg", headers={"X-Captured-At": repr(at), "Cache-Control": "no-store"})


@router.get("/topology")
def show_topology(web: SiteParts, _visitor: Viewer) -> TopologyRecord:
    """Return the learned topology: how people get from camera to camera."""
    return web.overview.topology()


@router.get("/system")
def show_system(web: SiteParts, _visitor: Viewer) -> SystemRecord:
    """Return the daemon's state, its models with their licences, and what bounds what is kept."""
    web.feed.refresh()
    return web.overview.system()
