"""Prometheus collector for counters owned by other components: cameras, perception, matcher, sink, store, journal."""

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
    from reid_stream.publish.sink_status import SinkCounters
    from reid_stream.publish.spool import Spool


class CameraCounters(Protocol):
    """Counters of a camera source."""

    @property
    def stats(self) -> "Mapping[CameraId, CameraStats]":
        """Current state and counters of each camera."""
        ...

    @property
    def replaced(self) -> Mapping[CameraId, int]:
        """Frames replaced by a newer one, by camera."""
        ...


class SinkCountersView(Protocol):
    """Counters of the Redis sink."""

    @property
    def backlog(self) -> int:
        """Events accepted and not yet on the stream."""
        ...

    @property
    def counters(self) -> "SinkCounters":
        """Events by outcome."""
        ...

    @property
    def away(self) -> str | None:
        """Why Redis is unavailable; none while it serves."""
        ...

    @property
    def in_memory_only(self) -> int:
        """Events that did not fit on the disk."""
        ...

    @property
    def spool(self) -> "Spool":
        """The spool."""
        ...


class StoreCounters(Protocol):
    """Counters of the tracklet store."""

    @property
    def written(self) -> int:
        """Crops written."""
        ...

    @property
    def lost(self) -> Mapping[str, int]:
        """Crops that could not be written, by cause."""
        ...

    @property
    def removed(self) -> int:
        """Tracks deleted."""
        ...

    @property
    def used_bytes(self) -> int:
        """Size of all tracks, bytes."""
        ...


class JournalCounters(Protocol):
    """Counters of the journal."""

    entries: int
    """Steps written to the journal."""
    stalled_s: float
    """Longest delay of a step by a snapshot, seconds."""

    @property
    def snapshots(self) -> Mapping[str, int]:
        """Snapshots by outcome."""
        ...

    @property
    def snapshot_bytes(self) -> int:
        """Size of the last snapshot, bytes."""
        ...

    @property
    def snapshot_s(self) -> float:
        """Time to write the last snapshot in the background, seconds."""
        ...


class SiteCollector(Collector):
    """Collector of one daemon; reads the counters at each call of `collect`."""

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
        """Keep references to the counters.

        Args:
            cameras: counters of the cameras.
            counts: counters of perception.
            rejected: observations the matcher rejected, by cause.
            sending: the Redis sink; none without Redis.
            storing: the tracklet store; none without one.
            keeping: the journal; none without state.
            engines: engine of each network; none where workers run them.
            monitoring: notes faults; none for a new one.
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
        """Yield all metrics; a group that cannot be read is left out, logged and counted."""
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
        yield _count("frames_limited", "Frames that people were looked for in regions of.", self._counts.limited)
        yield _count("frames_predicted", "Frames kept from the detector with people predicted.", self._counts.predicted)
        yield _count("detections", "People found in frames.", self._counts.detections)
        yield _count("unassigned_boxes", "Boxes without a track.", self._counts.unassigned)
        yield _count("crops_embedded", "Crops turned into vectors.", self._counts.crops)
        yield _by_cause("observations_rejected", "Observations rejected by the matcher.", self._rejected())
        yield _by_cause("observations_odd", "Observations accepted with an odd time or camera.", self._odd())
        yield _count("observations_unnamed", "Observations of tracks without a vector.", self._unnamed())

    def _of_sending(self) -> Iterator[Metric]:
        if self._sending is None:
            return
        counters = self._sending.counters
        yield _gauge("events_spooled", "Events waiting for Redis.", self._sending.backlog)
        yield _gauge("redis_up", "1 while Redis accepts events.", self._sending.away is None)
        yield _gauge("spool_bytes", "Size of the events on disk.", self._sending.spool.size_bytes)
        yield _gauge("spool_bytes_max", "Maximum size of the events on disk.", self._sending.spool.max_bytes)
        yield _gauge(
            "events_in_memory_only",
            "Events that a full disk could not take; a crash loses them.",
            self._sending.in_memory_only,
        )
        yield _by_cause(
            "events_repeated",
            "Events sent more than once: found stored already, lost by Redis, or moved behind another writer.",
            {"found": counters.found, "lost": counters.resent, "moved": counters.moved},
        )
        yield _by_cause("redis_faults", "Attempts to send events that failed.", counters.faults)
        yield _by_cause("events_dropped", "Events dropped for lack of space, by priority.", counters.dropped)
        yield _by_cause(
            "events_lost",
            "Events lost otherwise: stale after another daemon's takeover, in a damaged spool, or by Redis.",
            counters.lost,
        )

    def _of_keeping(self) -> Iterator[Metric]:
        if self._keeping is None:
            return
        yield _count("journal_entries", "Steps of identification written to the journal.", self._keeping.entries)
        yield _by_cause("snapshots", "Snapshots of all identities, by outcome.", self._keeping.snapshots)
        yield _gauge("snapshot_bytes", "Size of the last snapshot.", self._keeping.snapshot_bytes)
        yield _gauge("snapshot_seconds", "Time to write the last snapshot in the background.", self._keeping.snapshot_s)
        yield _gauge(
            "snapshot_stall_seconds", "Longest delay of identification by a snapshot.", self._keeping.stalled_s
        )

    def _of_storing(self) -> Iterator[Metric]:
        if self._storing is None:
            return
        yield _count("store_crops", "Crops written to the tracklet store.", self._storing.written)
        yield _by_cause("store_crops_lost", "Crops that the tracklet store lost, by cause.", self._storing.lost)
        yield _count("store_tracks_removed", "Tracks deleted by age or size.", self._storing.removed)
        yield _gauge("store_bytes", "Size of the store.", self._storing.used_bytes)

    def _of_engines(self) -> Iterator[Metric]:
        serving = GaugeMetricFamily(
            "reid_stream_engine_serving", "1 for the engine that runs a network.", labels=["network", "engine"]
        )
        share = GaugeMetricFamily(
            "reid_stream_engine_built", "Share of the next engine that is built.", labels=["network"]
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
            "Frames dropped: over the rate cap, too late for a file, corrupt, lost in transit, or replaced.",
            labels=["camera", "cause"],
        )
        back = CounterMetricFamily("reid_stream_camera_reconnects", "Reconnections of a camera.", labels=["camera"])
        skew = GaugeMetricFamily(
            "reid_stream_camera_skew_seconds",
            "Clock of a camera minus that of the daemon, where the camera sends it.",
            labels=["camera"],
        )
        failures = CounterMetricFamily(
            "reid_stream_camera_failures",
            "Failed attempts and broken connections, by cause.",
            labels=["camera", "cause"],
        )
        details = CounterMetricFamily(
            "reid_stream_main_stream_images",
            "Key frames of main streams (`url` beside `detect_url`) handed on to cut people out of.",
            labels=["camera"],
        )
        repaired = CounterMetricFamily(
            "reid_stream_frames_repaired", "Frames that show damage of an earlier one.", labels=["camera"]
        )
        fallbacks = CounterMetricFamily(
            "reid_stream_hardware_fallbacks",
            "Times hardware decoding was requested and unavailable.",
            labels=["camera"],
        )
        steps = CounterMetricFamily("reid_stream_clock_steps", "Steps of the system clock.", labels=["camera"])
        limit = GaugeMetricFamily(
            "reid_stream_camera_limit_fps",
            "Frames per second that overload limits a camera to.",
            labels=["camera"],
        )
        replaced = self._cameras.replaced
        states = self._cameras.stats
        for camera, stats in states.items():
            if stats.limit_fps is not None:
                limit.add_metric([camera], stats.limit_fps)
            repaired.add_metric([camera], stats.repaired)
            details.add_metric([camera], stats.details)
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
        yield from (read, dropped, limit, back, skew, failures, repaired, details, fallbacks, steps)
        apart = clock_spread({camera: stats.skew_s for camera, stats in states.items()})
        if apart is not None:
            yield GaugeMetricFamily(
                "reid_stream_camera_skew_between_seconds",
                "Largest difference between the clocks of two cameras.",
                value=apart.by_s,
            )


def _count(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"reid_stream_{name}", text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"reid_stream_{name}", text, value=value)


def _by_cause(name: str, text: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"reid_stream_{name}", text, labels=["cause"])
    # A copy, since another thread may add a cause meanwhile.
    for cause, count in dict(counts).items():
        family.add_metric([cause], count)
    return family
