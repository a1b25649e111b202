"""Check the cameras that a host with `cameras: shared` may get: the list, which hosts have them, each from here."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from reid_stream.errors import ConfigError, ReidStreamError

if TYPE_CHECKING:
    from reid_stream.commands.readiness import Finding
    from reid_stream.config.settings import Settings


def check_shared(
    settings: "Settings", *, cameras: "Callable[[Settings], Iterator[tuple[Finding, ReidStreamError | None]]]"
) -> "Iterator[tuple[Finding, ReidStreamError | None]]":
    """Check that identification shares cameras; `cameras` checks those that it shares."""
    from collections import Counter

    from reid_stream.commands.readiness import Finding
    from reid_stream.config.differences import with_cameras
    from reid_stream.console.output import count
    from reid_stream.observe import logs
    from reid_stream.publish.redis_client import connect, translated
    from reid_stream.records import CameraId
    from reid_stream.runtime.hosts.camera_claims import claims_key, read_shared

    try:
        with connect(settings.redis) as client, translated(settings.redis.url.get_secret_value()):
            shared, hosts = read_shared(client, settings.site)
            # Changes nothing: no camera has this name. A user without the right gets an error.
            client.hdel(claims_key(settings.site), "")
    except ReidStreamError as error:
        yield Finding("shared", settings.site, "failed", str(error)), error
        return
    if not shared:
        fault = ConfigError(
            f"site {settings.site} must share cameras, found no list on Redis: set hosts.share_cameras in the file of "
            "`reid-stream identify`, and start it"
        )
        yield Finding("shared", settings.site, "failed", str(fault)), fault
        return
    by_host = Counter(hosts[name] for camera in shared if (name := CameraId(camera.id)) in hosts)
    free = len(shared) - by_host.total()
    parts = [f"{name} has {number}" for name, number in sorted(by_host.items())] + [f"{free} have no host"] * bool(free)
    yield Finding("shared", settings.site, "ok", f"{count(len(shared), 'camera')}: {', '.join(parts)}"), None
    for camera in shared:
        logs.hide_camera(camera)
    yield from cameras(with_cameras(settings, shared))
