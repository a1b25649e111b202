"""docs/reference/metrics.md: every metric on /metrics, from a real scrape of the daemon's own collectors."""

from types import SimpleNamespace
from typing import Any

from prometheus_client.core import Metric
from redis import Redis

from docs.generators.markdown import head, table
from reid_stream.ingest.stats import CameraStats
from reid_stream.link.redis_receiver import RedisReceiver
from reid_stream.observe.collector import SiteCollector
from reid_stream.observe.host_metrics import ClaimsCollector, HostMetrics, LinkCollector
from reid_stream.observe.metrics import Metrics, Monitoring
from reid_stream.pipeline import PerceiveCounts
from reid_stream.records import CameraId

_TEXT = """\
`/metrics` serves Prometheus text on `observe.host:observe.port` (127.0.0.1:9464 by default). Counters end in `_total`.
What to watch and which alerts to set: [Monitoring](../guide/monitoring.md).
"""


def page() -> str:
    """Generate the page."""
    metrics = Metrics()
    HostMetrics(metrics.registry)
    metrics.registry.register(ClaimsCollector(SimpleNamespace(mine=(), unclaimed=0, hosts=())))
    metrics.registry.register(LinkCollector(RedisReceiver(Redis(), "site")))
    own = [(family, _labels(metrics, family.name) or _labels_of(family)) for family in metrics.registry.collect()]
    monitoring = Monitoring()
    read = [(family, _labels_of(family)) for family in _scrape(monitoring).collect()]
    # The collector leaves out what it cannot read; a page without it would be wrong.
    assert monitoring.total == 0, monitoring.take()
    rows = []
    for family, labels in sorted(own + read, key=lambda pair: pair[0].name):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append((f"`{name}`", family.type, ", ".join(f"`{label}`" for label in labels), family.documentation))
    return head("Metrics", _TEXT) + "\n" + table(("metric", "type", "labels", "meaning"), rows)


def _labels(metrics: Metrics, name: str) -> tuple[str, ...]:
    for collector, names in metrics.registry._collector_to_names.items():  # noqa: SLF001 (there is no public way)
        if name in names:
            return tuple(getattr(collector, "_labelnames", ()))
    return ()


def _labels_of(family: Metric) -> tuple[str, ...]:
    return tuple(getattr(family, "_labelnames", ()))


def _scrape(monitoring: Monitoring) -> SiteCollector:
    """Return the collector over components that have counted nothing yet."""
    camera, other = CameraId("camera"), CameraId("other")
    stats = {name: CameraStats(name, name) for name in (camera, other)}
    for one in stats.values():
        one.skew_s, one.limit_fps = 0.0, 1.0
    sending = SimpleNamespace(
        counters=SimpleNamespace(found=0, resent=0, moved=0, faults={}, dropped={}, lost={}),
        backlog=0,
        away=None,
        in_memory_only=0,
        spool=SimpleNamespace(size_bytes=0, max_bytes=0),
    )
    storing = SimpleNamespace(written=0, lost={}, removed=0, used_bytes=0)
    keeping = SimpleNamespace(entries=0, stalled_s=0.0, snapshots={}, snapshot_bytes=0, snapshot_s=0.0)
    engine: Any = SimpleNamespace(name="engine")
    parts: dict[str, Any] = {"sending": sending, "storing": storing, "keeping": keeping}
    cameras: Any = SimpleNamespace(stats=stats, replaced={})
    return SiteCollector(
        cameras=cameras,
        counts=PerceiveCounts(),
        rejected=dict,
        engines={"network": engine},
        monitoring=monitoring,
        **parts,
    )
