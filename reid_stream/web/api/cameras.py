"""Add, change, test and remove cameras: cams.yaml is changed, and the daemon follows it."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter, Depends, HTTPException, Path
from pydantic import Field, ValidationError

from reid_stream.config import cams_edit
from reid_stream.config.settings import Camera
from reid_stream.errors import ConfigError
from reid_stream.images import UInt8
from reid_stream.ingest import camera_search, onvif
from reid_stream.ingest.probe import CameraFailure, probe
from reid_stream.publish.redis_client import public
from reid_stream.web import pictures
from reid_stream.web.api.parts import PROBLEMS, SiteParts, needs, spends
from reid_stream.web.camera_address import check_address, needs_password_again
from reid_stream.web.schemas import Asked, CameraName, Record
from reid_stream.web.sessions import Visitor
from reid_stream.web.site import WebSite

router = APIRouter(tags=["cameras"], responses=PROBLEMS)
Admin = Annotated[Visitor, Depends(needs("admin"))]
_SPEND = [Depends(spends("change"))]
_LOOK_S, _TIMEOUT_S = 1.0, 5.0
_PICTURE_WIDTH = 640
"""Pixels."""
_discovering = threading.BoundedSemaphore(1)
"""Most searches for cameras at once."""
_probing = threading.BoundedSemaphore(2)
"""Most cameras tested at once."""
_log = structlog.get_logger(__name__)
_Finite = Annotated[float, Field(allow_inf_nan=False)]
Point = tuple[_Finite, _Finite]
_MOST_POINTS, _MOST_PLACES = 100, 50
Points = Annotated[list[Point], Field(max_length=_MOST_POINTS)]
Text = Annotated[str, Field(max_length=1000)]


class CameraChange(Asked):
    """Keys of a camera's entry in cams.yaml, as in the configuration reference; null removes a key."""

    url: Text | None = None
    """rtsp://, rtsps://, http:// or https://, with a host in `web.camera_networks`."""
    detect_url: Text | None = None
    """The same kinds: a smaller stream of the camera, to follow people in."""
    username: Text | None = None
    password: Text | None = None
    enabled: bool | None = None
    tls: Literal["verified", "unverified"] | None = None
    fingerprint: Text | None = None
    transport: Literal["tcp", "udp"] | None = None
    max_fps: float | None = None
    priority: int | None = None
    resize: tuple[int, int] | None = None
    region: Points | None = None
    ignore: Annotated[list[Points], Field(max_length=_MOST_PLACES)] | None = None
    zones: Annotated[dict[CameraName, Points], Field(max_length=_MOST_PLACES)] | None = None
    """All zones of the camera by name, polygons of fractions of width and height."""
    lines: Annotated[dict[CameraName, tuple[Point, Point]], Field(max_length=_MOST_PLACES)] | None = None
    """All lines of the camera by name, from one point to another; `in` is to the right."""


class NewCamera(CameraChange):
    """A camera to add."""

    id: CameraName
    url: Text


class CameraEntry(Record):
    """A camera's entry, without secrets."""

    camera: str
    address: str
    """The URL without user, password and query."""
    detect_address: str | None
    """The same of `detect_url`."""
    username: str | None
    has_password: bool
    enabled: bool
    tls: str
    fingerprint: str | None
    transport: str
    max_fps: float | None
    priority: int
    resize: tuple[int, int] | None
    region: list[Point] | None
    ignore: list[list[Point]]
    zones: dict[str, list[Point]]
    lines: dict[str, tuple[Point, Point]]


class DiscoveredCamera(Record):
    """An ONVIF camera that answered on a local network."""

    address: str
    """`rtsp://HOST`; a test of it finds the path."""
    name: str
    """Name that the device states; empty without one."""
    hardware: str
    """Model that the device states; empty without one."""
    is_known: bool
    """A camera of cams.yaml has this host."""


class CameraTest(Record):
    """Result of a test of a camera's address."""

    works: bool
    codec: str | None = None
    frame_size: tuple[int, int] | None = None
    main_size: tuple[int, int] | None = None
    """With `detect_url`: size of the main stream, where the rest is of the smaller one."""
    fps: float | None = None
    clock: str | None = None
    cause: str | None = None
    """Kind of failure, as in the metrics."""
    reason: str | None = None
    url: str | None = None
    """URL that works, where only a host was given: the paths of common makers are tried."""
    picture: Annotated[str | None, Field(json_schema_extra={"contentEncoding": "base64"})] = None
    """The first frame as JPEG, at most 640 pixels wide, in base64; null where there is none."""


@router.get("/cameras/{camera}/settings")
def show_camera(web: SiteParts, _visitor: Admin, camera: Annotated[CameraName, Path()]) -> CameraEntry:
    """Return a camera's entry in cams.yaml."""
    return entry_of(web, camera)


@router.post("/cameras", status_code=HTTPStatus.CREATED, dependencies=_SPEND)
def add_camera(web: SiteParts, visitor: Admin, asked: NewCamera) -> CameraEntry:
    """Add a camera to cams.yaml; the event `camera.added` follows."""
    with _problems():
        values = _values(asked)
        _check_addresses(web, asked)
        cams_edit.add_camera(_path(web), values)
    return _done(web, visitor, "added", asked.id)


@router.post("/cameras/test", dependencies=_SPEND)
def try_camera(web: SiteParts, _visitor: Admin, asked: NewCamera) -> CameraTest:
    """Open a camera for a moment, without saving anything."""
    return _try(web, {}, asked)


@router.post("/cameras/discover", dependencies=_SPEND)
def discover_cameras(web: SiteParts, _visitor: Admin) -> list[DiscoveredCamera]:
    """Look for ONVIF cameras on the networks of `web.camera_networks`; takes three seconds."""
    if not _discovering.acquire(blocking=False):
        raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, "cameras are being looked for, try again soon")
    try:
        found = onvif.discover()
    finally:
        _discovering.release()
    known = [one.url.get_secret_value() for one in web.cameras.all()]
    answer = []
    for one in found:
        address = f"rtsp://[{one.host}]" if ":" in one.host else f"rtsp://{one.host}"
        try:
            check_address(address, web.settings.web.camera_networks)
        except ConfigError:
            continue
        is_known = any(one.host == urlsplit(url.partition("?")[0]).hostname for url in map(public, known))
        answer.append(DiscoveredCamera(address=address, name=one.name, hardware=one.hardware, is_known=is_known))
    return answer


@router.post("/cameras/{camera}/test", dependencies=_SPEND)
def try_change(
    web: SiteParts, _visitor: Admin, camera: Annotated[CameraName, Path()], asked: CameraChange
) -> CameraTest:
    """Open a camera of cams.yaml for a moment as it would be after a change, without saving the change."""
    _check_password(_camera(web, camera), asked)
    saved = _camera(web, camera).model_dump()
    if "password" in asked.model_fields_set:
        saved["password_file"] = None
    return _try(web, saved, asked)


def _try(web: WebSite, saved: dict[str, Any], asked: CameraChange) -> CameraTest:
    """Open a camera of these settings, those asked for first."""
    with _problems():
        values = _values(asked)
        cams_edit.check_plain(values)
        _check_addresses(web, asked)
        for key, value in values.items():
            if value is None:
                saved.pop(key, None)
        try:
            camera = Camera.model_validate(
                {**saved, **{key: value for key, value in values.items() if value is not None}}
            )
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            raise ConfigError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    images: list[UInt8] = []
    if not _probing.acquire(blocking=False):
        raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, "other cameras are being tested, try again soon")
    try:
        limits = {"open_timeout_s": _TIMEOUT_S, "read_timeout_s": _TIMEOUT_S, "hardware_decode": False}
        ingest = web.settings.ingest.model_copy(update=limits)
        is_host = asked.url is not None and camera_search.is_host(asked.url)
        if is_host:
            camera = camera_search.search(camera, ingest).camera
        found = probe(camera, ingest, _LOOK_S, on_image=images.append)
    finally:
        _probing.release()
    if isinstance(found, CameraFailure):
        return CameraTest(works=False, cause=found.error.cause, reason=found.reason)
    jpeg = pictures.frame_jpeg(images[0], _PICTURE_WIDTH, blur=web.settings.web.blur) if images else b""
    return CameraTest(
        works=True,
        codec=found.codec,
        frame_size=found.size,
        main_size=found.main_size,
        fps=found.rate,
        clock=found.clock,
        url=camera.url.get_secret_value() if is_host else None,
        picture=base64.b64encode(jpeg).decode() or None,
    )


@router.patch("/cameras/{camera}", dependencies=_SPEND)
def change_camera(
    web: SiteParts, visitor: Admin, camera: Annotated[CameraName, Path()], asked: CameraChange
) -> CameraEntry:
    """Change keys of a camera's entry; the event `camera.configured` follows."""
    with _problems():
        _check_addresses(web, asked)
        web.cameras.read_again()
        _check_password(_camera(web, camera), asked)
        cams_edit.change_camera(_path(web), camera, _values(asked))
    return _done(web, visitor, "changed", camera)


@router.delete("/cameras/{camera}", status_code=HTTPStatus.NO_CONTENT, dependencies=_SPEND)
def remove_camera(web: SiteParts, visitor: Admin, camera: Annotated[CameraName, Path()]) -> None:
    """Remove a camera from cams.yaml; the event `camera.removed` follows."""
    with _problems():
        cams_edit.remove_camera(_path(web), camera)
    _log.info("camera_edited", camera=camera, what="removed", by=visitor.name)


def _check_addresses(web: WebSite, asked: CameraChange) -> None:
    """Raise ConfigError if an address is outside of `web.camera_networks`."""
    for url in (asked.url, asked.detect_url):
        if url is not None:
            check_address(url, web.settings.web.camera_networks)


def _check_password(saved: Camera, asked: CameraChange) -> None:
    """Raise HTTPException if a password that only the file holds would go to another host: it could be read there."""
    if "password" not in asked.model_fields_set and needs_password_again(saved, (asked.url, asked.detect_url)):
        raise HTTPException(
            HTTPStatus.UNPROCESSABLE_ENTITY, "password: must be given again, since the address is another host or port"
        )


def _values(asked: CameraChange) -> dict[str, Any]:
    """Return the keys that were given, as cams.yaml holds them."""
    return asked.model_dump(mode="json", exclude_unset=True)


def _path(web: WebSite) -> FilePath:
    if web.cameras.path is None:
        raise HTTPException(HTTPStatus.CONFLICT, "this site has no cams.yaml that could be changed")
    return web.cameras.path


@contextmanager
def _problems() -> Iterator[None]:
    try:
        yield
    except cams_edit.NoSuchCameraError as error:
        raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from None
    except cams_edit.CameraExistsError as error:
        raise HTTPException(HTTPStatus.CONFLICT, str(error)) from None
    except ConfigError as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None


def _done(web: WebSite, visitor: Visitor, what: str, camera: str) -> CameraEntry:
    _log.info("camera_edited", camera=camera, what=what, by=visitor.name)
    web.cameras.read_again()
    return entry_of(web, camera)


def _camera(web: WebSite, camera: str) -> Camera:
    found = next((one for one in web.cameras.all() if one.id == camera), None)
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no camera {camera}")
    return found


def entry_of(web: WebSite, camera: str) -> CameraEntry:
    """Return a camera's entry in cams.yaml, without secrets.

    Raises:
        HTTPException: 404, there is no such camera.
    """
    one = _camera(web, camera)
    return CameraEntry(
        camera=one.id,
        address=public(one.url.get_secret_value()),
        detect_address=None if one.detect_url is None else public(one.detect_url.get_secret_value()),
        username=one.username,
        has_password=one.password is not None or one.password_file is not None,
        enabled=one.enabled,
        tls=one.tls,
        fingerprint=one.fingerprint,
        transport=one.transport,
        max_fps=one.max_fps,
        priority=one.priority,
        resize=one.resize,
        region=list(one.region) if one.region is not None else None,
        ignore=[list(polygon) for polygon in one.ignore],
        zones={name: list(polygon) for name, polygon in one.zones.items()},
        lines=dict(one.lines),
    )
