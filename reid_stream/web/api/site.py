"""Cameras, topology and system."""

import time
from typing import Annotated

from fastapi import APIRouter, Query

from reid_stream.web.api.parts import PROBLEMS, SiteParts, Viewer
from reid_stream.web.count_schemas import Counts
from reid_stream.web.schemas import CameraName, CameraRecord, SystemRecord, TopologyRecord

router = APIRouter(tags=["site"], responses=PROBLEMS)


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


@router.get("/topology")
def show_topology(web: SiteParts, _visitor: Viewer) -> TopologyRecord:
    """Return the learned topology: how people get from camera to camera."""
    return web.overview.topology()


@router.get("/system")
def show_system(web: SiteParts, _visitor: Viewer) -> SystemRecord:
    """Return the daemon's state, its models with their licences, and what bounds what is kept."""
    web.feed.refresh()
    return web.overview.system()
