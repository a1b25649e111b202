"""Try everything that a daemon with these settings will need, without writing anything that stays.

    settings -> models -> folders -> metrics port -> Redis -> learned state -> cameras, all at once -> their clocks

Every check yields findings; a failed one does not keep the others from being made.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from reid_stream.commands.readiness_shared import check_shared
from reid_stream.config.home import temporary_fault
from reid_stream.errors import BrokerError, ConfigError, ReidStreamError, StreamError

if TYPE_CHECKING:
    from reid_stream.config.settings import Settings
    from reid_stream.ingest.probe import CameraReport

Check = Literal[
    "cams.yaml",
    "model",
    "match",
    "temporary",
    "spool",
    "store",
    "metrics",
    "redis",
    "shared",
    "camera",
    "clocks",
    "tls",
    "sizing",
]
_APART_S = 0.5
"""Largest difference of clocks, seconds: at walking pace one step, beyond which the order of sightings is wrong."""


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """Result of one check."""

    check: Check
    name: str
    """Name of the camera, the bundle or the folder."""
    result: Literal["ok", "warning", "failed"]
    text: str
    facts: dict[str, str | float | int] = {}
    """Facts about a camera: codec, size, fps, first_frame_s, clock; skew_s if it sends its time; main_size if it has a
    `detect_url`; timestamps: none."""


class Readiness:
    """The checks of one site; see the module."""

    def __init__(
        self,
        sources: Sequence[str],
        *,
        is_offline: bool,
        on_finding: Callable[[Finding], None],
        on_wait: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """Prepare the checks.

        Args:
            sources: cams.yaml, or files and URLs.
            is_offline: leave cameras and Redis out.
            on_finding: called with each finding as it is made.
            on_wait: called with what a check waits for, from any thread.
        """
        self._sources, self._is_offline, self._on_finding, self._on_wait = sources, is_offline, on_finding, on_wait
        self.findings: list[Finding] = []
        self.error: ReidStreamError | None = None
        """The first failure, with its exit code; cameras come last."""

    def run(self) -> None:
        """Make all checks."""
        from reid_stream.config.perceive_settings import PerceiveSettings
        from reid_stream.config.sources import load_settings

        try:
            settings = load_settings(self._sources, kind=PerceiveSettings)
        except ConfigError as fault:
            self._add(Finding("cams.yaml", self._sources[0], "failed", str(fault)), fault)
            return
        from reid_stream.console.output import count
        from reid_stream.observe import logs

        logs.hide(settings)
        what = f"{self._sources[0]}, " if len(self._sources) == 1 else ""
        is_shared = isinstance(settings, PerceiveSettings) and settings.has_shared_cameras
        text = (
            f"{what}site {settings.site}, {'shared cameras' if is_shared else count(len(settings.cameras), 'camera')}"
        )
        self._add(Finding("cams.yaml", self._sources[0], "ok", text))
        checks: list[Callable[[Settings], _Found]] = [_models, check_folders, check_sizing, check_metrics_port]
        if not self._is_offline:
            cameras = partial(_cameras, on_wait=self._on_wait)
            checks += [check_redis]
            checks += [partial(check_shared, cameras=cameras)] if is_shared else [check_site, cameras]
        for make in checks:
            for finding, error in make(settings):
                self._add(finding, error)

    def _add(self, finding: Finding, error: ReidStreamError | None = None) -> None:
        self.findings.append(finding)
        self._on_finding(finding)
        if error is not None and self.error is None:
            self.error = error


_Found = Iterator[tuple[Finding, ReidStreamError | None]]


def _models(settings: "Settings") -> _Found:
    from reid_stream.bundles.embedder_info import EmbedderInfo
    from reid_stream.bundles.licences import commercial_use
    from reid_stream.engines.hot_swap import SwapEngine
    from reid_stream.match.thresholds import describe_thresholds
    from reid_stream.runtime.networks import load_networks

    try:
        networks = load_networks(settings)
    except ReidStreamError as fault:
        yield Finding("model", "", "failed", str(fault)), fault
        return
    for engine, bundle in (
        (networks.detector_engine, networks.detector),
        (networks.embedder_engine, networks.embedder),
    ):
        text = f"{bundle.kind} {bundle.name} {bundle.hash[:12]}, {engine.name}, licence: {bundle.licence}"
        use = commercial_use(bundle.licence)
        text += f"; commercial use: {use.use}, {use.reason}"
        if isinstance(engine, SwapEngine):
            text += f"; {engine.note}; `reid-stream compile` builds it now"
        facts: dict[str, str | float | int] = {"kind": bundle.kind, "hash": bundle.hash, "engine": engine.name}
        facts["commercial_use"] = use.use
        yield Finding("model", bundle.name, "ok", text, facts), None
    text = describe_thresholds(settings.match, EmbedderInfo.of(networks.embedder))
    yield Finding("match", networks.embedder.name, "ok", text), None


def check_folders(settings: "Settings") -> _Found:
    """Check the folders of temporary files, spool and tracklet store."""
    from reid_stream.assembly.spool_place import spool_folder

    fault = temporary_fault()
    if fault is not None:
        yield Finding("temporary", "", "failed", fault), ConfigError(fault)
    yield _folder("spool", spool_folder(settings), settings.spool.max_mb * 2**20)
    if settings.store.folder is not None:
        yield _folder("store", settings.store.folder, settings.store.max_gb * 1e9)


def check_sizing(settings: "Settings") -> _Found:
    """Estimate what the site needs of Redis and of the disk; warn where the store is full long before its retention."""
    from reid_stream.config.sizing import site_size
    from reid_stream.console.output import count

    size = site_size(settings)
    busy = count(max(1, sum(camera.enabled for camera in settings.cameras)), "busy camera")
    text = (
        f"Redis needs up to {size.redis_bytes / 1e9:.2f} GB: {settings.publish.max_events:,} events, "
        f"{size.events_s / 3600:.3g} hours of {busy}, and {settings.match.max_identities:,} identities"
    )
    yield Finding("sizing", "redis", "ok", text), None
    if size.store_s < settings.store.retention_s:
        text = (
            f"store.max_gb {settings.store.max_gb:g} holds {size.store_s / 86_400:.2g} days of {busy}, not the "
            f"{settings.store.retention_s / 86_400:.3g} of store.retention_s; they need {size.store_bytes / 1e9:.0f} GB"
        )
        yield Finding("sizing", "store", "warning", text), None


def _folder(check: Check, folder: Path, wanted_bytes: float) -> tuple[Finding, ReidStreamError | None]:
    """Check that a folder can be written, or made; that no other daemon has it; and that there is room."""
    fault = _why_not_writable(folder)
    if fault is not None:
        error = ConfigError(f"{check}: {folder} must be a folder that can be written, found: {fault}")
        return Finding(check, str(folder), "failed", f"{folder} must be writable, found: {fault}"), error
    owner = _owner(folder)
    if owner is not None:
        return Finding(check, str(folder), "warning", f"{folder} is used by a daemon that runs, process {owner}"), None
    free = shutil.disk_usage(_existing(folder)).free
    if free < wanted_bytes:
        text = f"{folder} may grow to {wanted_bytes / 1e9:.1f} GB, {free / 1e9:.1f} GB are free there"
        return Finding(check, str(folder), "warning", text), None
    return Finding(check, str(folder), "ok", f"{folder} can be written"), None


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _why_not_writable(folder: Path) -> str | None:
    """Return why files cannot be made in a folder, or the folder itself cannot; none where they can."""
    there = _existing(folder)
    if not there.is_dir():
        return f"{there} is a file"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return f"{error.strerror} ({there})"
    if there == folder.absolute():
        for file in there.iterdir():
            if file.is_file() and not os.access(file, os.W_OK | os.R_OK):
                return f"{file.name} in it is another user's"
    return None


def _owner(folder: Path) -> str | None:
    """Return the process that holds the lock of a folder; none if it is free."""
    import fcntl

    try:
        with (folder / "lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read(20).decode(errors="replace").strip() or "unknown"
    except OSError:
        return None
    return None


def check_metrics_port(settings: "Settings") -> _Found:
    """Check that the address of /metrics is free."""
    from reid_stream.assembly.spool_place import spool_folder

    host, port = settings.observe.host, settings.observe.port
    if port is None:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        text = f"observe.port must be free, {host}:{port}: {error.strerror}"
        if _owner(spool_folder(settings)) is not None:
            yield Finding("metrics", f"{host}:{port}", "warning", f"{text}; a daemon of this site runs"), None
            return
        text += "; choose another, 0 for any, or null for none"
        yield Finding("metrics", f"{host}:{port}", "failed", text), ConfigError(text)
        return
    yield Finding("metrics", f"{host}:{port}", "ok", f"{host}:{port} is free"), None


def check_redis(settings: "Settings") -> _Found:
    """Check that Redis answers, lets this user write, and keeps what it is given; or that an embedded one can run."""
    if settings.redis.is_embedded:
        yield from _embedded(settings)
        return
    from reid_stream.config.sizing import site_size
    from reid_stream.publish.redis_client import check, connect, eviction, public, translated

    url = settings.redis.url.get_secret_value()
    try:
        with connect(settings.redis) as client:
            version = check(client, url)
            policy = eviction(client, url)
            with translated(url):
                limit = int(client.info("memory").get("maxmemory", 0))
                if settings.cameras:  # a host that shares cameras writes other keys, as `check_shared` does
                    # Writes nothing: the stream does not exist. An ACL that forbids writing answers with an error.
                    commands: Any = client
                    commands.execute_command("XADD", f"reid:{settings.site}:check", "NOMKSTREAM", "*", "check", "1")
    except ReidStreamError as error:
        yield Finding("redis", public(url), "failed", str(error)), error
        return
    yield Finding("redis", public(url), "ok", f"{version} at {public(url)}", {"version": version}), None
    needed = site_size(settings).redis_bytes
    if 0 < limit < needed:
        text = f"maxmemory is {limit / 1e9:.2f} GB, the site may need {needed / 1e9:.2f} GB; raise it, or lower "
        yield Finding("redis", public(url), "warning", text + "publish.max_events"), None
    if policy is not None:
        name, remedy = (
            (policy, "turn it off") if policy == "cache_mode" else (f"maxmemory-policy {policy}", "set noeviction")
        )
        text = f"{name} may delete events and state when memory is short; {remedy}"
        yield Finding("redis", public(url), "warning", text), None
    if settings.redis.tls == "unverified":
        yield Finding("tls", "redis", "warning", "redis is unverified, any certificate is accepted"), None


def check_site(settings: "Settings") -> _Found:
    """Show which threshold the site's matcher has by the latest snapshot on Redis; nothing without one."""
    import redis

    from reid_stream.bundles import catalog
    from reid_stream.bundles.embedder_info import EmbedderInfo
    from reid_stream.journal.entry import StateKeys
    from reid_stream.journal.snapshot import SnapshotError
    from reid_stream.journal.snapshot_store import SnapshotStore
    from reid_stream.match.thresholds import describe_site
    from reid_stream.publish.redis_client import connect

    if settings.redis.is_embedded:
        return  # it runs only with the daemon
    try:
        _, embedder = catalog.embedder(settings.models.embedder)
        with connect(settings.redis) as client:
            store = SnapshotStore(client, StateKeys.of(settings.site, embedder.hash))
            heads, _ = store.heads()
            if not heads:
                return
            state = store.read_core(*next(iter(heads.items())))
    except (ReidStreamError, redis.RedisError):
        return  # the checks of the models and of Redis name it
    except SnapshotError as error:
        yield Finding("match", settings.site, "warning", f"the latest snapshot cannot be read: {error}"), None
        return
    yield Finding("match", settings.site, "ok", describe_site(settings.match, EmbedderInfo.of(embedder), state)), None


def _embedded(settings: "Settings") -> _Found:
    from reid_stream.publish.embedded_redis import default_directory, running_url
    from reid_stream.publish.redis_client import public
    from reid_stream.publish.redis_server import newest_binary

    folder = settings.redis.directory or default_directory(settings.site)
    owner = _owner(folder)
    try:
        if owner is not None:
            text = f"embedded, runs at {public(running_url(folder))} for process {owner}"
            yield Finding("redis", str(folder), "warning", text), None
            return
        binary = str(newest_binary())
    except BrokerError as away:
        yield Finding("redis", str(folder), "failed", str(away)), away
        return
    fault = _why_not_writable(folder)
    if fault is not None:
        error = ConfigError(f"redis: {folder} must be a folder that can be written, found: {fault}")
        yield Finding("redis", str(folder), "failed", f"{folder} must be writable, found: {fault}"), error
        return
    yield Finding("redis", str(folder), "ok", f"embedded, {binary}, data in {folder}", {"server": binary}), None


def _cameras(settings: "Settings", *, on_wait: Callable[[str], None]) -> _Found:
    from reid_stream.ingest.probe import CameraFailure, CameraReport, probe_all
    from reid_stream.ingest.stats import clock_spread

    enabled = [camera for camera in settings.cameras if camera.enabled]
    answers = probe_all(
        enabled,
        settings.ingest,
        on_wait=lambda name, limit_s: on_wait(f"{name} sends video; waiting for a key frame, at most {limit_s:g} s"),
    )
    failed = [answer for answer in answers if isinstance(answer, CameraFailure)]
    error = None
    if failed:
        error = StreamError(f"every camera must answer, found {len(failed)} of {len(enabled)} that did not")
    for answer in answers:
        if isinstance(answer, CameraReport):
            yield _camera(answer), None
        else:
            yield Finding("camera", answer.camera, "failed", answer.reason), error
    apart = clock_spread({answer.camera: answer.skew_s for answer in answers if isinstance(answer, CameraReport)})
    if apart is not None:
        text = f"clocks of the cameras: {apart.ahead} is ahead of {apart.behind} by {apart.by_s:.3f} s"
        if apart.by_s < _APART_S:
            yield Finding("clocks", "", "ok", text), None
        else:
            yield Finding("clocks", "", "warning", f"{text}; set all to one time server"), None
    for camera in enabled:
        if camera.tls == "unverified":
            yield Finding("tls", camera.id, "warning", f"{camera.id} is unverified, any certificate is accepted"), None


def _camera(found: "CameraReport") -> Finding:
    codec = f"{found.codec}, polled" if found.is_polled else found.codec
    facts: dict[str, str | float | int] = {
        "codec": codec,
        "size": f"{found.size[0]}x{found.size[1]}",
        "fps": round(found.rate, 1),
        "first_frame_s": round(found.first_frame_s, 2),
        "clock": found.clock if found.is_used else f"{found.clock} (its own is too far off)",
    }
    if found.main_size is not None:
        facts["main_size"] = f"{found.main_size[0]}x{found.main_size[1]}"
    if found.assumed_fps is not None:
        facts |= {"fps": round(found.assumed_fps, 1), "timestamps": "none"}
    if found.skew_s is not None:
        facts["skew_s"] = round(found.skew_s, 3)
    return Finding("camera", found.camera, "ok", f"{codec}, {facts['size']}, {facts['fps']} fps", facts)
