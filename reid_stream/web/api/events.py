"""Events: the latest as JSON, all as server-sent events that resume where a client was."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from http import HTTPStatus
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Header, HTTPException, Query, Request
from starlette.responses import Response, StreamingResponse

from reid_stream.events import PREFIX
from reid_stream.publish.event_check import check_event
from reid_stream.publish.stream_ids import Position, start_of
from reid_stream.publish.subscribe import Received, subscribe
from reid_stream.web.api.parts import PROBLEMS, SiteParts, Viewer
from reid_stream.web.guard import cookie_of
from reid_stream.web.site import WebSite, redis_url

router = APIRouter(tags=["events"], responses=PROBLEMS)
_PING_S = 15.0
"""A comment after so long without an event, so that proxies keep the connection and sessions are looked at."""
_OF_PROXY_S = 600.0
"""Longest stream of a user whom a proxy has signed in: the next request for it goes through the proxy's own check."""
_PAGE = 200
Types = Annotated[list[str], Query(max_length=50, description="Only these: identity.entered, identity, camera ...")]
Cameras = Annotated[list[str], Query(max_length=200, description="Only events that name one of these cameras.")]


@router.get("/events/recent", response_model=list[dict[str, Any]])
def recent_events(
    web: SiteParts,
    _visitor: Viewer,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    types: Types = [],  # noqa: B006 (FastAPI copies it)
    cameras: Cameras = [],  # noqa: B006
) -> Response:
    """Return the latest events, the newest first, each as CloudEvents JSON with its `position`."""
    web.feed.refresh()
    found = [event for event in web.feed.recent(5000) if _is_wanted(event, types, cameras)][:limit]
    return Response(f"[{','.join(map(_with_position, found))}]", media_type="application/json")


def _with_position(event: Received) -> str:
    """Return an event's JSON with its position; as text, since reading and writing a thousand takes seconds."""
    return f'{event.body.rstrip()[:-1]},"position":"{event.position}"}}'


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "`id` is the position, `data` the event."}},
)
async def follow_events(
    web: SiteParts,
    _visitor: Viewer,
    request: Request,
    start: Annotated[
        str, Query(max_length=64, description="$ (new ones), 0 (all kept), a position or ISO time.")
    ] = "$",
    types: Types = [],  # noqa: B006
    cameras: Cameras = [],  # noqa: B006
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> StreamingResponse:
    """Follow events as server-sent events; `Last-Event-ID` (a position) resumes behind that event."""
    await anyio.to_thread.run_sync(web.feed.refresh)
    try:
        asked = last_event_id or start
        position = web.feed.position if asked == "$" else str(start_of(asked))
    except ValueError as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    if last_event_id and web.feed.fault is None and Position.parse(position) > Position.parse(web.feed.position):
        position = "0-0"  # the stream was deleted since, or came back with lower IDs
    body = _stream(web, request, position, types, cameras)
    # Its first part is taken here, so that too many streams are refused with a status.
    first = await anext(body)
    return StreamingResponse(
        _after(first, body),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _after(first: str, body: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for part in body:
        yield part


async def _stream(
    web: WebSite, request: Request, position: str, types: Collection[str], cameras: Collection[str]
) -> AsyncIterator[str]:
    loop, arrived = asyncio.get_running_loop(), asyncio.Event()
    has_given_way, restarts, began = False, web.feed.restarts, time.monotonic()

    def notify() -> None:
        loop.call_soon_threadsafe(arrived.set)

    def end() -> None:
        nonlocal has_given_way
        has_given_way = True
        notify()

    with web.limits.stream(request.state.address, end), web.feed.listening(notify):
        yield "retry: 2000\n\n"
        while not request.app.state.closing and not has_given_way and _is_known(web, request, began):
            arrived.clear()
            if web.feed.restarts != restarts:
                restarts = web.feed.restarts
                position = str(min(Position.parse(position), Position.parse(web.feed.restarted_behind)))
            page = web.feed.behind(position, _PAGE)
            if page is None:
                page = await anyio.to_thread.run_sync(_older, web, position)
            for event in page:
                position = event.position
                if _is_wanted(event, types, cameras):
                    # Line ends, which JSON may have between its parts, would end the data.
                    body = event.body.replace("\r", " ").replace("\n", " ")
                    yield f"id: {position}\ndata: {body}\n\n"
            if page:
                continue
            try:
                async with asyncio.timeout(_PING_S):
                    await arrived.wait()
            except TimeoutError:
                yield f": {position}\n\n"


def _older(web: WebSite, position: str) -> list[Received]:
    """Read events that memory does not hold, from Redis."""
    found: list[Received] = []
    with subscribe(
        redis_url(web.settings), site=web.settings.site, start=position, settings=web.settings.redis, block_s=0
    ) as subscription:
        while len(found) < _PAGE:
            try:
                event = next(subscription)
                check_event(event)
            except StopIteration:
                break
            except ValueError:  # counted and logged by the feed
                continue
            found.append(event)
    return found


def _is_known(web: WebSite, request: Request, began: float) -> bool:
    """Whether the visitor still has access: a session may end, a user be removed."""
    if web.sessions.is_open:
        return True
    if request.state.is_of_proxy:
        return time.monotonic() - began < _OF_PROXY_S
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else None
    return web.sessions.visitor(bearer, cookie_of(dict(request.headers)), lambda: None) is not None


def _is_wanted(event: Received, types: Collection[str], cameras: Collection[str]) -> bool:
    short = event.type.removeprefix(PREFIX)
    if types and not any(short == wanted or short.startswith(wanted + ".") for wanted in types):
        return False
    return not cameras or getattr(event.data, "camera", None) in cameras
