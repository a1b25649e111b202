"""Estimate the memory of Redis and the disk that a site needs, from what busy cameras were measured to need (pure).

Source of the constants: docs/guide/scaling.md. A quiet camera needs a small part of it.
"""

from dataclasses import dataclass

from reid_stream.config.settings import Settings

EVENT_BYTES = 850
"""Of Redis, for one event on the stream."""
EVENTS_PER_CAMERA_S = 1_000_000 / (26 * 3600) / 4
"""Four busy cameras made a million events in 26 hours."""
IDENTITY_BYTES = 2 * 16 * 1024
"""Of Redis, for one identity: it is in each of the two snapshots."""
STORE_BYTES_PER_CAMERA_S = 7e9 / 86_400 / 4
"""Four busy cameras filled the tracklet store with 7 GB a day."""


@dataclass(frozen=True, slots=True)
class SiteSize:
    """What a site needs if all its cameras are busy."""

    redis_bytes: float
    """Memory of Redis once the bounds of events and identities are reached."""
    events_s: float
    """Time that the stream of events covers, seconds."""
    store_bytes: float
    """Disk of the tracklet store for the whole retention; 0 without a store."""
    store_s: float
    """Time that `store.max_gb` lasts, seconds; infinite without a store."""


def site_size(settings: Settings) -> SiteSize:
    """Estimate what a site needs."""
    cameras = max(1, sum(camera.enabled for camera in settings.cameras))
    has_store = settings.store.folder is not None
    store_rate = cameras * STORE_BYTES_PER_CAMERA_S
    return SiteSize(
        redis_bytes=settings.publish.max_events * EVENT_BYTES + settings.match.max_identities * IDENTITY_BYTES,
        events_s=settings.publish.max_events / (cameras * EVENTS_PER_CAMERA_S),
        store_bytes=store_rate * settings.store.retention_s if has_store else 0.0,
        store_s=settings.store.max_gb * 1e9 / store_rate if has_store else float("inf"),
    )
