"""Read the present state of a site: people from the live keys, cameras and the daemon from the latest events."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from reid_stream.events import PREFIX, CameraDown, CameraUp, DaemonStarted, DaemonStopped
from reid_stream.operators.listing import list_identities
from reid_stream.outlets.presence_board import PresenceBoard
from reid_stream.publish.cloudevents import UnknownEvent, decode
from reid_stream.publish.event_check import CAMERA, PERSON, check_data
from reid_stream.publish.live_keys import stream_key
from reid_stream.publish.redis_client import translated
from reid_stream.records import CameraId

if TYPE_CHECKING:
    import redis

_PAGE = 1000
_PAGES = 20
"""Most pages of events searched for the start of the daemon, newest first."""
_KINDS = {kind.type for kind in (CameraUp, CameraDown, DaemonStarted, DaemonStopped)}
_StateEvent = CameraUp | CameraDown | DaemonStarted | DaemonStopped


def present_state(
    client: "redis.Redis", site: str, where: str, cameras: Iterable[CameraId]
) -> tuple[PresenceBoard, str]:
    """Return the current presence, and the stream position up to which it holds.

    Args:
        client: Redis.
        site: `site` of cams.yaml.
        where: address of Redis, for messages.
        cameras: known from elsewhere.

    Raises:
        BrokerError: Redis does not answer.
    """
    anyhow: Any = client
    with translated(where):
        newest = anyhow.xrevrange(stream_key(site), count=1)
        position = newest[0][0].decode() if newest else "0-0"
        # Whoever may write to Redis may have written any key; names become topics.
        rows = [row for row in list_identities(client, site, where) if PERSON.fullmatch(row.person)]
        latest = list(_latest(anyhow, site, position))
    board = PresenceBoard.of(
        cameras,
        [
            (
                row.person,
                row.label,
                [CameraId(camera) for camera in row.here if CAMERA.fullmatch(camera)],
                CameraId(row.camera) if row.camera and CAMERA.fullmatch(row.camera) else None,
            )
            for row in rows
        ],
    )
    for event in reversed(latest):
        match event:
            case DaemonStarted():
                board.is_running = True
                for camera in event.cameras:
                    board.up.setdefault(camera, None)
                    board.here.setdefault(camera, set())
            case DaemonStopped():
                board.is_running = False
            case CameraUp() | CameraDown():
                board.apply(event)
    return board, position


def _latest(client: Any, site: str, position: str) -> Iterator[_StateEvent]:
    """Yield events of cameras and the daemon, the newest first, back to the start of the daemon."""
    last = position
    for _ in range(_PAGES):
        page = client.xrevrange(stream_key(site), max=last, count=_PAGE)
        for _place, fields in page:
            # The type is a field of its own, so that few bodies are decoded.
            if fields.get(b"type", b"").decode(errors="replace").removeprefix(PREFIX) not in _KINDS:
                continue
            try:
                event = decode(fields[b"event"]).data
                if not isinstance(event, UnknownEvent):
                    check_data(event)
            except (KeyError, ValueError):
                continue
            if isinstance(event, CameraUp | CameraDown | DaemonStarted | DaemonStopped):
                yield event
            if isinstance(event, DaemonStarted):
                return
        if len(page) < _PAGE:
            return
        last = f"({page[-1][0].decode()}"
