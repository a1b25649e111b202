"""Read the cameras that this host has claimed, while the block runs: open them, and close them in time.

Two threads: one renews the claims, the other opens and closes cameras, which may take longer than a lease.
"""

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import structlog

from reid_stream.config.differences import changes, with_cameras
from reid_stream.config.settings import Camera, Settings
from reid_stream.errors import BrokerError
from reid_stream.observe import logs
from reid_stream.records import CameraId
from reid_stream.runtime.hosts.camera_claims import CameraClaims

if TYPE_CHECKING:
    import redis

    from reid_stream.runtime.daemon import Daemon

_ROUNDS = 10
"""Rounds within the duration of a lease."""
_LONGEST_ROUND_S = 1.0
_LOOK_S = 0.1
"""Interval at which the end of the lease is looked for, seconds."""
_END_S = 15.0
"""Longest wait for a change in progress when the block ends."""
_log = structlog.get_logger(__name__)


class SharedCameras:
    """Applies a host's claims to its daemon."""

    def __init__(self, claims: CameraClaims, client: "redis.Redis", settings: Settings, daemon: "Daemon") -> None:
        """Start nothing yet.

        Args:
            claims: of this host.
            client: that of the claims, disconnected after a fault.
            settings: of this host, without cameras.
            daemon: whose cameras they are.
        """
        self._claims, self._client, self._daemon = claims, client, daemon
        self._settings = settings
        self._round_s = min(settings.hosts.lease_s / _ROUNDS, _LONGEST_ROUND_S)
        self._lock = threading.Lock()
        self._is_open: frozenset[CameraId] = frozenset()
        """Cameras that are read, opened or closed."""
        self._applied: Mapping[CameraId, Camera] = {}
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("claims", self._renew_all), ("settings", self._apply_all))
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join(_END_S)
        if not any(thread.is_alive() for thread in self._threads):
            self._guarded(self._claims.release)

    def _renew_all(self) -> None:
        self._daemon.has_started.wait()  # a host that cannot read cameras yet claims none
        is_renewed = True
        while not self._closing.is_set():
            with self._lock:
                is_open = self._is_open
            was_renewed, is_renewed = is_renewed, self._guarded(partial(self._claims.renew, is_open))
            if was_renewed and not is_renewed:
                _log.warning("camera_claims_not_renewed", left_s=round(self._claims.until - time.monotonic(), 1))
            self._closing.wait(self._round_s)

    def _guarded(self, call: Callable[[], Any]) -> bool:
        import redis

        try:
            call()
        except (redis.exceptions.RedisError, OSError, BrokerError) as error:
            _log.debug("camera_claims_failed", reason=str(error))
            self._client.connection_pool.disconnect()
            return False
        return True

    def _apply_all(self) -> None:
        while not self._closing.wait(_LOOK_S):
            with self._lock:
                # `mine` first: a lease that ends in between is noticed at the next look.
                wanted = self._claims.mine
                if time.monotonic() >= self._claims.until:
                    wanted = {}
                self._is_open = frozenset({*self._applied, *wanted})
            if wanted != self._applied:
                self._apply(wanted)
            self._daemon.health.idle = "" if wanted else "this host has none of the shared cameras"

    def _apply(self, wanted: Mapping[CameraId, Camera]) -> None:
        if self._applied and not wanted and time.monotonic() >= self._claims.until:
            _log.error("camera_claims_lost", cameras=len(self._applied))
        for camera in wanted.values():
            logs.hide_camera(camera)
        before = with_cameras(self._settings, list(self._applied.values()))
        change = changes(before, with_cameras(self._settings, list(wanted.values())))
        try:
            self._daemon.change_cameras(change)
        except Exception as error:  # noqa: BLE001 (the host continues with the cameras it has, and closes them when it must)
            _log.error("settings_failed", file="the list of shared cameras", exc_info=error)
        self._applied = dict(wanted)
