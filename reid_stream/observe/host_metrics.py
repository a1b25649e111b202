"""Metrics of the link between hosts, and of the perceive hosts as identification sees them."""

from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class LinkCounters(Protocol):
    """Counters of the receiving end; `link.redis_receiver.RedisReceiver`."""

    waiting: int
    faults: int
    duplicates: int
    late: int
    lost: int
    malformed: int


class ClaimCounters(Protocol):
    """Cameras that hosts share; `runtime.hosts.camera_claims.CameraClaims`."""

    @property
    def mine(self) -> Collection[str]:
        """Cameras of this host."""
        ...

    @property
    def unclaimed(self) -> int:
        """Cameras that no host has."""
        ...

    @property
    def hosts(self) -> Collection[str]:
        """Hosts that share them."""
        ...


class ClaimsCollector(Collector):
    """Figures of the cameras that hosts share, as one of them sees them."""

    def __init__(self, claims: ClaimCounters) -> None:
        self._claims = claims

    def collect(self) -> Iterator[Metric]:
        """Yield all of them."""
        claims = self._claims
        yield GaugeMetricFamily("reid_stream_shared_cameras", "Shared cameras that this host has.", len(claims.mine))
        yield GaugeMetricFamily(
            "reid_stream_shared_cameras_unclaimed", "Shared cameras that no host has.", claims.unclaimed
        )
        yield GaugeMetricFamily("reid_stream_shared_hosts", "Hosts that share the cameras.", len(claims.hosts))


class HostMetrics(Collector):
    """Figures of the hosts; a host that has ended in order has none."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._up = Gauge("reid_stream_host_up", "1 while a perceive host reports.", ["host"], registry=registry)
        self._offset = Gauge(
            "reid_stream_host_clock_offset_seconds",
            "Identification's clock less that of a host, with the delay of its report.",
            ["host"],
            registry=registry,
        )
        self._waited: dict[str, float] = {}
        self._crops: dict[str, int] = {}
        registry.register(self)

    def report(self, host: str, offset_s: float, waited_s: float, crops_lost: int) -> None:
        """Note a report of a host."""
        self._up.labels(host).set(1)
        self._offset.labels(host).set(offset_s)
        self._waited[host], self._crops[host] = waited_s, crops_lost

    def lose(self, host: str) -> None:
        """Note that a host is silent."""
        self._up.labels(host).set(0)

    def forget(self, host: str) -> None:
        """Drop the figures of a host that has ended in order."""
        for gauge in (self._up, self._offset):
            with suppress(KeyError):
                gauge.remove(host)
        self._waited.pop(host, None)
        self._crops.pop(host, None)

    def collect(self) -> Iterator[Metric]:
        """Yield the counters that hosts report."""
        waited = CounterMetricFamily(
            "reid_stream_host_waited_seconds",
            "Time that a host's perception waited for the link.",
            labels=["host"],
        )
        crops = CounterMetricFamily(
            "reid_stream_host_crops_lost", "Crops without room on the way to the tracklet store.", labels=["host"]
        )
        for host, seconds in list(self._waited.items()):
            waited.add_metric([host], seconds)
        for host, count in list(self._crops.items()):
            crops.add_metric([host], count)
        yield from (waited, crops)


class LinkCollector(Collector):
    """Counters of the link between hosts, read when asked."""

    def __init__(self, link: LinkCounters) -> None:
        self._link = link

    def collect(self) -> Iterator[Metric]:
        """Yield all of them."""
        link = self._link
        yield GaugeMetricFamily(
            "reid_stream_link_waiting", "Batches of observations on the stream between hosts.", link.waiting
        )
        yield CounterMetricFamily("reid_stream_link_faults", "Failed reads of observations from Redis.", link.faults)
        dropped = CounterMetricFamily(
            "reid_stream_link_dropped",
            "Observations dropped: sent twice, from a host that no longer has the camera, or unreadable.",
            labels=["cause"],
        )
        for cause in ("duplicates", "late", "malformed"):
            dropped.add_metric([cause.removesuffix("s")], getattr(link, cause))
        yield dropped
        yield CounterMetricFamily(
            "reid_stream_link_lost", "Observations that never came: gaps in a host's numbers.", link.lost
        )
