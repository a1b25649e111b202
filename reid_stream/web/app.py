"""The application: the API, the pages and their errors, behind the guard."""

import functools
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib import resources

import anyio.to_thread
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from reid_stream import __version__
from reid_stream.errors import BrokerError, ModelError
from reid_stream.web import pages
from reid_stream.web.api import cameras, corrections, events, explanations, people, previews, search, session, site
from reid_stream.web.guard import Guard
from reid_stream.web.journey import API
from reid_stream.web.limits import TooManyError
from reid_stream.web.site import WebSite

_MOST_FAULTS = 5
_THREADS = 200
_log = structlog.get_logger(__name__)


def make_app(web: WebSite) -> Guard:
    """Put the parts of a site behind routes and the guard."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.closing = False
        # As many as connections: a correction may wait a minute for the daemon, and others must not wait for a thread.
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        yield
        app.state.closing = True

    app = FastAPI(
        title="reid-stream",
        summary="One global ID per person across cameras: people, journeys, cameras, corrections, search, events.",
        version=__version__,
        openapi_url=None,  # FastAPI's own route encodes the description at each request
        docs_url=None,  # these pages load their scripts from a CDN
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,  # names of functions in generated clients
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.state.web = web
    for module in (people, site, previews, cameras, events, corrections, search, explanations, session):
        app.include_router(module.router, prefix=API)
    app.include_router(pages.router)
    app.add_route(f"{API}/openapi.json", _description(app), include_in_schema=False)
    app.mount("/static", StaticFiles(directory=str(resources.files("reid_stream.web") / "static")), name="static")
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(BrokerError, _away)
    app.add_exception_handler(ModelError, _broken_model)
    app.add_exception_handler(TooManyError, _too_many)
    app.add_exception_handler(Exception, _fault)
    return Guard(app, web.settings.web, web.sessions, web.limits)


def problem(status: int, detail: str = "", headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an error as RFC 9457 has it."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def _is_page(request: Request) -> bool:
    path = request.url.path
    return request.method == "GET" and not path.startswith((API, "/static/"))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if _is_page(request):
        if error.status_code == HTTPStatus.UNAUTHORIZED:
            return RedirectResponse("/login", HTTPStatus.SEE_OTHER)
        return pages.error_page(request, error.status_code, str(error.detail))
    headers = dict(error.headers) if error.headers else None
    return problem(
        error.status_code, "" if error.detail == HTTPStatus(error.status_code).phrase else str(error.detail), headers
    )


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [
        f"{'.'.join(map(str, one.get('loc', ())))}: {one.get('msg', '')}" for one in error.errors()[:_MOST_FAULTS]
    ]
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(faults))


async def _away(request: Request, error: Exception) -> Response:
    if _is_page(request):
        return pages.error_page(request, HTTPStatus.SERVICE_UNAVAILABLE, str(error))
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), {"Retry-After": "5"})


async def _broken_model(_request: Request, error: Exception) -> Response:
    _log.warning("search_unavailable", reason=str(error))
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))


async def _too_many(_request: Request, error: Exception) -> Response:
    assert isinstance(error, TooManyError)
    return problem(HTTPStatus.TOO_MANY_REQUESTS, str(error), {"Retry-After": str(max(1, round(error.wait_s)))})


async def _fault(request: Request, error: Exception) -> Response:
    _log.error("web_request_failed", path=request.url.path, exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the console's log says why")


def _description(app: FastAPI) -> Callable[[Request], Response]:
    """Return the route of the API's description, which is made and encoded once."""
    making = threading.Lock()

    @functools.cache
    def body() -> bytes:
        return json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":")).encode()

    def show(_request: Request) -> Response:
        with making:  # a second of work, which simultaneous requests share
            found = body()
        return Response(found, media_type="application/json")

    return show
