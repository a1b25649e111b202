"""Measure the matcher against its floor: one product of each new vector with one vector per person.

    stored identities -> update: p50, p95, p99, worst | raw matmul with all of them | FAISS, if faiss-cpu is installed

Every size runs in its own process, so that memory is measured by itself. The gallery is full, so each newcomer evicts
another person. In each update, a second of a small site, `TRACKS` new tracks come (half of them of stored
people), earlier ones continue, with a vector each, and the oldest end. The floor compares each new track once with each
person. All times are CPU time, since others may use the machine, too; `wall` shows the difference.

Letters: n stored vectors, q queries, d dimensions.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec

import msgspec
import numpy as np

from benchmarks.simulator.looks import Looks, drawn
from benchmarks.speed.memory import give_back, resident_bytes
from reid_stream.bundles.bundle import EmbedderBundle
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.settings import Match
from reid_stream.match.factory import matcher_for
from reid_stream.match.gallery import Exemplar
from reid_stream.match.identities import Person
from reid_stream.match.matcher import Matcher
from reid_stream.records import CameraId, Floats, Observation, Perceived, TrackEnded, TrackId

SIZES = (1_000, 10_000, 100_000, 1_000_000)
TRACKS = 4
"""New tracks in each update, one a camera."""
LASTS = 4
"""Updates that a track lives."""
MOST_VECTORS = 1_000_000
"""Beyond, identities keep fewer exemplars than the settings say: these many take 1 GB in float16."""
_SITE, _RUN = "bench", "bench"
_CAMERAS = tuple(CameraId(f"cam{number}") for number in range(TRACKS))
_BEGINS_AT = 1_767_225_600.0
_WARM = 10
"""Updates before the clock runs: tracks of every age are open by then."""
_LEARN = 60
"""Updates in which the cameras' means are learned, beside a small gallery."""
_LEAST_UPDATES = 20
_POOL = 20_000
"""Different people in a gallery of more: the rest look like one of them, which takes no longer and no shorter."""


class MatcherTiming(msgspec.Struct, frozen=True, kw_only=True):
    """One size; times in milliseconds, of all CPU cores together."""

    identities: int
    exemplars: int
    """Stored for each."""
    dim: int
    updates: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    worst_ms: float
    wall_p50_ms: float
    """Wall time."""
    matmul_ms: float
    """Median of the raw numpy product of `TRACKS` queries with one float32 vector per identity."""
    share_of_matmul: float
    """matmul_ms / p50_ms: 1 for a matcher that costs nothing beside its product."""
    flat_ms: float | None
    """FAISS IndexFlatIP over the same, ten nearest of each query; none where FAISS is not installed."""
    ivf_ms: float | None
    """FAISS IndexIVFFlat, which looks at a part of the gallery only."""
    ivf_recall: float | None
    """Share of queries for which it found the nearest."""
    bytes_per_identity: float
    """Growth of the process while they were stored."""
    floor_bytes_per_identity: float
    """Size of the exemplars, once, in float16."""
    peak_mb: float


def measure(
    bundle: EmbedderBundle,
    sizes: Sequence[int],
    exemplars: int | None,
    updates: int,
    seconds: float,
    progress: Callable[[str], None],
) -> list[MatcherTiming]:
    """Measure each size in a process of its own."""
    rows = []
    spawn = multiprocessing.get_context("spawn")
    for size in sizes:
        stored = exemplars or max(1, min(Match().exemplars, MOST_VECTORS // size))
        progress(f"{size} identities with {stored} vectors each ...")
        with ProcessPoolExecutor(1, mp_context=spawn) as process:
            rows.append(process.submit(measure_one, bundle, size, stored, updates, seconds).result())
    return rows


def measure_one(
    bundle: EmbedderBundle, identities: int, exemplars: int, updates: int, seconds: float = 60.0
) -> MatcherTiming:
    """Measure one size in this process, with fewer updates where they would take more than `seconds`."""
    rng = np.random.default_rng(1)
    people = drawn(min(identities, _POOL), TRACKS, 2, bundle.dim, rng, bundle.hash)
    visitors = drawn(min(2000, 2 * identities), TRACKS, 2, bundle.dim, rng, bundle.hash)
    matmul_ms, flat_ms, ivf_ms, recall = _floors(people, identities, rng)
    give_back()
    before = resident_bytes()
    matcher = filled(bundle, people, identities, exemplars)
    give_back()
    grown = resident_bytes() - before
    times, walls = [], []
    until = time.perf_counter() + seconds
    for number, (now, records) in enumerate(_site(people, visitors, identities, _WARM + updates, bundle.hash)):
        began, wall = time.process_time(), time.perf_counter()
        matcher.update(records, now)
        if number >= _WARM:
            times.append((time.process_time() - began) * 1e3)
            walls.append((time.perf_counter() - wall) * 1e3)
        if len(times) >= _LEAST_UPDATES and time.perf_counter() > until:
            break
    p50, p95, p99 = (float(np.quantile(times, share)) for share in (0.5, 0.95, 0.99))
    return MatcherTiming(
        identities=len(matcher),
        exemplars=exemplars,
        dim=bundle.dim,
        updates=len(times),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        worst_ms=max(times),
        wall_p50_ms=float(np.median(walls)),
        matmul_ms=matmul_ms,
        share_of_matmul=matmul_ms / p50,
        flat_ms=flat_ms,
        ivf_ms=ivf_ms,
        ivf_recall=recall,
        bytes_per_identity=grown / identities,
        floor_bytes_per_identity=2.0 * bundle.dim * exemplars,
        peak_mb=_peak_mb(),
    )


def show(rows: Sequence[MatcherTiming]) -> None:
    """Print the rows as a table."""
    from rich.table import Table

    from reid_stream.console.output import Output

    times_of = ("p50 ms", "p95", "p99", "worst", "wall p50", "matmul ms")
    head = ("identities", "vectors each", "updates", *times_of, "share", "FAISS flat", "IVF", "IVF recall")
    table = Table(*head, "bytes each", "floor", "peak MB", box=None, header_style="bold")
    for row in rows:
        times = (row.p50_ms, row.p95_ms, row.p99_ms, row.worst_ms, row.wall_p50_ms, row.matmul_ms)
        faiss = ((row.flat_ms, ".2f"), (row.ivf_ms, ".2f"), (row.ivf_recall, ".2f"))
        table.add_row(
            f"{row.identities:,}",
            str(row.exemplars),
            str(row.updates),
            *(f"{value:.2f}" for value in times),
            f"{row.share_of_matmul:.2f}",
            *("-" if value is None else f"{value:{form}}" for value, form in faiss),
            f"{row.bytes_per_identity:,.0f}",
            f"{row.floor_bytes_per_identity:,.0f}",
            f"{row.peak_mb:,.0f}",
        )
    Output().print(table)


def filled(bundle: EmbedderBundle, people: Looks, identities: int, exemplars: int) -> Matcher:
    """Return a matcher with this number of people and views of each, and each camera's mean."""
    settings = Match(max_identities=identities, exemplars=exemplars, retention_s=1e9)

    embedder = EmbedderInfo.of(bundle)
    teacher = matcher_for(settings.model_copy(update={"max_identities": 300}), embedder, _SITE)
    for now, records in _site(people, people, len(people), _LEARN, bundle.hash):
        teacher.update(records, now - 1e5)
    state = teacher.state()
    state.people.clear()
    state.exemplars.clear()
    state.tracks.clear()
    state.recent.clear()
    state.turn.clear()
    state.instants.clear()
    state.gallery = None
    state.next_number = identities + 1
    for number in range(1, identities + 1):
        person = (number - 1) % len(people)
        seen_at = _BEGINS_AT - 2 * identities / (number + identities)
        state.people.append(Person(number, 1, "confirmed", seen_at, seen_at, exemplars))
        first = people.rows(person).start
        state.exemplars[number] = [
            Exemplar(people.vectors[first + place].tobytes(), 0.8, _CAMERAS[place // 2 % TRACKS], place)
            for place in range(exemplars)
        ]
    return matcher_for(settings, embedder, _SITE, state=state)


def _site(
    known: Looks, strangers: Looks, identities: int, updates: int, model: str
) -> Iterator[tuple[float, list[Perceived]]]:
    """Yield a site's seconds: new tracks on every camera, half of known people, older ones that continue, and ends."""
    rng = np.random.default_rng(2)
    living: list[tuple[int, int, int, Looks]] = []
    tracks = sequence = 0
    for second in range(updates):
        now, records = _BEGINS_AT + 1.0 + second, list[Perceived]()
        for camera in range(TRACKS):
            looks = known if (camera + second) % 2 else strangers
            living.append((tracks, camera, int(rng.integers(0, min(identities, len(looks)))), looks))
            tracks += 1
        for track, camera, person, looks in living:
            if track < tracks - TRACKS * LASTS:
                records.append(TrackEnded(_RUN, _CAMERAS[camera], TrackId(track), sequence, now))
            else:
                records.append(_seen(looks, track, camera, person, sequence, now, model))
            sequence += 1
        living = [life for life in living if life[0] >= tracks - TRACKS * LASTS]
        yield now, records


def _seen(looks: Looks, track: int, camera: int, person: int, sequence: int, now: float, model: str) -> Observation:
    row = int(looks.first[person, camera]) + sequence % 2
    left = 10.0 + 150 * (track // TRACKS % (2 * LASTS))
    return Observation(
        run=_RUN,
        camera=_CAMERAS[camera],
        track=TrackId(track),
        sequence=sequence,
        seen_at=now,
        clock="rtcp",
        box=(left, 10.0, left + 100, 300.0),
        frame_size=(1280, 720),
        score=0.9,
        quality=0.8,
        vector=looks.vectors[row].tobytes(),
        model=model,
    )


def _floors(
    people: Looks, identities: int, rng: np.random.Generator
) -> tuple[float, float | None, float | None, float | None]:
    """Time the product of `TRACKS` queries with so many vectors, by numpy and by FAISS: (matmul, flat, ivf, recall)."""
    stored = np.empty((identities, people.vectors.shape[1]), dtype=np.float32)
    for begin in range(0, len(stored), len(people.vectors)):
        part = stored[begin : begin + len(people.vectors)]
        part[:] = people.vectors[: len(part)]
    queries = people.vectors[rng.integers(0, len(people.vectors), (50, TRACKS))].astype(np.float32)
    rounds = len(queries) if len(stored) < 200_000 else 12
    matmul = _median_ms(lambda at: stored @ np.ascontiguousarray(queries[at].T), rounds)
    if not find_spec("faiss"):
        return matmul, None, None, None
    import faiss

    dim = stored.shape[1]
    flat = faiss.IndexFlatIP(dim)
    flat.add(stored)
    flat_ms = _median_ms(lambda at: flat.search(queries[at], 10), rounds)
    lists = int(min(1024, max(1, len(stored) // 40), len(stored) ** 0.5))
    ivf = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
    learn = np.ascontiguousarray(stored[rng.permutation(len(stored))[: 40 * lists]])
    ivf.train(learn)
    ivf.add(stored)
    ivf.nprobe = max(1, lists // 8)
    ivf_ms = _median_ms(lambda at: ivf.search(queries[at], 10), rounds)
    return matmul, flat_ms, ivf_ms, _recall(flat, ivf, queries[: min(rounds, 12)].reshape(-1, dim))


def _recall(exact: "object", quick: "object", queries: Floats) -> float:
    best = exact.search(queries, 1)[0][:, 0]  # type: ignore[attr-defined]
    found = quick.search(queries, 1)[0][:, 0]  # type: ignore[attr-defined]
    return float(np.mean(found >= best - 1e-4))


def _median_ms(call: Callable[[int], object], rounds: int) -> float:
    call(0)
    times = []
    for at in range(rounds):
        began = time.process_time()
        call(at)
        times.append((time.process_time() - began) * 1e3)
    return float(np.median(times))


def _peak_mb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
