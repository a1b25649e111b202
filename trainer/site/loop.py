"""Train a network on the people of a site's own tracklet store: cluster, fine-tune, compare, export.

    tracks ─▶ embed with the network so far ─▶ cluster ─▶ train ─▶ … rounds … ─▶ better on held-out? ─▶ OUT/bundle

Half of the reviewed identities are labels, half are held out for the gate. Without reviewed ones, a fifth of the
clusters that the base network is surest of is held out: that measures agreement with the base and with transit times,
not truth, and the report says so. A killed run resumes where it was, see `trainer.site.state`.

Sources: the loop: SpCL (arXiv 2006.02713) and Cluster Contrast (arXiv 2103.11568); tracklets as must-links and gated
promotion: this project.
"""

import shlex
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from trainer.config import TrainSettings, load
from trainer.errors import DataError, TrainerError
from trainer.model.siamese import LoadedBranch, load_branch
from trainer.site import state as states
from trainer.site.data import SiteTracks, labels_file, read_site, track_vectors
from trainer.site.gate import Gate, hold_out, measure, read_judged
from trainer.site.pseudo_labels import UNLINKED, cluster
from trainer.site.state import PendingRound, Round, SiteRunState
from trainer.threads import idle_cores, limit_threads
from trainer.train.loop import train

REPORT, BUNDLE = "site.json", "bundle"
RECIPE = Path(__file__).parents[1] / "train" / "recipes" / "site.yaml"
MOST_TRACKS = 8000
"""The latest ones; comparing each with each takes a GB for this many."""
_TRAINING_SHARE = 0.9
"""Share of the time budget; the rest is for export and calibration."""
LEAST_TRACKS = 300
"""Tracks that are taken however short the time; a fifth of their people are held out."""
_EMBEDDING_SHARE = 0.4
"""Share of the time budget for the vectors of all tracks, which every round and both measurements need."""
_TRIED_TRACKS = 8
_LEAST_SHARE = 0.05
"""Share of the time budget that must be left for a further round."""


class Outcome(msgspec.Struct, frozen=True):
    """Result of a site's run."""

    gate: Gate
    rounds: list[Round]
    best: str
    """The network to use: the last checkpoint, or the base where the gate stayed shut."""
    bundle: str | None
    """Folder of the bundle made from it, calibrated on the site; none where the gate stayed shut."""
    reviewed: int
    """Reviewed identities, labels and held out together."""
    minutes: float
    """Duration, resumptions included."""


def fit_site(
    settings: TrainSettings,
    folder: Path,
    base: Path,
    out: Path,
    reviewed: frozenset[str] = frozenset(),
    rounds: int = 3,
    log: Callable[[str], None] = print,
    *,
    minutes: float | None = None,
    resume: bool = False,
) -> Outcome:
    """Teach the network of checkpoint `base` the people of the store `folder`.

    Args:
        settings: of each round; data and model.weights are set here.
        folder: the tracklet store.
        base: a checkpoint, or a bundle with one in it.
        out: folder of the run.
        reviewed: global IDs that were reviewed and found right.
        rounds: of clustering and training.
        log: called with a line for each step.
        minutes: time budget of the whole run, earlier attempts included; none for all steps of all rounds.
        resume: continue a killed run of `out`.

    Raises:
        TrainerError: too few tracks or people, a reviewed ID that the store does not know, or a run there already.
    """
    started = time.monotonic()
    if (out / REPORT).exists():
        raise TrainerError(f"--out must be a new folder, {out / REPORT} exists: that run has ended")
    if not resume and (out / states.STATE).exists():
        raise TrainerError(f"--out must be a new folder or --resume be given, {out / states.STATE} exists")
    threads = settings.run.threads or idle_cores()
    settings = settings.model_copy(update={"run": settings.run.model_copy(update={"threads": threads})})
    limit_threads(threads)
    spent_before = 0.0

    def spent() -> float:
        return spent_before + time.monotonic() - started

    log(f"CPU threads: {threads}; --set run.threads=N for more or fewer")
    if resume:
        state = states.load(out)
        spent_before = state.seconds
        states.must_match(state, store=folder, base=base, reviewed=reviewed, rounds=rounds, out=out)
        site = read_site(folder, names=state.tracks)
        log(f"resumed after {len(state.done)} of {rounds} rounds and {state.seconds / 60:.1f} minutes")
    else:
        site = read_site(folder, MOST_TRACKS, reviewed=reviewed)
        if minutes is not None and len(site.names) > LEAST_TRACKS:
            most = _affordable(site, base, minutes, rounds)
            if most < len(site.names):
                log(f"the time budget is enough for the latest {most} of {len(site.names)} tracks")
                site = read_site(folder, most, reviewed=reviewed)
        state = _first_state(site, base, reviewed, rounds, settings.run.seed, log)
        state = msgspec.structs.replace(state, seconds=spent())
        states.save(state, out)

    reached = _weights(out, len(state.done)) or base
    while len(state.done) < rounds:
        if state.pending is None:
            left = None if minutes is None else _TRAINING_SHARE * minutes - spent() / 60
            if left is not None and minutes is not None and state.done and left < _LEAST_SHARE * minutes:
                log(f"the time budget was used up after {len(state.done)} of {rounds} rounds")
                break
            budget = None if left is None or minutes is None else max(left, _LEAST_SHARE * minutes)
            pending = _label(settings, site, state, load_branch(reached), out, budget and budget / _left(state), log)
            state = msgspec.structs.replace(state, pending=pending, seconds=spent())
            states.save(state, out)
        done = _train(settings, state, reached, out)
        state = msgspec.structs.replace(state, done=[*state.done, done], pending=None, seconds=spent())
        states.save(state, out)
        reached = _weights(out, len(state.done)) or base
    outcome = _judge(site, state, base, reached, out, threads, log)
    outcome = msgspec.structs.replace(outcome, minutes=spent() / 60)
    (out / REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(outcome), indent=2) + b"\n")
    return outcome


def _affordable(site: SiteTracks, base: Path, minutes: float, rounds: int) -> int:
    """Return how many tracks can be embedded again and again within their share of the time budget."""
    loaded = load_branch(base)
    track_vectors(site, loaded, [0])  # its first call is slow
    tried = range(0, len(site.names), max(1, len(site.names) // _TRIED_TRACKS))
    started = time.monotonic()
    track_vectors(site, loaded, tried)
    each_s = (time.monotonic() - started) / len(tried)
    return max(LEAST_TRACKS, int(_EMBEDDING_SHARE * 60 * minutes / (rounds + 2) / max(each_s, 1e-6)))


def _first_state(
    site: SiteTracks, base: Path, reviewed: frozenset[str], rounds: int, seed: int, log: Callable[[str], None]
) -> SiteRunState:
    """Choose who is held out, and measure the base on them."""
    loaded = load_branch(base)
    held = hold_out(site, loaded, reviewed, seed, log)
    log(
        f"{len(site.names)} tracks of {len(set(site.cameras.tolist()))} cameras; held out: {len(held.people)} people, "
        f"{held.truth}, and {len(held.strangers)} strangers' tracks"
    )
    return SiteRunState(
        store=str(site.folder.resolve()),
        base=str(base.resolve()),
        reviewed=sorted(reviewed),
        rounds=rounds,
        tracks=list(site.names),
        held=held,
        before=measure(loaded, read_judged(site, held, loaded)),
    )


def _label(
    settings: TrainSettings,
    site: SiteTracks,
    state: SiteRunState,
    loaded: LoadedBranch,
    out: Path,
    minutes: float | None,
    log: Callable[[str], None],
) -> PendingRound:
    """Cluster the free tracks with the network so far and write the labels of the next round."""
    held, number = state.held, len(state.done) + 1
    free = sorted(set(range(len(site.names))) - held.rows)
    place = {row: index for index, row in enumerate(free)}
    apart = [(place[first], place[second]) for first, second in site.apart if first in place and second in place]
    found = cluster(
        track_vectors(site, loaded, free, log),
        site.cameras[free],
        site.spans[free],
        apart,
        {place[row]: name for row, name in held.labels.items()},
    )
    named = {free[index]: f"cluster-{label}" for index, label in enumerate(found.tolist()) if label != UNLINKED}
    count = len(set(named.values()))
    log(f"round {number}: {count} people in {len(named)} of {len(free)} tracks")
    if count < settings.sampler.persons:
        raise TrainerError(
            f"a round needs at least sampler.persons ({settings.sampler.persons}) people to learn from, the "
            f"{len(free)} tracks of {site.folder} make {count}; collect more, or lower sampler.persons"
        )
    person_of = named | {row: name for name, rows in held.people.items() for row in rows}
    labels_file(_labels(out, number), site, person_of, sorted(held.people))
    return PendingRound(people=count, tracks=len(named), minutes=minutes)


def _train(settings: TrainSettings, state: SiteRunState, start: Path, out: Path) -> Round:
    """Train the pending round, or what is left of it."""
    number, pending = len(state.done) + 1, state.pending
    assert pending is not None
    folder = out / f"round-{number}"
    data = settings.data.model_copy(
        update={"sets": (f"labelled:{_labels(out, number)}",), "validation_ids": len(state.held.people)}
    )
    report = train(
        settings.model_copy(
            update={
                "data": data,
                "model": settings.model.model_copy(update={"weights": start}),
                "optimiser": settings.optimiser.model_copy(update={"budget_minutes": pending.minutes}),
            }
        ),
        folder,
        resume=(folder / "last.pt").exists(),
    )
    return Round(
        people=pending.people,
        tracks=pending.tracks,
        images=int(report["images"]),
        minutes=float(report["training_seconds"]) / 60,
    )


def _judge(
    site: SiteTracks,
    state: SiteRunState,
    base: Path,
    reached: Path,
    out: Path,
    threads: int,
    log: Callable[[str], None],
) -> Outcome:
    """Compare the network with the base on held-out people; export it if it is better."""
    loaded = load_branch(reached)
    judged = read_judged(site, state.held, loaded)
    before, after = state.before, measure(loaded, judged)
    held = state.held
    gate = Gate(held.truth, len(held.people), len(held.strangers), len(judged.images), before, after)
    for name, value in after.items():
        log(f"{name} on held-out people: {before[name]:.3f} -> {value:.3f}")
    made = None
    if gate.is_open:
        from trainer.site.bundle import export_calibrated

        made = export_calibrated(reached, out / BUNDLE, judged, held.truth, threads, log)
        compare = shlex.join(["reid-stream", "models", "shadow", str(made), "--store", str(site.folder)])
        log(f"better on held-out people: {made}; compare: `{compare}`")
    else:
        log("no better on held-out people: the base stays")
    return Outcome(
        gate=gate,
        rounds=state.done,
        best=str(reached if gate.is_open else base),
        bundle=str(made) if made else None,
        reviewed=len(state.reviewed),
        minutes=0.0,
    )


def _left(state: SiteRunState) -> int:
    return state.rounds - len(state.done)


def _labels(out: Path, number: int) -> Path:
    return out / f"round-{number}.labels.json"


def _weights(out: Path, rounds: int) -> Path | None:
    """Return the last weights of the rounds done; not the best ones: the gate must not have chosen them."""
    return out / f"round-{rounds}" / "last.pt" if rounds else None


def recipe_settings(base: Path, changes: tuple[str, ...] = ()) -> TrainSettings:
    """Return the recipe with the network and the input size of its base."""
    recipe, own = load(RECIPE, changes), load_branch(base).settings
    size = {"height": own.data.height, "width": own.data.width}
    return recipe.model_copy(update={"model": own.model, "data": recipe.data.model_copy(update=size)})


def read_reviewed(file: Path) -> frozenset[str]:
    """Read global IDs, one a line.

    Raises:
        DataError: the file cannot be read, or names none.
    """
    try:
        names = frozenset(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--reviewed must be a readable text file, {file}: {error}") from error
    if not names:
        raise DataError(f"--reviewed must name global IDs, one a line, {file} names none")
    return names
