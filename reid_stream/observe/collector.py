"""Figures that others count anyway, read when Prometheus asks: cameras, perceive, the matcher, the way to Redis."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from reid_stream.engines.hot_swap import SwapEngine
from reid_stream.ingest.stats import clock_spread
from reid_stream.observe.metrics import Monitoring
from reid_stream.pipeline import PerceiveCounts
from reid_stream.records import CameraId

if TYPE_CHECKING:
    from reid_stream.engines.protocol import PixelEngine
    from reid_stream.ingest.stats import CameraStats
    from reid_stream.publish.sink_counters import SinkCounters
    from reid_stream.publish.spool import Spool


class CameraCounters(Protocol):
    """What a source tells of its cameras; `daemon.Source` says more."""

    @property
    def stats(self) -> "Mapping[CameraId, CameraStats]":
        """Of each camera, now."""
        ...

    @property
    def replaced(self) -> Mapping[CameraId, int]:
        """Frames that a newer one replaced, per camera."""
        ...


class SinkCountersView(Protocol):
    """What the way to Redis tells of itself."""

    @property
    def backlog(self) -> int:
        """Events taken and not yet on the stream."""
        ...

    @property
    def counters(self) -> "SinkCounters":
        """What became of the events so far."""
        ...

    @property
    def away(self) -> str | None:
        """Why Redis does not serve; none while it does."""
        ...

    @property
    def in_memory_only(self) -> int:
        """Events that found no room on the disk."""
        ...

    @property
    def spool(self) -> "Spool":
        """Where events wait."""
        ...


class StoreCounters(Protocol):
    """What the tracklet store tells of itself."""

    @property
    def written(self) -> int:
        """Crops put on disk."""
        ...

    @property
    def lost(self) -> Mapping[str, int]:
        """Crops that could not be kept, by cause."""
        ...

    @property
    def removed(self) -> int:
        """Tracks that had to go."""
        ...

    @property
    def used_bytes(self) -> int:
        """Size of all tracks."""
        ...


class JournalCounters(Protocol):
    """What the memory of identities tells of itself."""

    entries: int
    """Steps put into the journal."""
    stalled_s: float
    """Longest that a snapshot held a step up."""

    @property
    def snapshots(self) -> Mapping[str, int]:
        """Snapshots by what became of them."""
        ...

    @property
    def snapshot_bytes(self) -> int:
        """Size of the last one."""
        ...

    @property
    def snapshot_s(self) -> float:
        """What the last one took in the background."""
        ...


class SiteCollector(Collector):
    """Registered once a daemon; every call of `collect` looks anew."""

    def __init__(
        self,
        *,
        cameras: CameraCounters,
        counts: PerceiveCounts,
        rejected: Callable[[], Mapping[str, int]],
        odd: Callable[[], Mapping[str, int]] = dict,
        unnamed: Callable[[], int] = int,
        sending: SinkCountersView | None,
        storing: StoreCounters | None = None,
        keeping: JournalCounters | None = None,
        engines: "Mapping[str, PixelEngine] | None" = None,
        monitoring: Monitoring | None = None,
    ) -> None:
        """Look at these.

        Args:
            cameras: the source of frames.
            counts: of perceive.
            rejected: of the matcher, by cause.
            sending: none where events do not go to Redis.
            storing: none where no crops are kept.
            keeping: none where nothing outlives the daemon.
            engines: what runs each network, none where that is in processes of their own.
            monitoring: takes faults of reading; none for one of its own.
        """
        self._cameras = cameras
        self._counts = counts
        self._rejected, self._odd, self._unnamed = rejected, odd, unnamed
        self._sending = sending
        self._storing = storing
        self._keeping = keeping
        self._engines = dict(engines or {})
        self._monitoring = monitoring or Monitoring()

    def collect(self) -> Iterator[Metric]:
        """Yield every figure as it is now; a group that cannot be read is left out, logged and counted."""
        groups = {
            "cameras": self._of_cameras,
            "engines": self._of_engines,
            "perceive": self._of_perceive,
            "events": self._of_sending,
            "journal": self._of_keeping,
            "store": self._of_storing,
        }
        for name, group in groups.items():
            families: list[Metric] = []
            with self._monitoring.part(f"metrics of {name}"):
                families.extend(group())
            yield from families

    def _of_perceive(self) -> Iterator[Metric]:
        yield _count("frames_gated", "Quiet frames, kept from the detector.", self._counts.gated)
        yield _count("detections", "People found in frames.", self._counts.detections)
        yield _count("unassigned_boxes", "Boxes the tracker gave no track.", self._counts.unassigned)
        yield _count("crops_embedded", "Crops turned into vectors.", self._counts.crops)
        yield _by_cause("observations_rejected", "Observations the matcher could not use.", self._rejected())
        yield _by_cause("observations_odd", "Observations used though their time or camera is odd.", self._odd())
        yield _count("observations_unnamed", "Observations of tracks that never got a vector.", self._unnamed())

    def _of_sending(self) -> Iterator[Metric]:
        if self._sending is None:
            return
        counters = self._sending.counters
        yield _gauge("events_spooled", "Events that wait for Redis.", self._sending.backlog)
        yield _gauge("redis_up", "1 while Redis takes events.", self._sending.away is None)
        yield _gauge("spool_bytes", "Room that events take on disk.", self._sending.spool.size_bytes)
        yield _gauge("spool_bytes_max", "Room that they may take.", self._sending.spool.max_bytes)
        yield _gauge(
            "events_in_memory_only",
            "Events a full disk did not take: a crash loses them.",
            self._sending.in_memory_only,
        )
        yield _by_cause(
            "events_repeated",
            "Events sent more than once: found stored already, lost by Redis, or moved behind another writer.",
            {"found": counters.found, "lost": counters.resent, "moved": counters.moved},
        )
        yield _by_cause("redis_faults", "Attempts to send events that failed.", counters.faults)
        yield _by_cause("events_dropped", "Events lost for want of room, by rank.", counters.dropped)
        yield _by_cause(
            "events_lost",
            "Events lost otherwise: stale after another daemon's takeover, in a damaged spool, or by Redis.",
            counters.lost,
        )

    def _of_keeping(self) -> Iterator[Metric]:
        if self._keeping is None:
            return
        yield _count("journal_entries", "Steps of identify put into the journal.", self._keeping.entries)
        yield _by_cause("snapshots", "Snapshots of all identities, written or failed.", self._keeping.snapshots)
        yield _gauge("snapshot_bytes", "Size of the last snapshot.", self._keeping.snapshot_bytes)
        yield _gauge("snapshot_seconds", "What it took in the background.", self._keeping.snapshot_s)
        yield _gauge("snapshot_stall_seconds", "Longest that a snapshot held identify up.", self._keeping.stalled_s)

    def _of_storing(self) -> Iterator[Metric]:
        if self._storing is None:
            return
        yield _count("store_crops", "Crops put into the tracklet store.", self._storing.written)
        yield _by_cause("store_crops_lost", "Crops the tracklet store could not keep.", self._storing.lost)
        yield _count("store_tracks_removed", "Tracks deleted to keep within age and room.", self._storing.removed)
        yield _gauge("store_bytes", "Size of the store.", self._storing.used_bytes)

    def _of_engines(self) -> Iterator[Metric]:
        serving = GaugeMetricFamily(
            "reid_stream_engine_serving", "1 for the engine that runs a network now.", labels=["network", "engine"]
        )
        share = GaugeMetricFamily(
            "reid_stream_engine_built", "Share that is built of the engine that comes next.", labels=["network"]
        )
        for network, engine in self._engines.items():
            serving.add_metric([network, engine.name], 1)
            if isinstance(engine, SwapEngine):
                share.add_metric([network], engine.share)
        if self._engines:
            yield from (serving, share)

    def _of_cameras(self) -> Iterator[Metric]:
        read = CounterMetricFamily("reid_stream_frames_read", "Frames decoded.", labels=["camera"])
        dropped = CounterMetricFamily(
            "reid_stream_frames_dropped",
            "Frames left out: over the rate cap, a file's played too late, corrupt, lost on the way, or replaced.",
            labels=["camera", "cause"],
        )
        back = CounterMetricFamily("reid_stream_camera_reconnects", "Times a camera came back.", labels=["camera"])
        skew = GaugeMetricFamily(
            "reid_stream_camera_skew_seconds", "A camera's own clock less ours, where it tells.", labels=["camera"]
        )
        failures = CounterMetricFamily(
            "reid_stream_camera_failures",
            "Attempts that failed and connections that broke, by cause.",
            labels=["camera", "cause"],
        )
        repaired = CounterMetricFamily(
            "reid_stream_frames_repaired", "Frames that show a part of an earlier one's damage.", labels=["camera"]
        )
        fallbacks = CounterMetricFamily(
            "reid_stream_hardware_fallbacks", "Times hardware decoding was wanted and not had.", labels=["camera"]
        )
        steps = CounterMetricFamily(
            "reid_stream_clock_steps", "Times our own clock was put forward or back.", labels=["camera"]
        )
        limit = GaugeMetricFamily(
            "reid_stream_camera_limit_fps",
            "What the machine can bear of a camera now, where that is less than it should give.",
            labels=["camera"],
        )
        replaced = self._cameras.replaced
        told = self._cameras.stats
        for camera, stats in told.items():
            if stats.limit_fps is not None:
                limit.add_metric([camera], stats.limit_fps)
            repaired.add_metric([camera], stats.repaired)
            fallbacks.add_metric([camera], stats.hardware_fallbacks)
            steps.add_metric([camera], stats.clock_steps)
            for cause, count in dict(stats.failures).items():
                failures.add_metric([camera, cause], count)
            read.add_metric([camera], stats.read)
            for cause, count in {**stats.dropped, "replaced": replaced.get(camera, 0)}.items():
                dropped.add_metric([camera, cause], count)
            back.add_metric([camera], stats.reconnects)
            if stats.skew_s is not None:
                skew.add_metric([camera], stats.skew_s)
        yield from (read, dropped, limit, back, skew, failures, repaired, fallbacks, steps)
        apart = clock_spread({camera: stats.skew_s for camera, stats in told.items()})
        if apart is not None:
            yield GaugeMetricFamily(
                "reid_stream_camera_skew_between_seconds",
                "Between the two cameras whose own clocks differ most.",
                value=apart.by_s,
            )


def _count(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"reid_stream_{name}", text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"reid_stream_{name}", text, value=value)


def _by_cause(name: str, text: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"reid_stream_{name}", text, labels=["cause"])
    # A copy: the other thread may meet a new cause meanwhile.
    for cause, count in dict(counts).items():
        family.add_metric([cause], count)
    return family
