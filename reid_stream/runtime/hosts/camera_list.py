"""The site's cameras on Redis, for hosts with `cameras: shared`: identification writes the list, hosts read it.

A hash, `reid:{<site>}:cameras:list`: the cameras as JSON, with addresses and passwords, and a revision, by which hosts
see a change without reading it all.
"""

import hashlib
import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import SecretStr

from reid_stream.config import cams_yaml
from reid_stream.config.host_settings import MOST_SHARED
from reid_stream.config.settings import Camera
from reid_stream.errors import BrokerError, ConfigError
from reid_stream.link.protocol import ReadFence

if TYPE_CHECKING:
    import redis

_MOST_BYTES = 16 * 1024 * 1024
_LOOK_S = 5.0
"""Interval at which the list on Redis is compared with ours, seconds: Redis may have lost it."""
_RETRY_S = 1.0
_log = structlog.get_logger(__name__)


def list_key(site: str) -> str:
    """Return the key of the hash with the list."""
    return f"reid:{{{site}}}:cameras:list"


def encode_cameras(cameras: Sequence[Camera]) -> bytes:
    """Encode the enabled cameras as JSON, passwords included."""
    return json.dumps([_plain(camera) for camera in cameras if camera.enabled]).encode()


def decode_cameras(body: bytes) -> tuple[Camera, ...]:
    """Decode a list.

    Raises:
        ConfigError: it is none of this version; the message holds no password.
    """
    try:
        if len(body) > _MOST_BYTES:
            raise ValueError(f"it must have at most {_MOST_BYTES} bytes, has {len(body)}")
        values = json.loads(body)
        if not isinstance(values, list) or not 1 <= len(values) <= MOST_SHARED:
            raise ValueError(f"it must be a list of 1 to {MOST_SHARED} cameras")
    except (ValueError, RecursionError) as error:
        # A JSON error quotes what it was given.
        reason = "it is no JSON" if isinstance(error, json.JSONDecodeError) else str(error)
        raise ConfigError(f"the list of shared cameras cannot be used: {reason}") from None
    return cams_yaml.from_values({"cameras": values}, Path.cwd(), "the list of shared cameras").cameras


class CameraListWriter:
    """Keeps the list on Redis as it should be, on a thread of its own, while this daemon has the site."""

    def __init__(self, client: "redis.Redis", site: str, fence: ReadFence, cameras: Sequence[Camera] | None) -> None:
        """Start it. `client` belongs to the writer, which closes it; `cameras`: None for no list on Redis."""
        self._client: Any = client
        self._key, self._fence = list_key(site), fence
        self._body = None if cameras is None else encode_cameras(cameras)
        self._changed, self._is_closing = threading.Event(), False
        self._thread = threading.Thread(target=self._write_all, name="camera list", daemon=True)
        self._thread.start()

    def change_cameras(self, cameras: Sequence[Camera]) -> None:
        """Write another list, if one is written at all."""
        if self._body is not None:
            self._body = encode_cameras(cameras)
            self._changed.set()

    def close(self) -> None:
        """End; the list stays, so that hosts need no identification to share cameras out again."""
        self._is_closing = True
        self._changed.set()
        self._thread.join(2 * _RETRY_S)
        self._client.close()

    def _write_all(self) -> None:
        import redis

        while not self._is_closing:
            wait_s = _LOOK_S
            try:
                self._write(self._body)
            except (redis.exceptions.RedisError, OSError, BrokerError) as error:
                _log.debug("camera_list_not_written", reason=str(error))
                self._client.connection_pool.disconnect()
                wait_s = _RETRY_S
            self._changed.wait(wait_s)
            self._changed.clear()

    def _write(self, body: bytes | None) -> None:
        import redis

        revision = b"" if body is None else hashlib.sha256(body).hexdigest().encode()
        with suppress(redis.exceptions.WatchError), self._client.pipeline(transaction=True) as commands:
            # A lease that is renewed meanwhile: the next look writes.
            commands.watch(self._fence.key)
            self._fence.holds(commands.get(self._fence.key))
            if (commands.hget(self._key, "revision") or b"") == revision:
                return
            commands.multi()
            commands.delete(self._key)
            if body is not None:
                commands.hset(self._key, mapping={"revision": revision, "cameras": body})
            commands.execute()
            _log.info("camera_list_written", cameras=0 if body is None else len(json.loads(body)))


def _plain(camera: Camera) -> dict[str, Any]:
    """Return what differs from the defaults, as a cams.yaml would hold it."""
    values = camera.model_dump(exclude_defaults=True)
    return {name: _written(value) for name, value in values.items()}


def _written(value: object) -> object:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case Path():
            return str(value)
        case dict():
            return {name: _written(one) for name, one in value.items()}
        case list() | tuple():
            return [_written(one) for one in value]
        case _:
            return value
