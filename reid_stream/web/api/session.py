"""Routes to sign in and out."""

from http import HTTPStatus

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from reid_stream.web.api.parts import PROBLEMS, SiteParts, Viewer, spends
from reid_stream.web.guard import COOKIE, cookie_of
from reid_stream.web.schemas import Login, Session
from reid_stream.web.sessions import Visitor
from reid_stream.web.site import WebSite

router = APIRouter(tags=["session"], responses=PROBLEMS)


@router.get("/session")
def show_session(web: SiteParts, visitor: Viewer) -> Session:
    """Return the current session."""
    return _session(visitor, needs_login=web.sessions.accounts is not None)


@router.post("/session", dependencies=[Depends(spends("login"))])
def sign_in(web: SiteParts, request: Request, response: Response, asked: Login) -> Session:
    """Sign in; the answer sets the session's cookie, and an earlier session of the browser ends."""
    found = web.sessions.login(asked.name, asked.password)
    if found is None:
        raise HTTPException(HTTPStatus.UNAUTHORIZED, "the name or the password is wrong")
    token, visitor = found
    _end(web, request)
    response.set_cookie(
        COOKIE, token, httponly=True, samesite="strict", secure=web.settings.web.cert_file is not None, path="/"
    )
    return _session(visitor, needs_login=True)


@router.delete("/session", status_code=HTTPStatus.NO_CONTENT)
def sign_out(web: SiteParts, _visitor: Viewer, request: Request, response: Response) -> None:
    """End the session."""
    _end(web, request)
    response.delete_cookie(COOKIE, path="/")


def _end(web: WebSite, request: Request) -> None:
    """End the session that a request came with."""
    cookie = cookie_of(dict(request.headers))
    if cookie is not None:
        web.sessions.logout(cookie)


def _session(visitor: Visitor, *, needs_login: bool) -> Session:
    return Session(name=visitor.name, role=visitor.role, needs_login=needs_login, csrf=visitor.csrf)
