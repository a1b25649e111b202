"""Cameras, topology and system."""

from fastapi import APIRouter

from reid_stream.web.api.parts import PROBLEMS, SiteParts, Viewer
from reid_stream.web.schemas import CameraRecord, SystemRecord, TopologyRecord

router = APIRouter(tags=["site"], responses=PROBLEMS)


@router.get("/cameras")
def list_cameras(web: SiteParts, _visitor: Viewer) -> list[CameraRecord]:
    """List cameras with their health."""
    web.feed.look()
    return web.overview.cameras()


@router.get("/topology")
def show_topology(web: SiteParts, _visitor: Viewer) -> TopologyRecord:
    """Return what has been learned of how people get from camera to camera."""
    return web.overview.topology()


@router.get("/system")
def show_system(web: SiteParts, _visitor: Viewer) -> SystemRecord:
    """Return the daemon's state, its models with their licences, and what bounds what is kept."""
    web.feed.look()
    return web.overview.system()
