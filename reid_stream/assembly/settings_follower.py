"""Follow cams.yaml while the daemon runs: check a changed file as a whole, apply its cameras or refuse all of it.

    cams.yaml ── changed, or `reread` ──▶ load ─▶ check ─▶ changes ─▶ Daemon.change_cameras
                                            └── refused: log, event, metric, /readyz

Only cameras change without a restart; other changed keys are reported and apply at the next start.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from reid_stream.assembly.resources import check_files
from reid_stream.assembly.site import Site
from reid_stream.config import cams_yaml
from reid_stream.config.differences import SettingsChange, changes, with_cameras
from reid_stream.config.perceive_settings import SHARED, PerceiveSettings
from reid_stream.config.settings import Settings
from reid_stream.errors import ConfigError
from reid_stream.observe import logs

_LOOK_MS = 250
"""Longest wait for a change before `reread` is looked at."""
_SETTLE_MS = 400
"""Changes within this time, seconds, count as one: editors write a file in steps."""
_END_S = 15.0
"""Longest wait for a change in progress when the block ends."""
_log = structlog.get_logger(__name__)


class SettingsFollower:
    """Applies changes of a cams.yaml to a site while the block runs."""

    def __init__(self, path: Path, settings: Settings, site: Site, load: Callable[[], Settings] | None = None) -> None:
        """Start nothing yet.

        Args:
            path: of the file.
            settings: those that the site was built with.
            site: whose cameras change.
            load: reads the file as it was read at the start, with the same options; None for a cams.yaml without.
        """
        self._load = load or (lambda: cams_yaml.load(path))
        self._path, self._site = path, site
        self._settings = settings
        """Settings in use: those of the start, with the current cameras."""
        self._read = _content(path)
        self._asked, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="settings", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join(_END_S)

    def reread(self) -> None:
        """Read the file again even if it looks unchanged: a file with a password may have changed. Returns at once."""
        self._asked.set()

    def _follow(self) -> None:
        for _ in self._looks():
            is_asked = self._asked.is_set()
            self._asked.clear()
            content = _content(self._path)
            # Without content it is between being removed and written again.
            if is_asked or (content is not None and content != self._read):
                self._read = content
                self._take()

    def _looks(self) -> Iterator[object]:
        """Yield when the file's folder has changed, and every `_LOOK_MS`, until the block ends."""
        import watchfiles

        # The folder, since editors and Kubernetes put a new file, or a link to one, in the place of the old one.
        try:
            yield from watchfiles.watch(
                self._path.absolute().parent,
                watch_filter=None,
                debounce=_SETTLE_MS,
                rust_timeout=_LOOK_MS,
                yield_on_timeout=True,
                stop_event=self._closing,
                recursive=False,
                ignore_permission_denied=True,
            )
        except (OSError, RuntimeError) as error:
            _log.warning("settings_not_watched", file=str(self._path), reason=str(error))
        while not self._closing.wait(_LOOK_MS / 1000):
            yield None

    def _take(self) -> None:
        daemon = self._site.daemon
        try:
            change = self._checked()
            if change.has_cameras:
                self._site.expect_cameras([camera.id for camera in change.cameras])
                self._site.use_places(change.cameras)
                daemon.change_cameras(change)
                self._settings = with_cameras(self._settings, change.cameras)
        except ConfigError as error:
            _log.error("settings_refused", file=str(self._path), reason=str(error))
            daemon.report_settings("refused", str(error), ())
            return
        except Exception as error:  # noqa: BLE001 (the daemon continues with the cameras it has)
            _log.error("settings_failed", file=str(self._path), exc_info=error)
            daemon.report_settings("refused", f"{type(error).__name__}, see the log", ())
            return
        if change.needs_restart:
            _log.warning("settings_need_restart", keys=",".join(change.needs_restart))
        _log.info(
            "settings_applied",
            added=len(change.added),
            removed=len(change.removed),
            changed=len(change.changed),
            cameras=len(change.cameras),
        )
        daemon.report_settings("applied", "", change.needs_restart)

    def _checked(self) -> SettingsChange:
        """Read the file and compare it with the settings in use.

        Raises:
            ConfigError: with every fault, one a line.
        """
        settings = self._load()
        if isinstance(settings, PerceiveSettings) and bool(settings.cameras) != bool(self._settings.cameras):
            raise ConfigError(f"{self._path}: cameras: a change to or from `{SHARED}` needs a restart")
        for camera in settings.cameras:
            logs.hide_camera(camera)
        change = changes(self._settings, settings)
        check_files(change.cameras, must_exist=False)
        for camera in (*change.added, *(one.camera for one in change.changed)):
            if camera.tls == "unverified":
                _log.warning("camera_tls_unverified", camera=camera.id)
        return change


def _content(path: Path) -> bytes | None:
    with suppress(OSError):
        return path.read_bytes()
    return None
