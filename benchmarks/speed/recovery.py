"""Measure the cost of durable identities: journal per step, snapshots, recovery after a crash.

Against a real Redis and a real spool. Recovery is measured from the snapshot's first byte to a matcher that takes the
next step, with a minute of a site's journal to replay; its floor is reading the same bytes from Redis.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.faults.unguarded_redis import UnguardedRedis
from benchmarks.simulator.looks import drawn
from benchmarks.simulator.scenario import Scenario
from benchmarks.simulator.world import simulate
from benchmarks.speed.matcher import filled
from reid_stream.bundles.bundle import EmbedderBundle
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.settings import Match, Publish, Redis, TopologySettings
from reid_stream.journal.entry import StateKeys
from reid_stream.journal.recorder import JournalPosition, JournalRecorder
from reid_stream.journal.recovery import recover
from reid_stream.journal.snapshot import MatcherSettings
from reid_stream.journal.snapshot_store import SnapshotStore
from reid_stream.journal.snapshot_writer import SnapshotWriter
from reid_stream.match.factory import matcher_for
from reid_stream.match.matcher import Matcher
from reid_stream.match.presence import Presence
from reid_stream.match.snapshot import MatcherState
from reid_stream.match.tracklets import Stay
from reid_stream.pipeline import Identification
from reid_stream.publish.redis_client import connect
from reid_stream.publish.redis_sink import RedisSink
from reid_stream.publish.spool import Spool
from reid_stream.records import CameraId, Perceived, TrackId

SIZES = (100, 1000, 10_000, 100_000)
_SITE, _RUN, _OTHER = "bench", "bench", "bench-2"
_STAYS = 3
"""Stays of each person, as after a few cameras."""
_MOST_VIEWS = 300_000
"""Views of all people together; more people have fewer each."""
_MINUTE_S = 60.0
_WAIT_S = 600.0
_TURNS = 5


class GallerySize(msgspec.Struct, frozen=True, kw_only=True):
    """One size of the gallery."""

    people: int
    views: int
    """Views per identity."""
    snapshot_mb: float
    stall_ms: float
    """Time that a snapshot blocks identification: CPU time of its thread."""
    write_s: float
    """Time that it takes in the background, with Redis."""
    entries: int
    """Entries of the journal that are replayed: a minute of the site."""
    recovery_s: float
    """Time from the first byte read to the next step."""
    restored_s: float
    """Part until the snapshot is restored; the rest is the replay of the minute."""
    read_s: float
    """Reading the same from Redis and nothing else: the floor."""


class JournalCost(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of an identification step with its events; CPU time of its thread."""

    cameras: int
    steps_per_s: float
    observations_per_s: float
    without_ms: float
    """Mean, without a journal."""
    with_ms: float
    """Mean, with its entry on the disk."""
    share: float
    """Difference of the two."""
    bytes_per_s: float
    """Growth of the journal."""


class RecoveryFigures(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    price: JournalCost
    sizes: list[GallerySize]


Batches = Sequence[tuple[float, list[Perceived]]]


def measure(
    bundle: EmbedderBundle, sizes: Sequence[int], cameras: int, progress: Callable[[str], None]
) -> RecoveryFigures:
    """Measure on a Redis started here, which does not wait for its disk, whose time is not measured.

    Raises:
        BrokerError: there is no redis-server.
    """
    batches = _minute(bundle, cameras)
    with tempfile.TemporaryDirectory(prefix="reid-stream-bench-") as given, UnguardedRedis(Path(given) / "r") as server:
        client = connect(Redis(), url=server.url)
        client.config_set("appendonly", "no")
        progress(f"a step of {cameras} cameras, with and without the journal ...")
        price = _price(bundle, batches, cameras, server.url, Path(given))
        found = []
        for size in sizes:
            progress(f"{size} people ...")
            client.flushall()
            found.append(_size(bundle, size, batches, server.url, Path(given) / f"spool-{size}"))
        client.close()
    return RecoveryFigures(price=price, sizes=found)


def show(figures: RecoveryFigures) -> None:
    """Print the figures."""
    from rich.table import Table

    from reid_stream.console.output import Output

    price = figures.price
    table = Table(
        "people", "views", "snapshot MB", "stall ms", "written in s", "entries", "recovered after s", "restored", "read"
    )
    for size in figures.sizes:
        table.add_row(
            f"{size.people:,}",
            str(size.views),
            f"{size.snapshot_mb:.1f}",
            f"{size.stall_ms:.1f}",
            f"{size.write_s:.2f}",
            str(size.entries),
            f"{size.recovery_s:.2f}",
            f"{size.restored_s:.2f}",
            f"{size.read_s:.2f}",
        )
    console = Output()
    console.print(table)
    console.print(
        f"{price.cameras} cameras, {price.observations_per_s:.0f} observations and {price.steps_per_s:.1f} steps a "
        f"second: a step takes {price.with_ms:.3f} ms with the journal, {price.without_ms:.3f} without "
        f"({price.share:+.1%}); {price.bytes_per_s / 1000:.1f} kB a second",
        highlight=False,
    )


def _minute(bundle: EmbedderBundle, cameras: int) -> Batches:
    """Simulate a minute of a site, all cameras in one batch."""
    people = 8 * cameras
    scenario = Scenario(cameras=cameras, people=people, arrivals_per_hour=60.0 * people, look_alikes=0, return_share=0)
    looks = drawn(people, min(cameras, 6), 3, bundle.dim, np.random.default_rng(1), bundle.hash)
    world = simulate(scenario, looks)
    found = [(now, records) for now, records in world.batches() if records]
    begin = found[0][0] + _MINUTE_S  # by then there are people everywhere
    return [(now, records) for now, records in found if begin <= now < begin + _MINUTE_S]


def _price(bundle: EmbedderBundle, batches: Batches, cameras: int, url: str, folder: Path) -> JournalCost:
    names = StateKeys.of(_SITE, bundle.hash)

    def run(name: str, journal: str | None) -> tuple[list[float], int]:
        spool = Spool(folder / name)
        client = connect(Redis(), url=url)
        sink = RedisSink(client, where=url, site=name, run=_RUN, spool=spool, journal=journal)
        matcher, presence = _make(bundle)(Match(), TopologySettings(), None, 1), Presence(Publish())
        writer = SnapshotWriter(SnapshotStore(client, names), names.snapshots, {})
        kept = MatcherSettings.of(Match(), Publish(), TopologySettings())
        steps = Identification(matcher, presence)
        recorder = JournalRecorder(
            steps, sink, writer, run=_RUN, position=JournalPosition(), settings=kept, every_s=1e9
        )
        spent = []
        for now, records in batches:
            began = time.thread_time()
            if journal is None:
                sink.publish(steps.step(records, now))
            else:
                recorder.commit(recorder.step(records, now))
            spent.append(time.thread_time() - began)
        size = sum(map(len, spool.entries(journal))) if journal is not None else 0
        writer.wait(_WAIT_S)
        sink.close(_WAIT_S)
        return spent, size

    # Each step is the same every time, so its minimum is the measure: other load only makes it slower.
    turns = [(run(f"without{turn}", None), run(f"with{turn}", names.journal)) for turn in range(_TURNS)]
    without, kept = (float(np.min([pair[way][0] for pair in turns], axis=0).mean()) for way in (0, 1))
    observations = sum(len(records) for _, records in batches)
    return JournalCost(
        cameras=cameras,
        steps_per_s=len(batches) / _MINUTE_S,
        observations_per_s=observations / _MINUTE_S,
        without_ms=without * 1e3,
        with_ms=kept * 1e3,
        share=kept / without - 1,
        bytes_per_s=turns[0][1][1] / _MINUTE_S,
    )


def _size(bundle: EmbedderBundle, people: int, batches: Batches, url: str, folder: Path) -> GallerySize:
    views = max(1, min(Match().exemplars, _MOST_VIEWS // people))
    settings = Match(max_identities=people + 1000, retention_s=1e9)
    names = StateKeys.of(_SITE, bundle.hash)
    make = _make(bundle)
    client = connect(Redis(), url=url)
    slots = SnapshotStore(client, names)
    sink = RedisSink(client, where=url, site=_SITE, run=_RUN, spool=Spool(folder), journal=names.journal)
    writer = SnapshotWriter(slots, names.snapshots, {})
    kept = MatcherSettings.of(settings, Publish(), TopologySettings())
    matcher = make(settings, TopologySettings(), _state(bundle, people, views, batches[0][0]), 1)
    position = JournalPosition(number=people)
    steps = Identification(matcher, Presence(Publish()))
    recorder = JournalRecorder(steps, sink, writer, run=_RUN, position=position, settings=kept, every_s=1e9)
    stalls = []
    for _ in range(_TURNS):
        held = time.thread_time()
        matcher.capture()
        stalls.append(time.thread_time() - held)
    for now, records in batches:  # the snapshot is of the moment before the first
        recorder.commit(recorder.step(records, now))
    writer.wait(_WAIT_S)
    sink.flush(_WAIT_S)
    size, write_s = writer.size_bytes, writer.took_s
    del matcher, steps, recorder
    began = time.perf_counter()
    for key, head in slots.heads()[0].items():
        for number in range(len(head.digests)):
            client.hget(key, f"part:{number}")
    bodies = list(slots.entries())
    read_s = time.perf_counter() - began
    found = recover(
        slots,
        (),
        make=make,
        match=settings,
        publish=Publish(),
        topology=TopologySettings(),
        first_number=1,
        known=lambda _run, _since: 1 << 40,
        run=_OTHER,
    )
    assert len(bodies) == found.entries, "the journal must hold the entries after the snapshot"
    sink.close(_WAIT_S)
    return GallerySize(
        people=people,
        views=views,
        snapshot_mb=size / 1e6,
        stall_ms=min(stalls) * 1e3,
        write_s=write_s,
        entries=found.entries,
        recovery_s=found.took_s,
        restored_s=found.restored_s,
        read_s=read_s,
    )


def _state(bundle: EmbedderBundle, people: int, views: int, now: float) -> MatcherState:
    """Return the state of a matcher with this number of people, each with a few stays."""
    looks = drawn(min(people, 4000), 6, 2, bundle.dim, np.random.default_rng(1), bundle.hash)
    state = filled(bundle, looks, people, views).state()
    cameras = list(state.cameras)
    for person in state.people:
        for turn in range(_STAYS):
            serial = person.number * _STAYS + turn
            first_at = now - 600.0 * (_STAYS - turn)
            camera = CameraId(cameras[serial % len(cameras)])
            person.stays.append(Stay(serial, "before", camera, TrackId(serial), first_at, first_at + 8))
        person.last_at = person.updated_at = now - 60.0
    state.next_serial = (people + 1) * _STAYS
    return state


def _make(bundle: EmbedderBundle) -> Callable[[Match, TopologySettings, MatcherState | None, int], Matcher]:
    embedder = EmbedderInfo.of(bundle)

    def make(match: Match, topology: TopologySettings, state: MatcherState | None, first_number: int) -> Matcher:
        return matcher_for(match, embedder, _SITE, topology=topology, state=state, first_number=first_number)

    return make
