"""Dependencies of routes: the site, and the visitor with the required role."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request

from reid_stream.web.limits import Cost
from reid_stream.web.schemas import Problem, Role
from reid_stream.web.sessions import Visitor
from reid_stream.web.site import WebSite

_PROBLEM = "#/components/schemas/Problem"
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {"application/problem+json": {"schema": {"$ref": _PROBLEM}}}}
    for status in (401, 403, 404, 409, 422, 429, 503)
}
"""Errors that every route may give."""


def site_of(request: Request) -> WebSite:
    """Return the site's parts."""
    web: WebSite = request.app.state.web
    return web


def visitor_of(request: Request) -> Visitor | None:
    """Return the visitor; None if unknown."""
    visitor: Visitor | None = request.state.visitor
    return visitor


def needs(role: Role) -> Callable[[Request], Visitor]:
    """Return a dependency that lets in visitors of at least this role."""

    def visitor(request: Request) -> Visitor:
        found = visitor_of(request)
        if found is None:
            raise HTTPException(HTTPStatus.UNAUTHORIZED, "sign in, or send Authorization: Bearer TOKEN")
        if not found.may(role):
            raise HTTPException(HTTPStatus.FORBIDDEN, f"this needs the role {role}, {found.name} is a {found.role}")
        return found

    return visitor


def spends(cost: Cost) -> Callable[[Request], None]:
    """Return a dependency that counts a request against its address."""

    def spend(request: Request) -> None:
        request.state.limits.spend(request.state.address, cost)

    return spend


SiteParts = Annotated[WebSite, Depends(site_of)]
Viewer = Annotated[Visitor, Depends(needs("viewer"))]
Operator = Annotated[Visitor, Depends(needs("operator"))]
