"""Cameras, topology and system as the API gives them."""

import math
import time
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from reid_stream.bundles.bundle import Bundle
from reid_stream.bundles.licences import commercial_use
from reid_stream.config.settings import Settings, TopologySettings
from reid_stream.match.topology import Topology, TopologyState
from reid_stream.publish.latest_value import topology_key
from reid_stream.publish.redis_client import public, translated
from reid_stream.publish.stream_ids import Position
from reid_stream.web.camera_list import CameraList
from reid_stream.web.count_schemas import Counts, PlaceCount
from reid_stream.web.counts import hour_of, people_per_hour
from reid_stream.web.daemon_metrics import DaemonMetrics, Reading, quantile
from reid_stream.web.feed import CameraNews, Feed
from reid_stream.web.schemas import CameraRecord, ModelRecord, PassageRecord, SystemRecord, TopologyRecord
from reid_stream.web.track_index import TrackIndex

if TYPE_CHECKING:
    import redis

_log = structlog.get_logger(__name__)
_SILENT = 3
"""Number of missed heartbeats after which a daemon counts as gone."""
_COUNTERS = (
    "events_spooled", "redis_up", "spool_bytes", "spool_bytes_max", "store_bytes", "store_crops", "journal_entries",
    "store_tracks_removed", "snapshot_seconds", "detections", "crops_embedded", "people_in_view", "gallery_identities",
)  # fmt: skip


class Overview:
    """Answers about the site as a whole."""

    def __init__(
        self,
        settings: Settings,
        cameras: CameraList,
        feed: Feed,
        index: TrackIndex,
        metrics: DaemonMetrics,
        bundles: list[Bundle],
        client: "redis.Redis",
    ) -> None:
        self._settings, self._cameras = settings, cameras
        self._feed, self._index, self._metrics = feed, index, metrics
        self._bundles, self._client = bundles, client
        self._has_refused_topology = False
        self.silent_s = _SILENT * settings.publish.heartbeat_s + 5
        """Time without a heartbeat after which the daemon counts as gone."""

    def is_running(self) -> bool:
        """Whether a recent event shows that the daemon runs.

        Its position counts as well: in a replay the times in events are those of the recording.
        """
        daemon = self._feed.daemon
        if daemon.started_at is None or daemon.stopped_at is not None:
            return False
        handed_over_at = Position.parse(self._feed.position).ms / 1000
        beat_at = daemon.heartbeat.at if daemon.heartbeat is not None else 0.0
        return any(abs(time.time() - at) < self.silent_s for at in (handed_over_at, beat_at, daemon.started_at))

    def cameras(self) -> list[CameraRecord]:
        """Return every camera of cams.yaml."""
        reading = self._metrics.read()
        with self._feed.lock:
            here = self._feed.view.here()
            seen: dict[str, float] = {}
            for person in self._feed.view.people.values():
                for visit in person.visits:
                    seen[visit.camera] = max(seen.get(visit.camera, 0.0), visit.last_at)
            news = dict(self._feed.daemon.cameras)
        running = self.is_running()
        found = []
        for camera in self._cameras.enabled():
            known = news.get(camera.id, CameraNews())  # type: ignore[call-overload]
            up = None if reading is None else reading.one("camera_up", camera=camera.id)
            is_up = bool(up) if up is not None else known.is_up
            found.append(
                CameraRecord(
                    camera=camera.id,
                    state="off" if not running else "waiting" if is_up is None else "up" if is_up else "down",
                    changed_at=known.changed_at,
                    address=public(camera.url.get_secret_value()),
                    frame_size=known.frame_size,
                    codec=known.codec,
                    clock=known.clock,
                    reason=known.reason,
                    here=sorted(here.get(camera.id, ())),  # type: ignore[call-overload]
                    last_seen_at=seen.get(camera.id),
                    **self._measured(camera.id, reading),
                )
            )
        return found

    def _measured(self, camera: str, reading: Reading | None) -> dict[str, Any]:
        if reading is None:
            return {}
        reconnects = reading.one("camera_reconnects", camera=camera)
        return {
            "fps_in": self._metrics.rate("frames_read", camera=camera),
            "fps_used": self._metrics.rate("frames_used", camera=camera),
            "limit_fps": reading.one("camera_limit_fps", camera=camera),
            "dropped": _counts(reading.by("frames_dropped", "cause", camera=camera)),
            "failures": _counts(reading.by("camera_failures", "cause", camera=camera)),
            "reconnects": None if reconnects is None else round(reconnects),
            "skew_s": reading.one("camera_skew_seconds", camera=camera),
        }

    def counts(self, since: float, until: float, camera: str | None = None) -> Counts:
        """Return people, stays and crossings per hour, from `since` to `until` in UTC seconds."""
        with self._feed.lock:
            return Counts(
                hours=people_per_hour(self._feed.view.people.values(), since, until, camera),
                places=self._feed.places.counts(hour_of(since), until, camera),
                is_complete=self._feed.is_complete,
            )

    def places(self, since: float) -> list[PlaceCount]:
        """Return one count per zone and line since a time, UTC seconds."""
        with self._feed.lock:
            return self._feed.places.totals(hour_of(since))

    def topology(self) -> TopologyRecord:
        """Return the learned topology, from its key on Redis."""
        cameras = [camera.id for camera in self._cameras.enabled()]
        with translated(topology_key(self._settings.site)):
            body = self._client.get(topology_key(self._settings.site))
        passages: list[PassageRecord] = []
        if isinstance(body, bytes):
            try:
                passages = _passages(body)
            except Exception as error:  # noqa: BLE001 (what counts of other shapes raise is a long list)
                if not self._has_refused_topology:
                    _log.warning("topology_refused", reason=f"{type(error).__name__}: {error}")
                self._has_refused_topology = True
        others = {name for passage in passages for name in (passage.camera_from, passage.camera_to)} - set(cameras)
        return TopologyRecord(cameras=[*cameras, *sorted(others)], passages=passages)

    def system(self) -> SystemRecord:
        """Return the daemon's health, its models and its retention limits."""
        reading = self._metrics.read()
        settings = self._settings
        with self._feed.lock:
            daemon = self._feed.daemon
            heartbeat, overload = daemon.heartbeat, daemon.overload
            in_view = len({person for people in self._feed.view.here().values() for person in people})
        engines = {} if reading is None else {
            labels.get("network", ""): labels.get("engine", "")
            for labels, value in reading.samples.get("engine_serving", ()) if value
        }  # fmt: skip
        stages = {} if reading is None else {
            name: 1000 * seconds / max(reading.one("stage_seconds_count", stage=name) or 0, 1)
            for name, seconds in reading.by("stage_seconds_sum", "stage").items()
        }  # fmt: skip
        store_bytes = None if reading is None else reading.one("store_bytes")
        return SystemRecord(
            site=settings.site,
            version=daemon.version,
            run=daemon.run,
            is_running=self.is_running(),
            started_at=daemon.started_at,
            stopped_at=daemon.stopped_at,
            stop_reason=daemon.stop_reason,
            fault=self._feed.fault,
            people_in_view=in_view,
            gallery=heartbeat.gallery if heartbeat is not None else len(self._feed.view.people),
            overload=msgspec.to_builtins(overload) if overload is not None else None,
            models=[
                ModelRecord(
                    kind=bundle.kind,
                    name=bundle.name,
                    hash=bundle.hash,
                    licence=bundle.licence,
                    commercial_use=commercial_use(bundle.licence).use,
                    commercial_use_reason=commercial_use(bundle.licence).reason,
                    created=bundle.created,
                    data=bundle.data,
                    metrics=bundle.metrics,
                    engine=engines.get(bundle.kind, ""),
                )
                for bundle in self._bundles
            ],
            bounds={
                "match.retention_s": settings.match.retention_s,
                "match.max_identities": settings.match.max_identities,
                "publish.max_events": settings.publish.max_events,
                "spool.max_mb": settings.spool.max_mb,
                "store.folder": "kept" if settings.store.folder is not None else None,
                "store.retention_s": settings.store.retention_s,
                "store.max_gb": settings.store.max_gb,
                "store.crops_per_track": settings.store.crops_per_track,
            },
            store_tracks=len(self._index.tracks()),
            refused=self._feed.refused + self._index.refused,
            store_bytes=None if store_bytes is None else round(store_bytes),
            stages_ms=stages,
            latency_p50_s=None if reading is None else quantile(reading, "capture_to_event_seconds", 0.5),
            latency_p95_s=None if reading is None else quantile(reading, "capture_to_event_seconds", 0.95),
            counters={}
            if reading is None
            else {name: value for name in _COUNTERS if (value := reading.one(name)) is not None},
        )


def _passages(body: bytes) -> list[PassageRecord]:
    known = Topology(TopologySettings())
    known.restore(msgspec.json.decode(body, type=TopologyState))
    return [
        PassageRecord(
            camera_from=passage.a,
            camera_to=passage.b,
            people=passage.matches,
            share=passage.share,
            at_once=passage.at_once,
            seconds=passage.times_s,
        )
        for passage in known.passages()
        if math.isfinite(passage.matches)
    ]


def _counts(found: dict[str, float]) -> dict[str, int]:
    return {name: round(value) for name, value in sorted(found.items()) if value}
