"""Live frames of cameras: of one, or of all cameras of a wall in one answer."""

import asyncio
import secrets
import threading
from collections.abc import Callable, Collection
from http import HTTPStatus
from typing import Annotated

import anyio
import anyio.to_thread
from fastapi import APIRouter, HTTPException, Path, Query, Request
from starlette.responses import Response

from reid_stream.records import CameraId
from reid_stream.web.api.parts import PROBLEMS, SiteParts, Viewer
from reid_stream.web.limits import TooManyError
from reid_stream.web.previews import Live, pace_s
from reid_stream.web.schemas import CameraName
from reid_stream.web.site import WebSite

router = APIRouter(tags=["site"], responses=PROBLEMS)
_WAIT_S = 3.0
_LOOKS = 5
"""Looks for a new frame within the interval between two answers."""
_GIVE_WAY_S = 10.0
"""Time after which a wall that had to give way may ask again."""


@router.get(
    "/cameras/{camera}/preview",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, 204: {"description": "No frame yet."}},
)
async def show_preview(
    web: SiteParts,
    _visitor: Viewer,
    request: Request,
    camera: Annotated[CameraName, Path()],
    after: Annotated[float, Query(description="Wait, up to 3 s, for a frame captured later, UTC seconds.")] = 0.0,
) -> Response:
    """Return the newest frame of a camera with boxes and names; `X-Captured-At` is its time. Needs `web.enabled`."""
    found = await _follow(web, request, [CameraId(camera)], lambda one: one.header.at > after)
    if not found:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    body = await anyio.to_thread.run_sync(web.previews.jpeg, found[0])
    headers = {"X-Captured-At": repr(found[0].header.at), "Cache-Control": "no-store"}
    return Response(body, media_type="image/jpeg", headers=headers)


@router.get(
    "/previews",
    response_class=Response,
    responses={
        200: {
            "content": {"multipart/form-data": {}},
            "description": "A JPEG per camera, its field's name the camera, its file name the UTC seconds of capture.",
        },
        204: {"description": "No new frame."},
    },
)
async def show_previews(
    web: SiteParts,
    _visitor: Viewer,
    request: Request,
    cameras: Annotated[list[CameraName], Query(min_length=1, max_length=200, description="Cameras of the wall.")],
    after: Annotated[
        int, Query(ge=0, le=2**53, description="Wait, up to 3 s, for a frame behind this `X-Position` of an answer.")
    ] = 0,
) -> Response:
    """Return the newest frames of several cameras, of those that have new ones. Needs `web.enabled`."""
    names = [CameraId(camera) for camera in dict.fromkeys(cameras)]
    found = await _follow(web, request, names, lambda one: one.number > after)
    if not found:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    boundary = secrets.token_hex(16)
    body = await anyio.to_thread.run_sync(_form, web, found, boundary)
    headers = {"X-Position": str(max(one.number for one in found)), "Cache-Control": "no-store"}
    return Response(body, media_type=f"multipart/form-data; boundary={boundary}", headers=headers)


def _form(web: WebSite, found: list[Live], boundary: str) -> bytes:
    """Return frames as a form, which browsers read with Response.formData()."""
    parts = [
        (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{one.header.camera}"; '
            f'filename="{one.header.at!r}"\r\nContent-Type: image/jpeg\r\n\r\n'
        ).encode()
        + web.previews.jpeg(one)
        + b"\r\n"
        for one in found
    ]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])


async def _follow(
    web: WebSite, request: Request, cameras: Collection[CameraId], is_new: Callable[[Live], bool]
) -> list[Live]:
    """Wait for this wall's turn, and for a new frame of any camera, up to a few seconds.

    Raises:
        HTTPException: 404, no camera of the site has any of these names.
        TooManyError: too many walls are open.
    """
    known = [CameraId(one.id) for one in web.cameras.enabled() if one.id in cameras]
    if not known:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no camera {', '.join(cameras):.200}")
    has_to_end = threading.Event()
    with web.limits.stream(request.state.address, has_to_end.set, "wall"):
        for camera in known:
            web.previews.note_viewer(camera)
        interval = pace_s(web.limits.count("wall"))
        end = anyio.current_time() + interval + _WAIT_S
        await asyncio.sleep(interval)
        while not (found := [one for one in map(web.previews.newest, known) if one is not None and is_new(one)]):
            if has_to_end.is_set():
                raise TooManyError(_GIVE_WAY_S)
            if anyio.current_time() > end:
                break
            await asyncio.sleep(interval / _LOOKS)
        return found
